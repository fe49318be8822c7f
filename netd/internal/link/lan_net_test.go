//go:build net

package link_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"netd/netd/internal/link"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/rtnl"
)

// sysctl is what a key of a link says.
func sysctl(key string) string {
	b, err := os.ReadFile("/proc/sys/net/" + key)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

// A bridge of two ports: made, mended, with its carrier the ports', of another form under
// the same name and back, and gone with all that it has changed when it is not wanted.
func TestLANBridge(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c, err := rtnl.Open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		ownnet.Command(t, "ip netns add devices")
		for i := range 3 {
			ownnet.Command(t, fmt.Sprintf("ip link add eth%d type veth peer name dev%[1]d netns devices", i))
			ownnet.Command(t, fmt.Sprintf("ip -n devices link set dev%d up", i))
		}
		addresses := []netip.Prefix{pfx("192.168.1.1/24"), pfx("2001:db8:10::1/64")}
		bridge := func(ports ...string) link.Wanted {
			w := link.Wanted{Name: "machines", MTU: 1400, LAN: true, Addresses: addresses, Bridge: &link.Bridge{}}
			for _, p := range ports {
				w.Bridge.Members = append(w.Bridge.Members, link.Match{Name: p})
			}
			return w
		}
		apply := func(wanted ...link.Wanted) link.State {
			t.Helper()
			states, err := link.Apply(c, wanted, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(states) == 0 {
				return link.State{}
			}
			return states[0]
		}
		becomes := func(what string, carrier bool, wanted link.Wanted) {
			t.Helper()
			ownnet.Within(t, 10*time.Second, what, func() error {
				s := apply(wanted)
				if s.Problem != "" || s.Carrier != carrier || s.MTU != 1400 || len(s.Addresses) != 2 {
					return fmt.Errorf("%+v", s)
				}
				if out := ownnet.Command(t, "ip -6 addr show dev machines tentative"); carrier && out != "" {
					return errors.New(out)
				}
				return nil
			})
		}
		both := bridge("eth0", "eth1")
		first, err := c.LinkByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		if s := apply(bridge("eth8", "eth9")); s.Problem != "there is no link named eth8 and none named eth9 for the bridge" || s.Index != 0 {
			t.Errorf("no port is there: %+v", s)
		}
		becomes("the bridge", true, both)
		if l, err := c.LinkByName("machines"); err != nil || l.Kind != "bridge" || l.MAC.String() != first.MAC.String() {
			t.Errorf("the bridge: %+v, %v, want the MAC address %s", l, err, first.MAC)
		}
		for key, want := range map[string]string{
			"ipv4/conf/machines/rp_filter": "1", "ipv4/conf/machines/accept_redirects": "0", "ipv4/conf/machines/arp_ignore": "1",
			"ipv4/conf/machines/ignore_routes_with_linkdown": "1",
			"ipv6/conf/machines/accept_ra":                   "0", "ipv6/conf/machines/accept_redirects": "0", "ipv6/conf/machines/disable_ipv6": "0",
			"ipv6/conf/eth0/disable_ipv6": "1", "ipv6/conf/eth1/disable_ipv6": "1",
		} {
			if got := sysctl(key); got != want {
				t.Errorf("%s is %s, want %s", key, got, want)
			}
		}
		m := ownnet.Watch(t, "")
		apply(both)
		if got := m.Changes(t); len(got) > 0 {
			t.Errorf("the second time: ip monitor saw\n%s", strings.Join(got, "\n"))
		}
		// The two devices and the gateway are one network.
		ownnet.Command(t, "ip -n devices addr add 192.168.1.2/24 dev dev0")
		ownnet.Command(t, "ip netns add other")
		ownnet.Command(t, "ip -n devices link set dev1 netns other")
		ownnet.Command(t, "ip -n other link set dev1 up")
		ownnet.Command(t, "ip -n other addr add 192.168.1.3/24 dev dev1")
		for _, line := range []string{"ip netns exec devices ping -c 1 -W 5 192.168.1.3", "ping -c 1 -W 5 192.168.1.3"} {
			ownnet.Command(t, line)
		}
		// The carrier is any port's.
		ownnet.Command(t, "ip -n devices link set dev0 down")
		becomes("one port", true, both)
		ownnet.Command(t, "ip -n other link set dev1 down")
		becomes("no port", false, both)
		ownnet.Command(t, "ip -n devices link set dev0 up")
		becomes("a port again", true, both)

		ownnet.Command(t, "ip link set eth1 nomaster")
		ownnet.Command(t, "ip link set eth0 down mtu 1500")
		becomes("meddled with", true, both)
		if out := ownnet.Command(t, "ip link show master machines"); strings.Count(out, "mtu 1400") != 2 {
			t.Errorf("ports: %s", out)
		}
		if s := apply(bridge("eth0", "eth9")); s.Problem != "there is no link named eth9 for the bridge" || !s.Carrier {
			t.Errorf("a port is missing: %+v", s)
		}
		if out := ownnet.Command(t, "ip link show dev eth1"); strings.Contains(out, "master") || strings.Contains(out, "UP") || strings.Contains(out, "alias") {
			t.Errorf("a former port: %s", out)
		}

		// Another form of the same name, and back.
		alone := link.Wanted{Name: "machines", MatchName: "eth2", MTU: 1400, LAN: true, Addresses: addresses}
		becomes("a single link", true, alone)
		if out := ownnet.Command(t, "ip -d link"); strings.Contains(out, "bridge") || !strings.Contains(out, "machines") {
			t.Errorf("as a single link: %s", out)
		}
		becomes("a bridge of the same name", true, bridge("eth2", "eth0"))

		apply()
		out := ownnet.Command(t, "ip -d link") + ownnet.Command(t, "ip addr")
		for _, left := range []string{"bridge", "machines", "192.168.1.1", "2001:db8:10::1", "alias", ",UP"} {
			if strings.Contains(out, left) {
				t.Errorf("%q is left:\n%s", left, out)
			}
		}
	})
}

// A LAN of IPv4 alone has no IPv6, and a link that becomes an uplink is not taken down.
func TestLANToUplink(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := wire(t)
		lan := link.Wanted{Name: "cameras", MatchName: "eth0", MTU: 1500, LAN: true, Addresses: []netip.Prefix{pfx("192.168.1.1/24")}}
		expect(t, "a LAN", link.State{Name: "cameras", MTU: 1500, Addresses: lan.Addresses}, apply(t, c, lan, nil))
		if out := ownnet.Command(t, "ip addr show dev cameras") + ownnet.Command(t, "ip link show dev cameras"); strings.Contains(out, "inet6") || !strings.Contains(out, "alias netd LAN") {
			t.Errorf("a LAN of IPv4: %s", out)
		}
		up := link.Wanted{Name: "uplink0", MatchName: "eth0", MTU: 1500, Addresses: []netip.Prefix{pfx("10.0.1.11/24"), pfx("2001:db8:1::11/64")}}
		expect(t, "an uplink", link.State{Name: "uplink0", MTU: 1500, Addresses: up.Addresses}, apply(t, c, up, nil))
		if out := ownnet.Command(t, "ip addr show dev uplink0") + ownnet.Command(t, "ip link show dev uplink0"); !strings.Contains(out, ",UP") || strings.Contains(out, "alias") || strings.Contains(out, "192.168.1.1") {
			t.Errorf("what was a LAN and is an uplink: %s", out)
		}
		if got := sysctl("ipv4/conf/uplink0/rp_filter"); got != "2" {
			t.Errorf("its reverse path: %s", got)
		}
	})
}
