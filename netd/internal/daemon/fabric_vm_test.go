//go:build vm

package daemon_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab"
)

// Each tunnel where the families of pods and gateways call for it, and no trace of it
// when another configuration does not: with the agent stopped meanwhile, and the
// device itself compared (calico #1584).
func TestTunnelKinds(t *testing.T) {
	s := newSite(t, "dual-stack-mesh.toml")
	s.router()
	s.router6()
	all := []string{"gw-a", "gw-b", "gw-c"}
	s.gateway("gw-a", "tor1")
	s.gateway("gw-b", "tor1")
	s.gateway("gw-c", "tor2")
	s.converged()
	s.allReach6()
	s.explains("gw-a", "10.64.3.0/26", "ipip via 10.0.2.13 dev netd-ipip0")
	s.explains("gw-a", "2001:db8:64:2::/64", "native via 2001:db8:1::12 dev uplink0")
	s.explains("gw-a", "2001:db8:64:3::/64", "ip6tnl via 2001:db8:2::13 dev netd-ip6tnl0")
	s.shows("gw-a", "ip -6 route show 2001:db8:64:3::/64", "encap ip6", "dst 2001:db8:2::13", "src 2001:db8:1::11", "dev netd-ip6tnl0")
	s.shows("gw-a", "ip -6 route", "!::/96")

	// "always": by the tunnel inside of the subnet, too.
	s.edit(`name = "pods6"
prefix = "2001:db8:64::/48"`, `name = "pods6"
prefix = "2001:db8:64::/48"
encapsulation = "always"`)
	s.again(syscall.SIGKILL, all...)
	s.explains("gw-a", "2001:db8:64:2::/64", "ip6tnl via 2001:db8:1::12 dev netd-ip6tnl0")
	s.allReach6()
	s.allReach()

	// IPv6 pods over an underlay of IPv4 alone.
	for _, gw := range []string{"1::11", "1::12", "2::13"} {
		s.edit(`, "2001:db8:`+gw+`/64"`, "")
		s.edit(`other-address = "2001:db8:`+gw+`"`, "")
	}
	s.edit(`, router6 = "2001:db8:1::1"`, "")
	s.edit(`, router6 = "2001:db8:2::1"`, "")
	s.edit(`encapsulation = "always"`, "")
	s.again(syscall.SIGTERM, all...)
	s.explains("gw-a", "2001:db8:64:3::/64", "sit via 10.0.2.13 dev netd-s0a00020d")
	s.explains("gw-a", "2001:db8:64:2::/64", "sit via 10.0.1.12 dev netd-s0a00010c")
	s.allReach6()
	s.allReach()
	s.shows("gw-a", "ip link", "!netd-ip6tnl0", "netd-ipip0", "netd-s0a00020d@")
	s.shows("gw-a", "ip -6 route", "!::/96", "!encap ip6")
	s.shows("gw-a", "ip -6 addr show dev uplink0", "!2001:db8:1::11")

	// VXLAN in place of both.
	s.edit("[[uplink]]\nname = \"uplink0\"\nmatch", "[tunnel]\ntype = \"vxlan\"\n\n[[uplink]]\nname = \"uplink0\"\nmatch")
	s.again(syscall.SIGKILL, all...)
	s.explains("gw-a", "10.64.3.0/26", "vxlan via 10.0.2.13 dev netd-vxlan0")
	s.explains("gw-a", "2001:db8:64:3::/64", "vxlan via 10.0.2.13 dev netd-vxlan0")
	s.allReach6()
	s.allReach()
	s.shows("gw-a", "ip link", "!netd-ipip0", "!netd-s0", "netd-vxlan0")

	// And back.
	s.edit("[tunnel]\ntype = \"vxlan\"\n", "")
	s.again(syscall.SIGTERM, all...)
	s.allReach()
	s.shows("gw-a", "ip link", "netd-ipip0", "netd-s0a00010c@", "!netd-vxlan0")
}

// A bond and VLANs on it, as the example has them: sessions and pods use them as any
// uplink, and the loss of a member costs neither.
func TestBondAndVLANs(t *testing.T) {
	s := newSite(t, "bond-vlan.toml")
	s.tor("tor1", "10.0.1.1/24")
	s.bird("tor1", torBird{
		id: "10.0.1.1", as: "65001", export: "net = 0.0.0.0/0", gateways: map[string]string{"10.0.1.11": "65101"},
	}.String())
	s.host("gw-a")
	s.run("tor1", "ip link add bond9 type bond mode 802.3ad miimon 100 lacp_rate fast")
	for i := range 2 {
		s.must(s.net.Wire(t.Context(), s.hosts["gw-a"], fmt.Sprintf("eth%d", i), s.hosts["tor1"], fmt.Sprintf("port%d", i)))
		s.run("tor1", fmt.Sprintf("ip link set port%d down\nip link set port%d master bond9", i, i))
	}
	s.run("tor1", `
		ip link set bond9 up mtu 9000
		ip link add link bond9 name v100 type vlan id 100
		ip link set v100 up master br0
		ip link add link bond9 name v200 type vlan id 200
		ip link set v200 up
		ip addr add 10.0.9.1/24 dev v200`)
	gw, err := s.hosts["gw-a"].Netd(t.Context(), binary(t), s.config, lab.Gateway{Name: "gw-a"})
	s.must(err)
	s.gw["gw-a"] = gw
	_, err = gw.Ask(t.Context(), "pod", "add", "pod-gw-a")
	s.must(err)
	within(t, time.Minute, "the session over the bond", gw.Established)
	s.shows("gw-a", "ip -d link show bond0", "mode 802.3ad", "mtu 9000")
	s.shows("gw-a", "ip -d link show storage", "vlan protocol 802.1Q id 200", "mtu 9000")
	s.shows("tor1", "ip route show 10.64.1.0/26", "via 10.0.1.11 dev br0")
	s.run("gw-a", "ping -c 1 -W 5 -M do -s 8000 10.0.9.1")
	s.run("tor1", "ip link set port0 down")
	for _, to := range []string{"10.0.1.1", "10.0.9.1"} {
		within(t, time.Minute, to+" by one member", func(ctx context.Context) error {
			_, err := gw.InPod(ctx, "pod-gw-a", "ping", "-c", "1", "-W", "1", "10.0.1.1")
			if err == nil {
				_, err = s.hosts["gw-a"].Run(ctx, "ping", "-c", "1", "-W", "1", to)
			}
			return err
		})
	}
	within(t, time.Minute, "the session by one member", gw.Established)
}

// IPv4 pods whose gateways have IPv6 addresses alone.
func TestIPv4InIPv6(t *testing.T) {
	s := newSite(t, "dual-stack-mesh.toml")
	s.router()
	s.router6()
	for _, gw := range [][3]string{{"1.11", "1::11", "1.1"}, {"1.12", "1::12", "1.1"}, {"2.13", "2::13", "2.1"}} {
		s.edit(`"10.0.`+gw[0]+`/24", `, "")
		s.edit(`address = "10.0.`+gw[0]+`"
other-address = "2001:db8:`+gw[1]+`"`, `address = "2001:db8:`+gw[1]+`"`)
	}
	s.edit(`router = "10.0.1.1", `, "")
	s.edit(`router = "10.0.2.1", `, "")
	s.edit("as = 65101 }", `as = 65101, router-id = "10.0.1.11" }`)
	s.edit("as = 65102 }", `as = 65102, router-id = "10.0.1.12" }`)
	s.edit("as = 65103 }", `as = 65103, router-id = "10.0.2.13" }`)
	s.gateway("gw-a", "tor1")
	s.gateway("gw-b", "tor1")
	s.gateway("gw-c", "tor2")
	s.converged()
	s.allReach6()
	s.explains("gw-a", "10.64.2.0/26", "native via 2001:db8:1::12 dev uplink0")
	s.explains("gw-a", "10.64.3.0/26", "ip6tnl via 2001:db8:2::13 dev netd-ip6tnl0")
}
