//go:build net

package daemon_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// racks are the three gateways of mesh.toml and vxlan.toml: a and b in one subnet, c
// behind the router.
func racks(t *testing.T, example string) *site {
	t.Helper()
	s := newSite(t, example)
	s.router()
	s.gateway("gw-a", "tor1")
	s.gateway("gw-b", "tor1")
	s.gateway("gw-c", "tor2")
	s.converged()
	return s
}

// shows waits until a command on a host prints all the words, and none of those
// that begin with "!".
func (s *site) shows(host, command string, words ...string) {
	s.Helper()
	within(s.T, 30*time.Second, fmt.Sprintf("%s on %s to show %q", command, host, words), func(ctx context.Context) error {
		out, err := s.hosts[host].Run(ctx, strings.Fields(command)...)
		for _, w := range words {
			without, unwanted := strings.CutPrefix(w, "!")
			if err == nil && strings.Contains(out, without) == unwanted {
				err = fmt.Errorf("%q in\n%s", w, out)
			}
		}
		return err
	})
}

// edit writes another configuration for the agents that are started from now on.
func (s *site) edit(old, new string) {
	s.Helper()
	conf, err := os.ReadFile(s.config)
	s.must(err)
	if !strings.Contains(string(conf), old) {
		s.Fatalf("%s has no %q", s.config, old)
	}
	s.config = filepath.Join(s.net.Dir, fmt.Sprintf("edited-%d.toml", time.Now().UnixNano()))
	s.must(os.WriteFile(s.config, []byte(strings.ReplaceAll(string(conf), old, new)), 0o644))
}

// A mesh by VXLAN: whole packets of the pods' size go through, tables are permanent
// and exact, and a change of the number or of the mode while the agent is away
// leaves nothing behind.
func TestVXLAN(t *testing.T) {
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
