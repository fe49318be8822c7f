//go:build net

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/netd/internal/api"
	"netd/netd/internal/ownnet"
)

const ibgpGateway = `schema = 1
[gateway]
name = "gw-a"
[[uplink]]
name = "uplink0"
match = { name = "eth0" }
address = ["10.0.1.11/24"]
[[uplink]]
name = "uplink1"
match = { name = "eth1" }
address = ["10.0.2.11/24"]
[bgp]
as = 65101
[[bgp.peer]]
name = "tor1"
address = "10.0.1.1"
as = 65101
bfd = true
[[bgp.peer]]
name = "tor2"
address = "10.0.2.1"
as = 65101
bfd = true
[[pool]]
name = "pods"
prefix = "10.64.0.0/16"
block = "10.64.1.0/26"
encapsulation = "never"
`

// Switches of iBGP on the gateway's own subnets: FRR's BFD is of one hop there, BIRD's of
// several, as it is for all of iBGP. netd finds out which.
func TestBFDWithSwitchesOfIBGP(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		ctx := t.Context()
		n := newNet(ctx, t)
		host := func(name string) *lab.Host {
			h, err := n.Host(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		gw, tor1, tor2 := host("gw-a"), host("tor1"), host("tor2")
		if err := errors.Join(n.Wire(ctx, gw, "eth0", tor1, "rack"), n.Wire(ctx, gw, "eth1", tor2, "rack")); err != nil {
			t.Fatal(err)
		}
		for i, tor := range []*lab.Host{tor1, tor2} {
			if _, err := tor.Run(ctx, "ip", "addr", "add", fmt.Sprintf("10.0.%d.1/24", i+1), "dev", "rack"); err != nil {
				t.Fatal(err)
			}
		}
		file := gw.Path("netd.toml")
		if err := os.WriteFile(file, []byte(ibgpGateway), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := tor1.FRR(ctx, map[string]string{
			"bgpd": "router bgp 65101\n bgp router-id 10.0.1.1\n neighbor 10.0.1.11 remote-as 65101\n neighbor 10.0.1.11 timers connect 1\n neighbor 10.0.1.11 bfd\n",
			"bfdd": "",
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := tor2.Bird(ctx, `router id 10.0.2.1;
log stderr all;
protocol device {}
protocol bfd { multihop { interval 300 ms; }; }
protocol bgp netd { local 10.0.2.1 as 65101; neighbor 10.0.2.11 as 65101; bfd on; connect delay time 1; ipv4 { import all; export all; }; }
`); err != nil {
			t.Fatal(err)
		}
		g, err := gw.Netd(ctx, binary(t), file, lab.Gateway{Name: "gw-a"})
		if err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "BFD of one hop and of several", func(ctx context.Context) error {
			var peers []api.Peer
			if err := g.JSON(ctx, &peers, "peers"); err != nil {
				return err
			}
			var errs []error
			for _, p := range peers {
				if p.State != "Established" || p.BFD == nil || p.BFD.State != "Up" || p.BFD.Multihop != (p.Name == "tor2") || p.BFD.Lost {
					errs = append(errs, fmt.Errorf("%s %s: %+v", p.Name, p.State, p.BFD))
				}
			}
			if len(peers) != 2 {
				errs = append(errs, fmt.Errorf("%d peers", len(peers)))
			}
			return errors.Join(errs...)
		})
	})
}
