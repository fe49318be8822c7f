//go:build net

package daemon_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// restartSite is two gateways behind two ToRs, with the restart time of gw-a.
func restartSite(t *testing.T, restartTime string) *site {
	t.Helper()
	s := twoRacks(t, "tor-only.toml", podsOnly, map[string]string{"10.0.1.11": "65101"}, map[string]string{"10.0.2.13": "65103"})
	if restartTime != "" {
		s.add("\n[bgp]\nrestart-time = \"" + restartTime + "\"\n")
	}
	s.gateway("gw-a", "tor1")
	s.gateway("gw-c", "tor2")
	s.converged()
	return s
}

// restarts does so three times in a row, killed, upgraded and restarted, under a flow
// of 100 packets a second in each direction; it returns what was lost, and what a
// neighbour saw of it.
func (s *site) restarts() (lost int, seen string) {
	s.Helper()
	monitor, err := s.hosts["tor1"].Start("monitor", "ip", "-4", "monitor", "route")
	s.must(err)
	upgraded := filepath.Join(s.net.Dir, "netd-new")
	program, err := os.ReadFile(binary(s.T))
	s.must(err, os.WriteFile(upgraded, program, 0o755))
	stops := []func() (int, int){s.flow("gw-a", "gw-c"), s.flow("gw-c", "gw-a")}
	s.restart("gw-a", syscall.SIGKILL, binary(s.T))
	s.restart("gw-a", syscall.SIGTERM, upgraded)
	s.restart("gw-a", syscall.SIGTERM, upgraded)
	for i, stop := range stops {
		sent, l := stop()
		s.Logf("flow %d: %d of %d packets lost at 100/s or more", i, l, sent)
		lost += l
	}
	monitor.Stop()
	return lost, monitor.Tail(20)
}

// Three restarts in a row cost no packet, and no route moves on the ToR.
func TestRestarts(t *testing.T) {
	s := restartSite(t, "")
	lost, seen := s.restarts()
	if lost > 0 {
		t.Errorf("%d packets lost", lost)
	}
	if seen != "" {
		t.Errorf("routes moved on the ToR:\n%s", seen)
	}
}

// Without graceful restart both are seen: the detectors of TestRestarts detect.
func TestRestartsWithoutGracefulRestart(t *testing.T) {
	s := restartSite(t, "0s")
	lost, seen := s.restarts()
	if lost == 0 {
		t.Error("no packet is lost")
	}
	if !strings.Contains(seen, "10.64.1.0/26") {
		t.Errorf("the ToR's monitor sees nothing of the block:\n%s", seen)
	}
}
