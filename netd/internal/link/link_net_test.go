//go:build net

package link_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"netd/netd/internal/dhcp"
	"netd/netd/internal/link"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/rtnl"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

// wire makes link eth0 here, whose other end is tor0 with 10.0.1.1/24 in the
// namespace tor.
func wire(t *testing.T) *rtnl.Conn {
	t.Helper()
	for _, line := range []string{
		"ip netns add tor", "ip link add eth0 type veth peer name tor0 netns tor",
		"ip -n tor link set lo up", "ip -n tor link set tor0 up", "ip -n tor addr add 10.0.1.1/24 dev tor0",
	} {
		ownnet.Command(t, line)
	}
	c, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func apply(t *testing.T, c *rtnl.Conn, u link.Wanted, leases map[string]dhcp.Lease) link.State {
	t.Helper()
	states, err := link.Apply(c, []link.Wanted{u}, leases, nil)
	if err != nil || len(states) != 1 {
		t.Fatalf("apply: %+v, %v", states, err)
	}
	return states[0]
}

func expect(t *testing.T, what string, want, got link.State) {
	t.Helper()
	type fields link.State // cmp would leave all to State's own Equal, which ignores nothing
	opts := cmp.Options{
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmpopts.IgnoreFields(fields{}, "Index", "MAC", "Carrier"), cmpopts.EquateEmpty(),
	}
	if diff := cmp.Diff(fields(want), fields(got), opts); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestStaticUplink(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := wire(t)
		eth, err := c.LinkByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		u := link.Wanted{
			Name: "uplink0", MatchName: "eth0", MTU: 1400, Router: ip("10.0.1.1"),
			Addresses: []netip.Prefix{pfx("10.0.1.11/24"), pfx("10.0.9.1/32")},
		}
		want := link.State{Name: "uplink0", MTU: 1400, Router: u.Router, Addresses: u.Addresses}
		apply(t, c, u, nil)
		ownnet.Within(t, 5*time.Second, "carrier", func() error {
			if s := apply(t, c, u, nil); !s.Carrier || s.Index != eth.Index || s.MAC != eth.MAC.String() {
				return errors.New("state " + s.MAC)
			}
			return nil
		})
		m := ownnet.Watch(t, "")
		expect(t, "the second time", want, apply(t, c, u, nil))
		u.MatchName, u.MatchMAC = "", eth.MAC
		expect(t, "found by MAC address", want, apply(t, c, u, nil))
		if got := m.Changes(t); len(got) > 0 {
			t.Errorf("ip monitor saw\n%s", strings.Join(got, "\n"))
		}
		// An address that is not ours stays; what someone took away comes back.
		ownnet.Command(t, "ip addr add 192.0.2.1/24 dev uplink0")
		ownnet.Command(t, "ip addr del 10.0.1.11/24 dev uplink0")
		ownnet.Command(t, "ip link set uplink0 down mtu 1500")
		s := apply(t, c, u, nil)
		if s.MTU != 1400 || s.Problem != "" || len(s.Addresses) != 3 {
			t.Errorf("after meddling: %+v, want MTU 1400 and three addresses", s)
		}
		if _, err := c.LinkByName("eth0"); !rtnl.IsNotExist(err) {
			t.Errorf("old name: %v", err)
		}
		// An address that was ours and is not wanted any more goes; another name finds
		// the link by the name that it had at first.
		u.Addresses, u.MatchMAC, u.MatchName = []netip.Prefix{pfx("10.0.1.12/24")}, nil, "eth0"
		u.Name = "wan0"
		want = link.State{Name: "wan0", MTU: 1400, Router: u.Router, Addresses: []netip.Prefix{pfx("192.0.2.1/24"), pfx("10.0.1.12/24")}}
		expect(t, "another address and another name", want, apply(t, c, u, nil))
		u.Name = "uplink0"
		want.Name = u.Name
		expect(t, "the former name again", want, apply(t, c, u, nil))
		if _, err := link.Apply(c, nil, nil, nil); err != nil {
			t.Error(err)
		}
		if have, err := c.Addresses(eth.Index); err != nil || len(have) != 1 || have[0].Prefix != pfx("192.0.2.1/24") {
			t.Errorf("no uplink is wanted: %v, %v, want only what is not ours", have, err)
		}
		u.Name, u.MatchMAC = "uplink9", []byte{2, 0, 0, 0, 0, 9}
		expect(t, "no such MAC address", link.State{Name: "uplink9", Router: u.Router, Problem: "there is no link with MAC address 02:00:00:00:00:09"}, apply(t, c, u, nil))
		u.MatchMAC, u.MatchName = nil, "eth7"
		expect(t, "no such name", link.State{Name: "uplink9", Router: u.Router, Problem: "there is no link named eth7"}, apply(t, c, u, nil))
	})
}

// What leases do to a link, without a server.
func TestLeasedUplink(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := wire(t)
		ownnet.Command(t, "ip link set eth0 mtu 1480")
		u := link.Wanted{Name: "uplink0", MatchName: "eth0", MTU: 1500, DHCP: true}
		none := link.State{Name: "uplink0", MTU: 1480, Problem: "no DHCP lease yet"}
		expect(t, "before", none, apply(t, c, u, nil))

		a, b := pfx("10.0.1.50/24"), pfx("10.0.1.51/24")
		leases := map[string]dhcp.Lease{"uplink0": {Address: a, Router: ip("10.0.1.1"), MTU: 1400}}
		expect(t, "the server's MTU", link.State{Name: "uplink0", MTU: 1400, Addresses: []netip.Prefix{a}, Router: ip("10.0.1.1")}, apply(t, c, u, leases))
		leases["uplink0"] = dhcp.Lease{Address: b}
		expect(t, "another address, and no MTU", link.State{Name: "uplink0", MTU: 1500, Addresses: []netip.Prefix{b}}, apply(t, c, u, leases))
		leases["uplink0"] = dhcp.Lease{Problem: "no DHCP server answers"}
		expect(t, "an address of an earlier life", link.State{Name: "uplink0", MTU: 1500, Addresses: []netip.Prefix{b}, Problem: "no DHCP lease yet: no DHCP server answers"}, apply(t, c, u, leases))
		leases["uplink0"] = dhcp.Lease{Over: true}
		none.MTU = 1500
		expect(t, "the lease is lost", none, apply(t, c, u, leases))
	})
}

// A kernel without ipip is said in one line that tells what to do.
func TestTunnelHere(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := wire(t)
		need := link.Need{Inner4: true, Local4: ip("10.0.1.11"), MTU: 1500}
		err := link.ApplyTunnels(c, need.Tunnels())
		if err != nil {
			if !rtnl.IsNotSupported(err) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), `set encapsulation = "never"`) {
				t.Errorf("tunnel: %v", err)
			}
		} else if need.Local4 = ip("10.0.1.12"); link.ApplyTunnels(c, need.Tunnels()) != nil { // made anew
			t.Error(err)
		}
		for range 2 {
			if err := link.SweepTunnels(c, nil); err != nil {
				t.Errorf("no tunnel wanted: %v", err)
			}
		}
	})
}

// A VXLAN link is made once; what someone changes on it is mended, and it goes only
// when it is swept.
func TestVXLANLink(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := wire(t)
		need := link.Need{
			Inner4: true, Inner6: true, Local4: ip("10.0.1.11"), Local6: ip("2001:db8:1::11"), MTU: 1500,
			Gateways: []netip.Addr{ip("10.0.2.13"), ip("2001:db8:2::14")}, VXLAN: &link.VXLAN{VNI: 7, Port: 8472},
		}
		apply := func() {
			t.Helper()
			if err := link.ApplyTunnels(c, need.Tunnels()); err != nil {
				t.Fatal(err)
			}
		}
		apply()
		first, err := c.LinkByName("netd-vxlan0")
		if err != nil || first.VNI != 7 || first.Port != 8472 || first.Local != ip("10.0.1.11") || first.Learning || first.MTU != 1450 {
			t.Errorf("link %+v, %v", first, err)
		}
		if second, err := c.LinkByName("netd-vxlan1"); err != nil || second.Local != ip("2001:db8:1::11") || second.MTU != 1430 {
			t.Errorf("link %+v, %v", second, err)
		}
		if on, err := rtnl.TxChecksum("netd-vxlan0"); err != nil || on == rtnl.KernelAtLeast(6, 12) {
			t.Errorf("checksum offload: %t, %v", on, err)
		}
		m := ownnet.Watch(t, "")
		apply()
		if got := m.Changes(t); len(got) > 0 {
			t.Errorf("the second time: ip monitor saw\n%s", strings.Join(got, "\n"))
		}
		ownnet.Command(t, "bridge fdb add 02:00:00:00:00:09 dev netd-vxlan0 dst 192.0.2.9")
		ownnet.Command(t, "bridge fdb del 02:6e:0a:00:02:0d dev netd-vxlan0")
		ownnet.Command(t, "ip -6 neigh flush dev netd-vxlan1 nud permanent")
		ownnet.Command(t, "ip link set netd-vxlan0 down mtu 1400")
		apply()
		for command, want := range map[string]string{
			"bridge fdb show dev netd-vxlan0":  "02:6e:0a:00:02:0d dst 10.0.2.13 self permanent",
			"ip -6 neigh show dev netd-vxlan1": "lladdr 06:",
			"ip link show netd-vxlan0":         "UP,LOWER_UP> mtu 1450",
		} {
			if out := ownnet.Command(t, command); !strings.Contains(out, want) || strings.Contains(out, "192.0.2.9") {
				t.Errorf("%s: %s", command, out)
			}
		}
		need.VXLAN.VNI = 8
		apply()
		if again, err := c.LinkByName("netd-vxlan0"); err != nil || again.VNI != 8 || again.Index == first.Index {
			t.Errorf("another number: %+v, %v", again, err)
		}
		if err := link.SweepTunnels(c, nil); err != nil {
			t.Error(err)
		}
		if out := ownnet.Command(t, "ip link"); strings.Contains(out, "netd-") {
			t.Errorf("left: %s", out)
		}
	})
}
