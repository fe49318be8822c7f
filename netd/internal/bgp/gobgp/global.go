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

// A restarted speaker announces nothing to a peer until all peers have sent their
// End-of-RIB, or the peer's deferral is over, and then everything with its own (RFC 4724
// section 4.1). GoBGP's default is 360 s, so that one dead peer keeps everybody waiting
// (kube-router #946).
const (
	// ownDeferral is for those whom we tell what is our own, which is there before any
	// peer. There may be peers that can be reached only by what we announce: nobody waits
	// for them. 0 is 360 s to GoBGP, so this is the least.
	ownDeferral = time.Second
	// reflectorDeferral is for those whom we tell what others have told us: what they have
	// kept of it goes with our End-of-RIB.
	reflectorDeferral = 30 * time.Second
)

// deferral is how long a session waits for others after a restart.
func (c Config) deferral(s Session) time.Duration {
	if c.reflects() && s.AS == c.localAS(s) {
		return reflectorDeferral
	}
	return ownDeferral
}

// KeepDeferral makes what is wanted wait as long as what is there: it matters at a start
// only, and GoBGP would end the session for another one.
func KeepDeferral(want, have *api.GracefulRestart) {
	if want != nil && have != nil {
		want.DeferralTime = have.DeferralTime
	}
}

// Start tells a new speaker process who it is. It knows no peer then, and lets
// nothing in or out.
func (c Config) Start(ctx context.Context, client api.GoBgpServiceClient, restarting bool) error {
	_, err := client.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: c.AS, RouterId: c.RouterID.String(), ListenPort: int32(c.Port),
		ListenAddresses: listenAddresses(),
		// Otherwise it makes two tables of 2048 shards for each family there is: 10 MB.
		Families:        []uint32{globalIPv4, globalIPv6},
		GracefulRestart: c.gracefulRestart(ownDeferral, restarting),
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

func (c Config) gracefulRestart(deferral time.Duration, restarting bool) *api.GracefulRestart {
	if c.RestartTime == 0 {
		return nil
	}
	return &api.GracefulRestart{
		Enabled: true, RestartTime: uint32(c.RestartTime / time.Second), LonglivedEnabled: c.LongLived > 0,
		DeferralTime: uint32(deferral / time.Second), LocalRestarting: restarting,
	}
}
