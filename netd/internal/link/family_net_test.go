//go:build net

package link_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"netd/netd/internal/link"
	"netd/netd/internal/ownnet"
)

// Both families on an uplink, and the gateway's own addresses on the loopback: put
// there once, kept when the link goes down and up, and taken away when they are not
// wanted any more.
func TestBothFamilies(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := wire(t)
		u := link.Wanted{
			Name: "uplink0", MatchName: "eth0", MTU: 1500, Router: ip("10.0.1.1"), Router6: ip("fe80::1"),
			Addresses: []netip.Prefix{pfx("10.0.1.11/24"), pfx("2001:db8:1::11/64")},
		}
		gateway := []netip.Addr{ip("10.255.0.11"), ip("2001:db8:ffff::11")}
		apply := func(u link.Wanted, gateway []netip.Addr) link.State {
			t.Helper()
			states, err := link.Apply(c, []link.Wanted{u}, nil, gateway)
			if err != nil {
				t.Fatal(err)
			}
			return states[0]
		}
		apply(u, gateway)
		ownnet.Within(t, 10*time.Second, "carrier and the end of address detection", func() error {
			if s := apply(u, gateway); !s.Carrier {
				return errors.New("no carrier")
			}
			if out := ownnet.Command(t, "ip -6 addr show tentative"); out != "" {
				return errors.New(out)
			}
			return nil
		})
		want := link.State{Name: "uplink0", MTU: 1500, Router: u.Router, Router6: ip("fe80::1%uplink0"), Addresses: u.Addresses}
		m := ownnet.Watch(t, "")
		expect(t, "the second time", want, apply(u, gateway))
		if got := m.Changes(t); len(got) > 0 {
			t.Errorf("the second time: ip monitor saw\n%s", strings.Join(got, "\n"))
		}
		lo := ownnet.Command(t, "ip addr show dev lo")
		if !strings.Contains(lo, "inet 10.255.0.11/32") || !strings.Contains(lo, "inet6 2001:db8:ffff::11/128") {
			t.Errorf("the gateway's own addresses: %s", lo)
		}
		// Without keep_addr_on_down the kernel would forget the IPv6 one.
		ownnet.Command(t, "ip link set uplink0 down")
		if out := ownnet.Command(t, "ip -6 addr show dev uplink0"); !strings.Contains(out, "2001:db8:1::11/64") {
			t.Errorf("addresses of a link that is down: %q", out)
		}
		expect(t, "after the link was down", want, apply(u, gateway))

		ownnet.Command(t, "ip addr add 192.0.2.1/32 dev lo")
		u.Addresses, want.Addresses = u.Addresses[:1], u.Addresses[:1]
		expect(t, "one family", want, apply(u, gateway[:1]))
		lo = ownnet.Command(t, "ip addr show dev lo")
		if !strings.Contains(lo, "10.255.0.11/32") || strings.Contains(lo, "2001:db8:ffff::11") || !strings.Contains(lo, "192.0.2.1/32") {
			t.Errorf("own addresses of one family, and somebody's: %s", lo)
		}
	})
}

// What another host on the link has is reported, and not used.
func TestDuplicateAddress(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := wire(t)
		for _, line := range []string{
			"ip netns exec tor sysctl -qw net.ipv6.conf.tor0.disable_ipv6=0", "ip -n tor -6 addr add 2001:db8:1::11/64 dev tor0 nodad",
		} {
			ownnet.Command(t, line)
		}
		u := link.Wanted{Name: "uplink0", MatchName: "eth0", MTU: 1500, Addresses: []netip.Prefix{pfx("2001:db8:1::11/64")}}
		want := "another host on the link has the address 2001:db8:1::11, too (duplicate address detection)"
		ownnet.Within(t, 15*time.Second, "the duplicate to be found", func() error {
			if s := apply(t, c, u, nil); s.Problem != want {
				return fmt.Errorf("problem %q", s.Problem)
			}
			return nil
		})
	})
}

// A route over a link without carrier is as if it were not there: what else leads to
// the subnet is used.
func TestLinkDownRoutes(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := wire(t)
		ownnet.Command(t, "ip link add eth1 type veth peer name tor1 netns tor")
		ownnet.Command(t, "ip -n tor link set tor1 up")
		both := []link.Wanted{
			{Name: "uplink0", MatchName: "eth0", MTU: 1500, Addresses: []netip.Prefix{pfx("10.0.1.11/24"), pfx("2001:db8:1::11/64")}},
			{Name: "uplink1", MatchName: "eth1", MTU: 1500, Addresses: []netip.Prefix{pfx("10.0.2.11/24"), pfx("2001:db8:2::11/64")}},
		}
		carrier := func(want ...bool) {
			t.Helper()
			ownnet.Within(t, 10*time.Second, fmt.Sprintf("carrier %v", want), func() error {
				states, err := link.Apply(c, both, nil, nil)
				for i := range states {
					if err == nil && states[i].Carrier != want[i] {
						err = fmt.Errorf("%s has carrier: %v", states[i].Name, states[i].Carrier)
					}
				}
				return err
			})
		}
		carrier(true, true)
		ownnet.Command(t, "ip route add default via 10.0.2.1 dev uplink1")
		ownnet.Command(t, "ip -6 route add default via 2001:db8:2::1 dev uplink1")
		for _, via := range []string{"", "10.0.2.1 2001:db8:2::1"} {
			for i, a := range []string{"10.0.1.12", "2001:db8:1::12"} {
				var want netip.Addr
				if f := strings.Fields(via); len(f) > i {
					want = ip(f[i])
				}
				ownnet.Within(t, 5*time.Second, fmt.Sprintf("%s to go by %q", a, want), func() error {
					hop, err := c.Lookup(ip(a))
					if err == nil && hop.Gateway != want {
						err = fmt.Errorf("it goes by %+v", hop)
					}
					return err
				})
			}
			ownnet.Command(t, "ip -n tor link set tor0 down")
			carrier(false, true)
		}
	})
}
