//go:build net

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/netd/internal/api"
	"netd/netd/layout"
)

// leafFRR is an FRR with "neighbor … bfd" as the ToR of gw-a and gw-b.
const leafFRR = `router bgp 65001
 bgp router-id 10.0.1.1
 no bgp ebgp-requires-policy
%s
 neighbor 10.0.1.11 remote-as 65101
 neighbor 10.0.1.11 timers 3 9
 neighbor 10.0.1.11 timers connect 1
 neighbor 10.0.1.11 bfd 3 300 300
 neighbor 10.0.12.2 remote-as 65002
 neighbor 10.0.12.2 timers connect 1
exit
`

// watchedSite is two gateways behind two ToRs, with BFD on each session and nothing
// special on the ToRs: BIRD's "bfd on", FRR's "neighbor … bfd". gw-a's is FRR or BIRD.
func watchedSite(t *testing.T, frr bool) *site {
	t.Helper()
	return watchedBy(t, func(s *site) {
		if frr {
			s.frr("tor1", fmt.Sprintf(leafFRR, ""))
			return
		}
		s.bird("tor1", bfdOn(torBird{
			id: "10.0.1.1", as: "65001", fabric: "10.0.12.1 10.0.12.2 65002", export: podsOnly,
			gateways: map[string]string{"10.0.1.11": "65101"},
		}))
	})
}

// frr starts FRR with BGP and BFD on a ToR.
func (s *site) frr(tor, conf string) *lab.FRR {
	s.Helper()
	f, err := s.hosts[tor].FRR(s.Context(), map[string]string{"bfdd": "", "bgpd": conf})
	s.must(err)
	return f
}

func bfdOn(b torBird) string {
	return strings.NewReplacer("bfd graceful;", "bfd on;", "bgp any {", "bgp any { graceful restart on;", "interval 150 ms", "interval 300 ms").Replace(b.String())
}

// watchedBy is a watchedSite whose first ToR is what start makes of it.
func watchedBy(t *testing.T, start func(*site)) *site {
	t.Helper()
	s := newSite(t, "tor-only.toml")
	example, err := os.ReadFile(s.config)
	s.must(err)
	timers := `, bfd = true }`
	watched := strings.NewReplacer("as = 65001 }", "as = 65001"+timers, "as = 65002 }", "as = 65002"+timers).Replace(string(example))
	s.config = filepath.Join(s.net.Dir, "watched.toml")
	s.must(os.WriteFile(s.config, []byte(watched), 0o644))
	s.tor("tor1", "10.0.1.1/24")
	s.tor("tor2", "10.0.2.1/24")
	s.fabric("tor1", "tor2")
	start(s)
	s.bird("tor2", bfdOn(torBird{
		id: "10.0.2.1", as: "65002", fabric: "10.0.12.2 10.0.12.1 65001", export: podsOnly,
		gateways: map[string]string{"10.0.2.13": "65103"},
	}))
	s.gateway("gw-a", "tor1")
	s.gateway("gw-c", "tor2")
	s.converged()
	within(t, time.Minute, "BFD on both gateways", func(ctx context.Context) error {
		return errors.Join(s.watched(ctx, "gw-a"), s.watched(ctx, "gw-c"))
	})
	return s
}

// watched tells whether all BFD sessions of a gateway are Up at both ends.
func (s *site) watched(ctx context.Context, gw string) error {
	var peers []api.Peer
	err := s.gw[gw].JSON(ctx, &peers, "peers")
	for _, p := range peers {
		if p.BFD == nil || p.BFD.State != "Up" || p.BFD.RemoteState != "Up" {
			err = errors.Join(err, fmt.Errorf("%s: %s: %+v", gw, p.Name, p.BFD))
		}
	}
	return err
}

// losses counts how often a gateway has lost BFD.
func (s *site) losses(gw string) (n int) {
	s.Helper()
	var peers []api.Peer
	s.must(s.gw[gw].JSON(s.Context(), &peers, "peers"))
	for _, p := range peers {
		n += p.BFD.Flaps
	}
	return n
}

// bfdProcess is the one on the gateway.
func (s *site) bfdProcess(gw string) int {
	s.Helper()
	pid, err := s.findBFD(s.Context(), gw)
	s.must(err)
	return pid
}

// findBFD is bfdProcess where there may be none for a moment.
func (s *site) findBFD(ctx context.Context, gw string) (int, error) {
	pids, err := s.hosts[gw].PIDs(ctx)
	for _, pid := range pids {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if strings.Contains(string(status), fmt.Sprintf("\nUid:\t%d\t", layout.BFDUID)) {
			return pid, nil
		}
	}
	return 0, errors.Join(fmt.Errorf("no BFD process on %s among %d", gw, pids), err)
}

// killed kills the agent of gw-a three times in a row under a flow of 100 packets a
// second in each direction, with the BFD process if all is set, and starts it again
// after a while; it returns what was lost.
func (s *site) killed(all bool) (lost int) {
	s.Helper()
	stops := []func() (int, int){s.flow("gw-a", "gw-c"), s.flow("gw-c", "gw-a")}
	for range 3 {
		process := s.bfdProcess("gw-a")
		s.must(s.gw["gw-a"].Signal(syscall.SIGKILL))
		if all {
			s.must(syscall.Kill(process, syscall.SIGKILL))
		}
		<-s.gw["gw-a"].Done()
		<-time.After(time.Second) // longer than the detection time: what is lost by it is lost
		s.must(s.gw["gw-a"].Restart(s.Context()))
		within(s.T, time.Minute, "all sessions of gw-a", s.gw["gw-a"].Established)
		within(s.T, time.Minute, "BFD on gw-a", func(ctx context.Context) error { return s.watched(ctx, "gw-a") })
		// What is killed before it has told its own again is forgotten (RFC 4724 section 4.2).
		within(s.T, time.Minute, "gw-a to settle", func(ctx context.Context) error {
			var status api.Status
			if err := s.gw["gw-a"].JSON(ctx, &status, "status"); err != nil || !status.Settled {
				return fmt.Errorf("%+v %w", status, err)
			}
			return nil
		})
		if again := s.bfdProcess("gw-a"); (again == process) == all {
			s.Errorf("the BFD process was %d, is %d", process, again)
		}
	}
	for i, stop := range stops {
		sent, l := stop()
		s.Logf("flow %d: %d of %d packets lost at 100/s or more", i, l, sent)
		lost += l
	}
	return lost
}

// The agent's sudden death costs no packet, with ToRs that watch it by BFD and know
// nothing of its restarts.
func TestKilledWithBFD(t *testing.T) {
	t.Parallel()
	for _, frr := range []bool{false, true} {
		t.Run(map[bool]string{false: "BIRD", true: "FRR"}[frr], func(t *testing.T) {
			t.Parallel()
			s := watchedSite(t, frr)
			for attempt := 1; ; attempt++ {
				before := s.losses("gw-c")
				lost := s.killed(false)
				if lost == 0 {
					return
				}
				// A machine that gives a ToR no CPU for 900 ms proves nothing.
				if stalled := s.losses("gw-c") > before; !stalled || attempt == 3 {
					t.Fatalf("%d packets lost", lost)
				}
			}
		})
	}
}

// If BFD dies with the agent, BIRD drops its routes: the test above detects. (FRR ends
// BFD when BGP ends.)
func TestKilledWithoutBFD(t *testing.T) {
	t.Parallel()
	s := watchedSite(t, false)
	if lost := s.killed(true); lost == 0 {
		t.Error("no packet is lost")
	}
}

// A ToR whose BIRD dies takes its BGP and then its BFD along, which share its fate; its
// kernel forwards on, and so does the gateway's, as graceful restart has it.
func TestToRRestartsWithBFD(t *testing.T) {
	t.Parallel()
	s := watchedSite(t, false)
	stop := s.flow("gw-a", "gw-c")
	s.must(s.birds["tor1"].Signal(syscall.SIGKILL))
	within(t, time.Minute, "BFD to end", func(ctx context.Context) error {
		if s.watched(ctx, "gw-a") == nil {
			return errors.New("it is Up")
		}
		return nil
	})
	<-time.After(time.Second)
	sent, lost := stop()
	t.Logf("%d of %d packets lost at 100/s or more", lost, sent)
	if lost > 0 {
		t.Errorf("%d packets lost", lost)
	}
	s.explains("gw-a", "10.64.3.0/26", "native via 10.0.1.1 dev uplink0")
}

// A peer of a range has BFD as soon as it is there, also while the agent restarts, and
// is lost by it.
func TestRangeWithBFD(t *testing.T) {
	t.Parallel()
	s := newSite(t, "tor-only.toml")
	s.config = filepath.Join(s.net.Dir, "range.toml")
	s.must(os.WriteFile(s.config, []byte(`schema = 1
[gateway]
name = "gw-a"
[[uplink]]
name = "uplink0"
match = { name = "eth0" }
address = ["10.0.1.11/24"]
[bgp]
as = 65101
[[bgp.range]]
name = "tors"
prefix = "10.0.1.0/29"
type = "tor"
as = 65001
bfd = true
[[pool]]
name = "pods"
prefix = "10.64.0.0/16"
block = "10.64.1.0/26"
encapsulation = "never"
`), 0o644))
	s.tor("tor1", "10.0.1.1/24")
	s.bird("tor1", strings.NewReplacer("bfd graceful;", "bfd on; debug { events };", "interval 150 ms", "interval 300 ms").Replace(torBird{
		id: "10.0.1.1", as: "65001", export: podsOnly, gateways: map[string]string{"10.0.1.11": "65101"},
	}.String()))
	s.gateway("gw-a", "tor1")
	is := func(what string, established bool) {
		t.Helper()
		within(t, time.Minute, what, func(ctx context.Context) error {
			var peers []api.Peer
			if err := s.gw["gw-a"].JSON(ctx, &peers, "peers"); err != nil {
				return err
			}
			up := len(peers) == 1 && peers[0].Name == "tors[10.0.1.1]" && peers[0].State == "Established" && peers[0].BFD != nil && peers[0].BFD.State == "Up"
			if up != established {
				return fmt.Errorf("%+v", peers)
			}
			return nil
		})
	}
	is("the peer", true)
	process := s.bfdProcess("gw-a")
	s.restart("gw-a", syscall.SIGTERM, binary(t))
	is("the peer again", true)
	if again := s.bfdProcess("gw-a"); again != process {
		t.Errorf("the BFD process was %d, is %d", process, again)
	}
	s.must(s.birds["tor1"].Signal(syscall.SIGSTOP))
	is("its loss", false)
	s.must(s.birds["tor1"].Signal(syscall.SIGCONT))
	is("its return", true)
}
