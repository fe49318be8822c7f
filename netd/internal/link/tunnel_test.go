package link

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"netd/netd/internal/rtnl"
)

// lacking is a kernel without any tunnel.
type lacking struct{ TunnelKernel }

func (lacking) LinkByName(name string) (rtnl.Link, error) {
	return rtnl.Link{}, fmt.Errorf("find link %s: %w", name, unix.ENODEV)
}

func (lacking) AddTunnel(t rtnl.Tunnel) error {
	return fmt.Errorf("add %s link %s: %w", t.Kind, t.Name, unix.EOPNOTSUPP)
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestTunnelWithoutModule(t *testing.T) {
	need := Need{Inner4: true, Local4: ip("10.0.1.11"), Local6: ip("2001:db8::11"), MTU: 1500}
	err := ApplyTunnels(lacking{}, need.Tunnels())
	for _, want := range []string{
		`this kernel has no ipip (module "ipip"): expected it for encapsulation "cross-subnet" or "always"; load it, or set encapsulation = "never"`,
		`this kernel has no ip6tnl (module "ip6_tunnel")`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error: %v, want: %s", err, want)
		}
	}
}

func TestTunnels(t *testing.T) {
	both := Need{Inner4: true, Inner6: true, Local4: ip("10.0.1.11"), Local6: ip("2001:db8:1::11"), MTU: 1500}
	tests := []struct {
		name string
		edit func(*Need)
		want string
		mtu  int
	}{
		{"both families over both", func(*Need) {}, "netd-ipip0 4/4 1480, netd-ip6tnl0 46/6 1460", 1460},
		{"no pods that need one", func(n *Need) { n.Inner4, n.Inner6 = false, false }, "", 1500},
		{"no address yet", func(n *Need) { n.Local4, n.Local6 = netip.Addr{}, netip.Addr{} }, "", 1500},
		{"IPv4 only", func(n *Need) { n.Inner6, n.Local6 = false, netip.Addr{} }, "netd-ipip0 4/4 1480", 1480},
		{"gateways of IPv4 only", func(n *Need) { n.Gateways = []netip.Addr{ip("10.0.1.12"), ip("10.0.2.13")} }, "netd-ipip0 4/4 1480, netd-s0a00010c 6/4 1480, netd-s0a00020d 6/4 1480", 1480},
		{"IPv6 pods, and gateways that are not known yet", func(n *Need) { n.Inner4, n.Local6 = false, netip.Addr{} }, "", 1480},
		{"gateways of IPv6 only", func(n *Need) { n.Gateways, n.Inner4 = []netip.Addr{ip("2001:db8:2::13")}, false }, "netd-ip6tnl0 6/6 1460", 1460},
		{"VXLAN", func(n *Need) { n.VXLAN = &VXLAN{VNI: 7, Port: 4789} }, "netd-vxlan0 46/4 1450 02:6e:0a:00:01:0b, netd-vxlan1 46/6 1430 06:29:ce:a1:48:34", 1430},
		{"VXLAN over IPv4", func(n *Need) {
			n.VXLAN, n.Gateways = &VXLAN{VNI: 7, Port: 4789}, []netip.Addr{ip("10.0.2.13")}
		}, "netd-vxlan0 46/4 1450 02:6e:0a:00:01:0b [fe80::6e:aff:fe00:20d lladdr 02:6e:0a:00:02:0d 02:6e:0a:00:02:0d dst 10.0.2.13]", 1450},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := both
			tt.edit(&n)
			var got []string
			for _, tun := range n.Tunnels() {
				var inner string
				for family, on := range map[string]bool{"4": tun.Inner4 && !tun.Inner6, "6": tun.Inner6 && !tun.Inner4, "46": tun.Inner4 && tun.Inner6} {
					if on {
						inner = family
					}
				}
				line := fmt.Sprintf("%s %s/%s %d", tun.Name, inner, map[bool]string{false: "4", true: "6"}[tun.Outer6], tun.MTU)
				if tun.MAC != nil {
					line += " " + tun.MAC.String()
				}
				if tun.Neighbours != nil {
					line += fmt.Sprint(" ", tun.Neighbours)
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("tunnels (-want +got):\n%s", diff)
			}
			if mtu := n.PodMTU(); mtu != tt.mtu {
				t.Errorf("pods' MTU is %d, want %d", mtu, tt.mtu)
			}
		})
	}
}

func TestTunnelKeys(t *testing.T) {
	n := Need{Inner6: true, Local4: ip("10.0.1.11"), Gateways: []netip.Addr{ip("10.0.2.13"), ip("2001:db8:2::13")}, MTU: 1500}
	want := map[netip.Addr]netip.Addr{ip("10.0.2.13"): ip("::10.0.2.13")}
	if diff := cmp.Diff(want, n.Tunnels()[0].Keys, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("sit's keys (-want +got):\n%s", diff)
	}
}
