package gobgp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Families in api.Global.Families, which counts GoBGP's own way
// (oc.IntToAfiSafiTypeMap) and not by api.Family.
const (
	globalIPv4 = 0
	globalIPv6 = 1
)

func ipv4() *api.Family {
	return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
}

func ipv6() *api.Family {
	return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
}

// families are those that sessions carry.
func (c Config) families() []*api.Family {
	if c.IPv6 {
		return []*api.Family{ipv4(), ipv6()}
	}
	return []*api.Family{ipv4()}
}

// ErrConfig marks what starting again will not mend: a port that is taken, say.
var ErrConfig = errors.New("the speaker can not be started")

// deferral is how long a restarted speaker waits for all peers' End-of-RIB
// before it sends its own routes (GoBGP's default is 360 s, so that one dead
// peer keeps everybody waiting: kube-router #946).
const deferral = 30 * time.Second

// Start tells a new speaker process who it is. It knows no peer then, and lets
// nothing in or out.
func (c Config) Start(ctx context.Context, client api.GoBgpServiceClient, restarting bool) error {
	_, err := client.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: c.AS, RouterId: c.RouterID.String(), ListenPort: int32(c.Port),
		ListenAddresses: listenAddresses(),
		// Otherwise it makes two tables of 2048 shards for each family there is: 10 MB.
		Families:        []uint32{globalIPv4, globalIPv6},
		GracefulRestart: c.gracefulRestart(restarting),
	}}, grpc.WaitForReady(true))
	if err == nil {
		return nil
	}
	reason := status.Convert(err).Message()
	if strings.Contains(reason, "address already in use") {
		reason = fmt.Sprintf("TCP port %d is taken by another program (ss -ltnp 'sport = %d' names it): %s", c.Port, c.Port, reason)
	}
	if code := status.Code(err); code == codes.Unavailable || code == codes.Canceled || code == codes.DeadlineExceeded {
		return fmt.Errorf("start BGP: %s", reason) // the process is gone; its last words say more
	}
	return fmt.Errorf("%w: %s", ErrConfig, reason)
}

// listenAddresses are those of the families that the kernel has (ipv6.disable=1).
func listenAddresses() []string {
	if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
		return []string{"0.0.0.0"}
	}
	return []string{"0.0.0.0", "::"}
}

func (c Config) gracefulRestart(restarting bool) *api.GracefulRestart {
	if c.RestartTime == 0 {
		return nil
	}
	return &api.GracefulRestart{
		Enabled: true, RestartTime: uint32(c.RestartTime / time.Second), LonglivedEnabled: c.LongLived > 0,
		DeferralTime: uint32(deferral / time.Second), LocalRestarting: restarting,
	}
}
