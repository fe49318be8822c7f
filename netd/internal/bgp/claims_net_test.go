//go:build net

package bgp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/ownnet"
	"netd/netd/internal/rawbgp"
)

// Another gateway's announcement of our block, or of a part of it, is told although no
// filter lets it in; what a ToR tells of it because it has it from us is not.
func TestClaims(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		ownnet.Command(t, "ip link set lo up")
		own, tor, gateway := ip("127.0.0.1"), ip("127.0.0.2"), ip("127.0.0.3")
		s := &site{log: new(logbook)}
		peer := func(name string, a netip.Addr, as uint32, gateway bool) Peer {
			return Peer{Name: name, Address: a, Local: own, Session: times(Session{AS: as, Passive: true, Gateway: gateway})}
		}
		s.speak(t, Config{
			AS: 65101, RouterID: ip("10.0.1.2"), Port: ownPort, Pools: []netip.Prefix{pfx("10.64.0.0/16")},
			Peers: []Peer{peer("tor1", tor, 65001, false), peer("gw-c", gateway, 65103, true)},
		}, block)
		call := func(from netip.Addr, as uint32) *rawbgp.Session {
			t.Helper()
			p, err := rawbgp.Connect(t.Context(), rawbgp.Options{Local: from, Remote: netip.AddrPortFrom(own, ownPort), AS: as, Hold: 30 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			return p
		}
		send := func(p *rawbgp.Session, b []byte) {
			t.Helper()
			if err := p.Send(b); err != nil {
				t.Fatal(err)
			}
		}
		fromToR, fromGateway := call(tor, 65001), call(gateway, 65103)
		hop := ip("10.9.9.2") // one of 127.0.0.0/8 leads nowhere
		other, part := pfx("10.64.3.0/26"), pfx("10.64.1.32/27")
		// From the ToR: ours again, the whole pool, and another's.
		send(fromToR, rawbgp.Update(nil, rawbgp.Route(hop, 65001, 65101), rawbgp.NLRI(block)))
		send(fromToR, rawbgp.Update(nil, rawbgp.Route(hop, 65001), rawbgp.NLRI(pfx("10.64.0.0/16"))))
		send(fromToR, rawbgp.Update(nil, rawbgp.Route(hop, 65001, 65103), rawbgp.NLRI(other)))
		told := func(want ...string) {
			t.Helper()
			var claims []Claim
			s.until(t, fmt.Sprintf("the claims %q", want), func(snap Snapshot) error {
				if s.news.Claims != nil {
					claims = s.news.Claims
				}
				got := []string{}
				for _, c := range claims {
					got = append(got, fmt.Sprint(c.Own, " ", c.Prefix, " ", c.Peer, " ", c.ASPath))
				}
				if diff := cmp.Diff(append([]string{}, want...), got); diff != "" || len(snap.from("tor1")) < 2 {
					return fmt.Errorf("%d paths; claims (-want +got):\n%s", len(snap.from("tor1")), diff)
				}
				return nil
			})
		}
		told()
		send(fromGateway, rawbgp.Update(nil, rawbgp.Route(hop, 65103), rawbgp.NLRI(block, part)))
		told("10.64.1.0/26 10.64.1.0/26 gw-c [65103]", "10.64.1.0/26 10.64.1.32/27 gw-c [65103]")
		send(fromGateway, rawbgp.Update(rawbgp.NLRI(block), nil, nil))
		told("10.64.1.0/26 10.64.1.32/27 gw-c [65103]")
		fromGateway.Close()
		told()
		// A ToR has no part of it from us, whomever it hides.
		send(fromToR, rawbgp.Update(nil, rawbgp.Route(hop, 65001), rawbgp.NLRI(block, part)))
		told("10.64.1.0/26 10.64.1.32/27 tor1 [65001]")
	})
}
