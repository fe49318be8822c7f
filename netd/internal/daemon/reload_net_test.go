//go:build net

package daemon_test

import (
	"strings"
	"testing"
)

// reload makes the edited configuration a gateway's while it runs.
func (s *site) reload(gw string, words ...string) {
	s.Helper()
	out, err := s.gw[gw].Ask(s.Context(), "reload", s.config)
	for _, w := range words {
		if err != nil || !strings.Contains(out, w) {
			s.Fatalf("netd reload on %s: %v, want %q in\n%s", gw, err, w, out)
		}
	}
}

// The mode, the tunnel's number and the list of gateways change while everything
// runs: no stale route, link or entry is left, and a flow that keeps its way all the
// while loses nothing.
func TestReloadTunnels(t *testing.T) {
	t.Parallel()
	s := racks(t, "vxlan.toml")
	stop := s.flow("gw-a", "gw-b")
	s.edit("vni = 4096", "vni = 7")
	for _, gw := range []string{"gw-a", "gw-b", "gw-c"} {
		s.reload(gw, "tunnel.vni: 4096 -> 7")
	}
	s.shows("gw-a", "ip -d link show netd-vxlan0", "vxlan id 7 ")
	s.allReach()

	s.edit(`encapsulation = "cross-subnet"`, `encapsulation = "never"`)
	s.reload("gw-a", `pool[pods].encapsulation: "cross-subnet" -> "never"`)
	s.explains("gw-a", "10.64.3.0/26", "no route", "the pool's mode is never")
	s.shows("gw-a", "ip link", "!netd-vxlan")
	s.shows("gw-a", "ip route", "!10.64.3.0")

	s.edit(`encapsulation = "never"`, `encapsulation = "cross-subnet"`)
	s.reload("gw-a", `"never" -> "cross-subnet"`)
	s.explains("gw-a", "10.64.3.0/26", "vxlan via 10.0.2.13 dev netd-vxlan0")
	s.allReach()
	if sent, lost := stop(); lost > 0 || sent < 10 {
		t.Errorf("of %d packets on a way that never changed %d were lost", sent, lost)
	}

	// Always is another way for this flow too: made before the former one is broken.
	stop = s.flow("gw-a", "gw-b")
	s.edit(`encapsulation = "cross-subnet"`, `encapsulation = "always"`)
	s.reload("gw-a", `"cross-subnet" -> "always"`)
	s.reload("gw-b", `"cross-subnet" -> "always"`)
	s.explains("gw-a", "10.64.2.0/26", "vxlan via 10.0.1.12 dev netd-vxlan0", "the pool's mode is always")
	s.allReach()
	if sent, lost := stop(); lost > 0 || sent < 10 {
		t.Errorf("of %d packets on a way that moved to the tunnel %d were lost", sent, lost)
	}

	// A gateway that is not listed any more is in no table.
	s.edit("[[bgp.gateway]]\nname = \"gw-b\"\naddress = \"10.0.1.12\"\nas = 65102\n", "")
	s.reload("gw-a", "- bgp.gateway[gw-b]")
	s.shows("gw-a", "bridge fdb show dev netd-vxlan0", "dst 10.0.2.13", "!dst 10.0.1.12")
	s.shows("gw-a", "ip route", "!10.64.2.0")
	s.reaches("gw-a", "gw-c")
}
