//go:build net

package daemon_test

import (
	"syscall"
	"testing"
)

// A mesh by VXLAN: whole packets of the pods' size go through, tables are permanent
// and exact, and a change of the number or of the mode while the agent is away
// leaves nothing behind.
func TestVXLAN(t *testing.T) {
	t.Parallel()
	s := racks(t, "vxlan.toml")
	s.explains("gw-a", "10.64.2.0/26", "native via 10.0.1.12 dev uplink0")
	s.explains("gw-a", "10.64.3.0/26", "vxlan via 10.0.2.13 dev netd-vxlan0", "from gw-c")
	s.shows("gw-a", "bridge fdb show dev netd-vxlan0", "02:6e:0a:00:02:0d dst 10.0.2.13 self permanent", "02:6e:0a:00:01:0c dst 10.0.1.12 self permanent", "!00:00:00:00:00:00")
	s.shows("gw-a", "ip -6 neigh show dev netd-vxlan0 nud permanent", "fe80::6e:aff:fe00:20d lladdr 02:6e:0a:00:02:0d PERMANENT")
	for _, size := range []string{"1372", "1422"} { // and 28 of ICMP and IP: 1450
		if out, err := s.gw["gw-a"].InPod(t.Context(), "pod-gw-a", "ping", "-c", "3", "-i", "0.1", "-W", "2", "-M", "do", "-s", size, s.pod["gw-c"]); err != nil {
			t.Errorf("%s octets: %v\n%s", size, err, out)
		}
	}
	if _, err := s.gw["gw-a"].InPod(t.Context(), "pod-gw-a", "ping", "-c", "1", "-W", "1", "-M", "do", "-s", "1423", s.pod["gw-c"]); err == nil {
		t.Error("1451 octets go through, so the pods' MTU is not 1450")
	}

	s.edit("vni = 4096", "vni = 7")
	for _, gw := range []string{"gw-a", "gw-b", "gw-c"} {
		s.restart(gw, syscall.SIGTERM, binary(t))
	}
	s.shows("gw-a", "ip -d link show netd-vxlan0", "vxlan id 7 ")
	s.allReach()

	// Live: a flow to another subnet stays in its tunnel, one inside enters and leaves it.
	const cross, always = `encapsulation = "cross-subnet"`, `encapsulation = "always"`
	for _, step := range []struct{ to, old, new, way string }{
		{"gw-b", cross, always, "vxlan via 10.0.1.12 dev netd-vxlan0"},
		{"gw-b", always, cross, "native via 10.0.1.12 dev uplink0"},
		{"gw-c", cross, always, "vxlan via 10.0.1.12 dev netd-vxlan0"},
		{"gw-c", always, cross, "native via 10.0.1.12 dev uplink0"},
	} {
		s.rewrite(step.old, step.new)
		sent, lost := s.oneWay("gw-a", step.to, 2, func() {
			_, err := s.gw["gw-a"].Ask(t.Context(), "reload")
			s.must(err)
		})
		t.Logf("to %s while %s: %d of %d packets lost", step.to, step.new, lost, sent)
		s.explains("gw-a", "10.64.2.0/26", step.way)
	}

	s.edit(`encapsulation = "cross-subnet"`, `encapsulation = "never"`)
	s.restart("gw-a", syscall.SIGKILL, binary(t))
	s.explains("gw-a", "10.64.3.0/26", "no route", "the pool's mode is never")
	s.shows("gw-a", "ip link", "!netd-vxlan")
	s.shows("gw-a", "ip route", "!10.64.3.0")
	s.reaches("gw-a", "gw-b")

	s.edit(`encapsulation = "never"`, `encapsulation = "always"`)
	s.restart("gw-a", syscall.SIGKILL, binary(t))
	s.restart("gw-b", syscall.SIGKILL, binary(t))
	s.explains("gw-a", "10.64.2.0/26", "vxlan via 10.0.1.12 dev netd-vxlan0", "the pool's mode is always")
	s.allReach()

	// A gateway that is not listed any more is in no table.
	s.edit("[[bgp.gateway]]\nname = \"gw-b\"\naddress = \"10.0.1.12\"\nas = 65102\n", "")
	s.restart("gw-a", syscall.SIGTERM, binary(t))
	s.shows("gw-a", "bridge fdb show dev netd-vxlan0", "dst 10.0.2.13", "!dst 10.0.1.12")
	s.shows("gw-a", "ip -6 neigh show dev netd-vxlan0 nud permanent", "20d lladdr", "!10c lladdr")
}
