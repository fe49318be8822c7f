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
	t.Parallel()
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
	t.Parallel()
	s := restartSite(t, "0s")
	lost, seen := s.restarts()
	if lost == 0 {
		t.Error("no packet is lost")
	}
	if !strings.Contains(seen, "10.64.1.0/26") {
		t.Errorf("the ToR's monitor sees nothing of the block:\n%s", seen)
	}
}

// meshBehindToRs is two gateways that reach each other, and are reached, by an address
// of their own that they announce to a ToR each; the ToRs keep nothing over a restart.
func meshBehindToRs(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "tor-only.toml")
	s.config = filepath.Join(s.net.Dir, "mesh-behind-tors.toml")
	s.must(os.WriteFile(s.config, []byte(`schema = 1
[[uplink]]
name = "uplink0"
match = { name = "eth0" }
[[bgp.gateway]]
name = "gw-a"
address = "10.255.0.11"
as = 65101
[[bgp.gateway]]
name = "gw-c"
address = "10.255.0.13"
as = 65103
[[pool]]
name = "pods"
prefix = "10.64.0.0/16"
encapsulation = "never"
[[device]]
match = { name = "gw-a" }
gateway = { address = ["10.255.0.11"] }
uplink = [{ name = "uplink0", address = ["10.0.1.11/24"] }]
bgp = { as = 65101, peer = [{ name = "tor1", address = "10.0.1.1", as = 65001 }] }
pool = [{ name = "pods", block = "10.64.1.0/26" }]
[[device]]
match = { name = "gw-c" }
gateway = { address = ["10.255.0.13"] }
uplink = [{ name = "uplink0", address = ["10.0.2.13/24"] }]
bgp = { as = 65103, peer = [{ name = "tor2", address = "10.0.2.1", as = 65002 }] }
pool = [{ name = "pods", block = "10.64.3.0/26" }]
`), 0o644))
	s.tor("tor1", "10.0.1.1/24")
	s.tor("tor2", "10.0.2.1/24")
	s.fabric("tor1", "tor2")
	forgetful := func(b torBird) string {
		return strings.NewReplacer("[ 10.64.0.0/16+ ]", "[ 10.64.0.0/16+, 10.255.0.0/24+ ]", "hold time 9;", "hold time 9; graceful restart off;").Replace(b.String())
	}
	s.bird("tor1", forgetful(torBird{
		id: "10.0.1.1", as: "65001", fabric: "10.0.12.1 10.0.12.2 65002", export: podsOnly + " || net = 0.0.0.0/0", gateways: map[string]string{"10.0.1.11": "65101"},
	}))
	s.bird("tor2", forgetful(torBird{
		id: "10.0.2.1", as: "65002", fabric: "10.0.12.2 10.0.12.1 65001", export: podsOnly + " || net = 0.0.0.0/0", gateways: map[string]string{"10.0.2.13": "65103"},
	}))
	s.gateway("gw-a", "tor1")
	s.gateway("gw-c", "tor2")
	s.converged()
	return s
}

// What a gateway owns waits for nobody after its death: not for the other gateway, which
// can be reached only once the ToR has been told of our own address.
func TestKilledInMesh(t *testing.T) {
	const most = 6 * time.Second
	s := meshBehindToRs(t)
	for _, who := range []string{"speaker", "speaker, twice", "agent"} {
		begin := time.Now()
		stop := s.flow("gw-c", "gw-a")
		switch who {
		case "agent":
			s.restart("gw-a", syscall.SIGKILL, binary(t))
		case "speaker, twice":
			s.killSpeaker("gw-a")
			within(t, time.Minute, "the sessions", s.gw["gw-a"].Established)
			fallthrough
		default:
			s.killSpeaker("gw-a")
			within(t, time.Minute, "the sessions", s.gw["gw-a"].Established)
		}
		s.reaches("gw-c", "gw-a")
		sent, lost := stop()
		silent := time.Since(begin) * time.Duration(lost) / time.Duration(max(sent, 1))
		t.Logf("%s killed: %d of %d packets lost, %s", who, lost, sent, silent.Round(100*time.Millisecond))
		if silent > most {
			t.Errorf("%s killed: no inbound traffic for %s, want at most %s", who, silent, most)
		}
	}
}

// killSpeaker kills a gateway's speaker, and waits for another one.
func (s *site) killSpeaker(gw string) {
	s.Helper()
	pid, err := s.speaker(gw)
	s.must(err, syscall.Kill(pid, syscall.SIGKILL))
	within(s.T, time.Minute, "another speaker", func(context.Context) error {
		now, err := s.speaker(gw)
		if err == nil && now == pid {
			err = fmt.Errorf("the speaker is still process %d", pid)
		}
		return err
	})
}
