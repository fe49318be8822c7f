//go:build net

package daemon_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

const podsOnly = "net ~ [ 10.64.0.0/16+ ]"

// Each example of a topology is run as its file stands, with BIRD as ToR.

func TestTorOnly(t *testing.T) {
	t.Parallel()
	s := twoRacks(t, "tor-only.toml", podsOnly,
		map[string]string{"10.0.1.11": "65101", "10.0.1.12": "65102"},
		map[string]string{"10.0.2.13": "65103"})
	s.gateway("gw-a", "tor1")
	s.gateway("gw-b", "tor1")
	s.gateway("gw-c", "tor2")
	s.converged()
	s.explains("gw-a", "10.64.3.0/26", "native via 10.0.1.1 dev uplink0", "AS path [65001 65002 65103]")
	s.explains("gw-a", "10.64.2.0/26", "native via 10.0.1.1 dev uplink0", "AS path [65001 65102]")
}

func TestDownwardDefault(t *testing.T) {
	t.Parallel()
	s := twoRacks(t, "downward-default.toml", "net = 0.0.0.0/0",
		map[string]string{"10.0.1.11": "65101"},
		map[string]string{"10.0.2.13": "65103"})
	s.gateway("gw-a", "tor1")
	s.gateway("gw-c", "tor2")
	s.converged()
	s.explains("gw-a", "10.64.3.1", "0.0.0.0/0: native via 10.0.1.1 dev uplink0")
	if out, err := s.gw["gw-a"].Ask(t.Context(), "routes"); err != nil || strings.Contains(out, "10.64.3.") {
		t.Errorf("gw-a knows more than the default route: %v\n%s", err, out)
	}
}

// twoToRs brings up the dual-homed gateways of two-tors.toml and its like.
func twoToRs(t *testing.T, example string) *site {
	t.Helper()
	s := newSite(t, example)
	s.tor("tor1", "10.0.1.1/24")
	s.tor("tor2", "10.0.2.1/24")
	for i, tor := range []string{"tor1", "tor2"} {
		s.bird(tor, torBird{
			id: fmt.Sprintf("10.0.%d.1", i+1), as: fmt.Sprintf("6500%d", i+1), export: podsOnly,
			gateways: map[string]string{fmt.Sprintf("10.0.%d.11", i+1): "65101", fmt.Sprintf("10.0.%d.13", i+1): "65103"},
		}.String())
	}
	s.gateway("gw-a", "tor1", "tor2")
	s.gateway("gw-c", "tor1", "tor2")
	s.converged()
	return s
}

// Two ToRs on equal terms share the flows; when one falls silent the other has all.
func TestTwoToRs(t *testing.T) {
	t.Parallel()
	s := twoToRs(t, "two-tors.toml")
	within(t, 30*time.Second, "both ToRs in one route", func(context.Context) error {
		if n := s.links("gw-a", "10.64.3.0/26"); n != 2 {
			return fmt.Errorf("%d links", n)
		}
		return nil
	})
	s.shares("gw-a", "gw-c")
	s.run("tor1", "ip link set br0 down") // The wires keep their carrier.
	within(t, 20*time.Second, "tor2 to have all", func(context.Context) error {
		if n := s.links("gw-a", "10.64.3.0/26"); n != 1 {
			return fmt.Errorf("%d links", n)
		}
		return nil
	})
	s.explains("gw-a", "10.64.3.0/26", "native via 10.0.2.1 dev uplink1")
	s.allReach()
	s.run("tor1", "ip link set br0 up")
	s.converged()
	within(t, 30*time.Second, "both ToRs in one route again", func(context.Context) error {
		if n := s.links("gw-a", "10.64.3.0/26"); n != 2 {
			return fmt.Errorf("%d links", n)
		}
		return nil
	})
}

// shares sends many flows and expects some of them over each ToR.
func (s *site) shares(from, to string) {
	s.Helper()
	var seen [2]int
	for i, tor := range []string{"tor1", "tor2"} {
		c, err := s.hosts[tor].Capture(s.Context(), "flows-"+tor, from, "udp and src "+s.pod[from])
		if err != nil {
			s.Fatal(err)
		}
		defer func() {
			if seen[i] = len(c.Packets()); seen[i] == 0 {
				s.Errorf("no flow of 32 goes by %s", tor)
			}
		}()
	}
	// traceroute sends each probe to another port: 32 flows.
	_, err := s.gw[from].InPod(s.Context(), "pod-"+from, "traceroute", "-n", "-f", "5", "-m", "5", "-q", "10", "-N", "10", "-w", "1", s.pod[to])
	s.must(err)
	for range 2 {
		_, err := s.gw[from].InPod(s.Context(), "pod-"+from, "traceroute", "-n", "-f", "5", "-m", "5", "-q", "10", "-N", "10", "-w", "1", s.pod[to])
		s.must(err)
	}
}

// A rack of one AS: what a neighbour announces comes back with our own AS in it.
func TestRackAS(t *testing.T) {
	t.Parallel()
	s := twoRacks(t, "rack-as.toml", podsOnly,
		map[string]string{"10.0.1.11": "65101", "10.0.1.12": "65101"},
		map[string]string{"10.0.2.13": "65102"})
	s.gateway("gw-a", "tor1")
	s.gateway("gw-b", "tor1")
	s.gateway("gw-c", "tor2")
	s.converged()
	s.explains("gw-a", "10.64.2.0/26", "native via 10.0.1.1 dev uplink0", "AS path [65001 65101]")
}
