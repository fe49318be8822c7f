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

	"netd/firmware/lab"
)

// restartSite is two gateways behind two ToRs, with the restart time of gw-a.
func restartSite(t *testing.T, restartTime string) *site {
	t.Helper()
	s := newSite(t, "tor-only.toml")
	if restartTime != "" {
		example, err := os.ReadFile(s.config)
		s.must(err)
		s.config = filepath.Join(s.net.Dir, "restart.toml")
		s.must(os.WriteFile(s.config, append(example, "\n[bgp]\nrestart-time = \""+restartTime+"\"\n"...), 0o644))
	}
	s.tor("tor1", "10.0.1.1/24")
	s.tor("tor2", "10.0.2.1/24")
	s.fabric("tor1", "tor2")
	s.bird("tor1", torBird{
		id: "10.0.1.1", as: "65001", fabric: "10.0.12.1 10.0.12.2 65002", export: podsOnly,
		gateways: map[string]string{"10.0.1.11": "65101"},
	}.String())
	s.bird("tor2", torBird{
		id: "10.0.2.1", as: "65002", fabric: "10.0.12.2 10.0.12.1 65001", export: podsOnly,
		gateways: map[string]string{"10.0.2.13": "65103"},
	}.String())
	s.gateway("gw-a", "tor1")
	s.gateway("gw-c", "tor2")
	s.converged()
	return s
}

// restart ends the agent of a gateway with a signal and starts the program again,
// until all is as before.
func (s *site) restart(gw string, how os.Signal, program string) {
	s.Helper()
	s.must(s.gw[gw].Signal(how))
	<-s.gw[gw].Done()
	again, err := s.hosts[gw].Netd(s.Context(), program, s.config, lab.Gateway{Name: gw})
	s.must(err)
	s.gw[gw] = again
	within(s.T, time.Minute, "all sessions of "+gw, again.Established)
	within(s.T, time.Minute, gw+" to settle", func(ctx context.Context) error {
		out, err := again.Ask(ctx, "status")
		if err == nil && strings.Contains(out, "have not told all") {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
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

// flow starts a ping of 100/s or more (a tick of the kernel late each) that goes on until its stop function, which returns
// what was sent and lost.
func (s *site) flow(from, to string) func() (sent, lost int) {
	s.Helper()
	p, err := s.gw[from].StartInPod("pod-"+from, "flow-"+from+"-"+to, "ping", "-q", "-i", "0.005", "-W", "1", s.pod[to])
	s.must(err)
	return func() (int, int) {
		_ = p.Signal(syscall.SIGINT)
		<-p.Done()
		return loss(s.T, p.Tail(4))
	}
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
