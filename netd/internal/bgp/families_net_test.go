//go:build net

package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"netd/netd/internal/ownnet"
)

// familyBIRD is a ToR with a session of each family, each of which carries both.
const familyBIRD = birdHead + `ipv6 table master6;
protocol static s4 { ipv4; route 10.64.10.0/26 blackhole; }
protocol static s6 { ipv6; route 2001:db8:64:10::/64 blackhole; }
protocol bgp over4 {
	local 10.0.1.10 as 65001;
	neighbor 10.0.1.110 as 65101;
	direct; connect delay time 1; connect retry time 1; error wait time 1, 2;
	ipv4 { import all; export where source = RTS_STATIC; next hop self; };
	ipv6 { import all; export where source = RTS_STATIC; next hop address 2001:db8:1::2:10; };
}
protocol bgp over6 {
	local 2001:db8:1::2:11 as 65001;
	neighbor 2001:db8:1::1:11 as 65101;
	direct; connect delay time 1; connect retry time 1; error wait time 1, 2;
	ipv4 { extended next hop on; import all; export where source = RTS_STATIC; next hop self; };
	ipv6 { import all; export where source = RTS_STATIC; next hop self; };
}
`

const familyFRR = `router bgp 65001
 bgp router-id 10.0.2.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 10.0.2.110 remote-as 65101
 neighbor 10.0.2.110 update-source 10.0.2.10
 neighbor 10.0.2.110 timers connect 1
 neighbor 2001:db8:2::1:11 remote-as 65101
 neighbor 2001:db8:2::1:11 update-source 2001:db8:2::2:11
 neighbor 2001:db8:2::1:11 timers connect 1
 neighbor 2001:db8:2::1:11 capability extended-nexthop
 address-family ipv4 unicast
  network 10.64.20.0/26
  neighbor 2001:db8:2::1:11 activate
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:64:20::/64
  neighbor 10.0.2.110 activate
  neighbor 2001:db8:2::1:11 activate
 exit-address-family
`

// Sessions over IPv4 and over IPv6 carry both families, each with next hops that the
// other end can use.
func TestFamilies(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		s := newSite(t)
		c := Config{
			AS: 65101, RouterID: ip("10.0.1.2"), Port: 179, RestartTime: time.Minute, LongLived: time.Hour, IPv6: true,
			Pools: []netip.Prefix{pfx("10.64.0.0/16"), pfx("2001:db8:64::/48")},
		}
		for _, tor := range []int{birdToR, frrToR} {
			own4, theirs4 := ip(fmt.Sprintf("10.0.%d.110", tor)), ip(fmt.Sprintf("10.0.%d.10", tor))
			own6, theirs6 := ip(fmt.Sprintf("2001:db8:%d::1:11", tor)), ip(fmt.Sprintf("2001:db8:%d::2:11", tor))
			s.address(t, tor, own4, theirs4)
			s.address(t, tor, own6, theirs6)
			on(t, s.hosts[tor-1], fmt.Sprintf("ip addr add 2001:db8:%d::2:10/64 dev rack", tor))
			session := times(Session{AS: 65001})
			c.Peers = append(c.Peers,
				Peer{Name: fmt.Sprintf("over4-%d", tor), Address: theirs4, Local: own4, NextHop: own6, Session: session},
				Peer{Name: fmt.Sprintf("over6-%d", tor), Address: theirs6, Local: own6, Session: session})
		}
		bird, err := s.hosts[0].Bird(t.Context(), familyBIRD)
		if err != nil {
			t.Fatal(err)
		}
		frr, err := s.hosts[1].FRR(t.Context(), map[string]string{"bgpd": familyFRR})
		if err != nil {
			t.Fatal(err)
		}
		s.speak(t, c, block, block6)
		s.established(t, "over4-1", "over6-1", "over4-2", "over6-2")
		snap := s.until(t, "both families from all", func(snap Snapshot) error {
			return errors.Join(
				routed(snap, "over4-1", "10.64.10.0/26", "2001:db8:64:10::/64"), routed(snap, "over6-1", "10.64.10.0/26", "2001:db8:64:10::/64"),
				routed(snap, "over4-2", "10.64.20.0/26", "2001:db8:64:20::/64"), routed(snap, "over6-2", "10.64.20.0/26", "2001:db8:64:20::/64"))
		})
		for _, p := range snap.from("over6-1") {
			if p.NextHop != ip("2001:db8:1::2:11") {
				t.Errorf("%s by %s: want the session's address (RFC 8950)", p.Prefix, p.NextHop)
			}
		}
		ownnet.Within(t, 20*time.Second, "our next hops at the ToRs", func() error {
			out, err := bird.Ask(t.Context(), "show route all")
			err = errors.Join(err, contains(out, "BGP.next_hop: 10.0.1.110", "BGP.next_hop: 2001:db8:1::1:11"))
			out, err2 := frr.Ask(t.Context(), "show bgp ipv6 unicast "+block6.String())
			out4, err4 := frr.Ask(t.Context(), "show bgp ipv4 unicast "+block.String())
			return errors.Join(err, err2, err4, contains(out, "2001:db8:2::1:11 from 10.0.2.110", "2001:db8:2::1:11 from 2001:db8:2::1:11"),
				contains(out4, "10.0.2.110 from 10.0.2.110", "2001:db8:2::1:11 from 2001:db8:2::1:11"))
		})
		// Long-lived graceful restart (RFC 9494) is offered for both.
		out, err := bird.Ask(t.Context(), "show protocols all over4")
		if err != nil || !strings.Contains(out, "Long-lived graceful restart") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
