//go:build net

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/firmware/bench/feed"
	"netd/firmware/lab/patience"
	"netd/netd/internal/api"
)

// stop stops a process until the test ends or it is killed.
func (s *site) stop(pid int) {
	s.Helper()
	s.must(syscall.Kill(pid, syscall.SIGSTOP))
	s.Cleanup(func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.Errorf("let %d go on: %v", pid, err)
		}
	})
}

// answers are how long an agent's took.
type answers struct {
	longest time.Duration // without time in which the machine stood still
	// late is how much too late this test itself came to ask, at most: its machine is as
	// busy as that.
	late time.Duration
}

// answered asks an agent for its status until its stop function.
func (s *site) answered(gw string) func() answers {
	const pause = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(s.Context())
	result := make(chan answers, 1)
	client := api.NewClient(filepath.Join(s.hosts[gw].Path("run"), "netd.sock"))
	go func() {
		var a answers
		for ctx.Err() == nil {
			watch := patience.Start()
			var status api.Status
			err := client.Get(ctx, "/v1/status", &status)
			watch.Stop()
			if ctx.Err() != nil {
				break
			}
			if err != nil {
				s.Errorf("status: %v", err)
				break
			}
			a.longest = max(a.longest, watch.Took()-watch.Lost())
			rested := patience.Start()
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			rested.Stop()
			a.late = max(a.late, rested.Took()-rested.Lost()-pause)
		}
		result <- a
	}()
	return func() answers {
		cancel()
		return <-result
	}
}

// answerLimit is what an answer from the view may take on a machine whose cores are busy
// with all of a lab, beside what they are late for anybody.
const answerLimit = 100 * time.Millisecond

// inTime fails if an answer took too long. Two processes have to come to their turn for one.
func (s *site) inTime(a answers) {
	s.Helper()
	s.Logf("a status took %s at most; the machine is %s late", a.longest.Round(time.Millisecond), a.late.Round(time.Millisecond))
	if limit := answerLimit + 2*a.late; a.longest > limit {
		s.Errorf("a status took %s, want at most %s", a.longest, limit)
	}
}

// meanwhile holds a gateway to what must go on while f runs: its status is answered, and
// BFD loses nobody but the ToRs that are named.
func (s *site) meanwhile(gw string, f func(), lost ...string) {
	s.Helper()
	flaps := func() map[string]int {
		var peers []api.Peer
		s.must(s.gw[gw].JSON(s.Context(), &peers, "peers"))
		n := map[string]int{}
		for _, p := range peers {
			if p.BFD != nil && !slices.Contains(lost, p.Name) {
				n[p.Name] = int(p.BFD.Flaps)
			}
		}
		return n
	}
	before, stop := flaps(), s.answered(gw)
	f()
	s.inTime(stop())
	if diff := cmp.Diff(before, flaps()); diff != "" {
		s.Errorf("losses of BFD (-before +after):\n%s", diff)
	}
}

// asked runs a verb. That something is stopped, which is a problem, is no error.
func (s *site) asked(gw, verb string, args ...string) error {
	out, err := s.gw[gw].Ask(s.Context(), verb, args...)
	if err == nil || strings.Contains(out, "done, but not everything works yet") {
		return nil
	}
	return fmt.Errorf("%s %v: %w\n%s", verb, args, err, out)
}

// unplug takes a carrier away from a gateway, until the test ends.
func (s *site) unplug(tor, gw string) {
	s.Helper()
	s.run(tor, "ip link set "+gw+" down")
	s.Cleanup(func() {
		if _, err := s.hosts[tor].Run(context.WithoutCancel(s.Context()), "ip", "link", "set", gw, "up"); err != nil {
			s.Error(err)
		}
	})
}

// quickly runs a verb that must not wait for what is stopped.
func (s *site) quickly(gw, verb string, args ...string) {
	s.Helper()
	watch := patience.Start()
	defer watch.Stop()
	if err := s.asked(gw, verb, args...); err != nil {
		s.Error(err)
	}
	if took := watch.Took() - watch.Lost(); took > 2*time.Second {
		s.Errorf("%s %v took %s", verb, args, watch)
	}
}

// loses cuts the way from one gateway's pod to another's, and fails if more packets are
// lost than limit, at 1,000 a second. Those that pass before another process has heard of
// it from the kernel count for nothing: with many changes of carriers the kernel is up to
// a second late (linkwatch). Nor do those for which the machine is late for anybody, twice. It returns the ToR that was cut off.
func (s *site) loses(from, to string, limit int, cut func(tor string)) (tor string) {
	s.Helper()
	tor, _ = s.way(from, to)
	monitor, err := s.hosts[from].Start("monitor-"+fmt.Sprint(time.Now().UnixNano()), "ip", "-ts", "-o", "monitor", "link")
	s.must(err)
	began, stop := time.Time{}, s.answered(from)
	sent, lost := s.oneWay(from, to, 4, func() {
		began = time.Now()
		cut(tor)
	})
	monitor.Stop()
	busy, late := stop().late, time.Duration(0)
	for line := range strings.Lines(monitor.Tail(1 << 20)) {
		stamp, rest, _ := strings.Cut(strings.TrimPrefix(line, "["), "] ")
		at, err := time.ParseInLocation("2006-01-02T15:04:05.999999", stamp, time.Local)
		if err == nil && strings.Contains(rest, "NO-CARRIER") {
			late = min(max(at.Sub(began), 0), time.Second)
			break
		}
	}
	s.Logf("%d of %d packets lost without %s; the kernel tells of it after %s, the machine is %s late", lost, sent, tor, late.Round(time.Millisecond), busy.Round(time.Millisecond))
	if limit += int((late + 2*busy).Milliseconds()); lost > limit {
		s.Errorf("%d of %d packets lost without %s, at 1,000 a second: want at most %d", lost, sent, tor, limit)
	}
	return tor
}

// upAgain waits until a gateway's sessions are all up, BFD too, and the way to the other
// gateway's pod is by both ToRs.
func (s *site) upAgain(gw string) {
	s.Helper()
	within(s.T, time.Minute, "all sessions of "+gw, func(ctx context.Context) error {
		_, err := s.sessions(ctx, gw)
		if n := s.links(gw, "10.64.3.0/26"); n != 2 {
			err = errors.Join(err, fmt.Errorf("10.64.3.0/26 over %d links", n))
		}
		return err
	})
}

// changedConfig is the gateways' configuration, changed by a replacement, as another file.
func (s *site) changedConfig(name, old, now string) string {
	s.Helper()
	config, err := os.ReadFile(s.config)
	s.must(err)
	file := filepath.Join(s.net.Dir, name)
	s.must(os.WriteFile(file, []byte(strings.Replace(string(config), old, now, 1)), 0o644))
	return file
}

// replaced waits until a gateway has another speaker than that one.
func (s *site) replaced(gw string, was int, limit time.Duration) {
	s.Helper()
	within(s.T, limit, "another speaker on "+gw, func(context.Context) error {
		now, err := s.speaker(gw)
		if err == nil && now == was {
			err = fmt.Errorf("it is %d still", now)
		}
		return err
	})
}

// A speaker that is stopped hangs nothing: what loses packets does so for no longer than
// with one that runs, requests are answered, and it is replaced within the hold time.
func TestStoppedSpeaker(t *testing.T) {
	s, _ := manyRoutes(t, 20000)
	const hold = 9 * time.Second
	steady := func() (speaker int) {
		s.Helper()
		s.upAgain("gw-a")
		speaker, err := s.speaker("gw-a")
		s.must(err)
		return speaker
	}
	run := func(name string, f func()) {
		t.Run(name, func(t *testing.T) {
			s.T = t
			f()
		})
		s.T = t
	}
	run("carrier", func() {
		pid := steady()
		s.meanwhile("gw-a", func() {
			s.loses("gw-a", "gw-c", 200, func(tor string) {
				s.stop(pid)
				s.unplug(tor, "gw-a")
			})
			s.replaced("gw-a", pid, hold)
		}, "tor1", "tor2")
	})
	run("a silent ToR", func() {
		const detection = 900 // ms
		pid, tor := steady(), ""
		s.meanwhile("gw-a", func() {
			tor = s.loses("gw-a", "gw-c", detection+200, func(tor string) {
				s.stop(pid)
				s.run(tor, "bridge link set dev gw-a state 0") // the carrier stays
			})
			s.replaced("gw-a", pid, hold)
		}, "tor1", "tor2")
		s.run(tor, "bridge link set dev gw-a state 3")
	})
	run("requests", func() {
		pid := steady()
		s.stop(pid)
		s.meanwhile("gw-a", func() {
			s.quickly("gw-a", "pod", "add", "one-more")
			s.quickly("gw-a", "reload", s.changedConfig("other.toml", "schema = 1", "schema = 1\n# changed"))
			s.quickly("gw-a", "reload", s.config)
			s.quickly("gw-a", "peer", "down", "tor1")
			s.quickly("gw-a", "peer", "up", "tor1")
			s.quickly("gw-a", "explain", "10.64.3.0/26")
			s.replaced("gw-a", pid, hold)
		}, "tor1")
	})
	for i := range 3 {
		run(fmt.Sprintf("while it is read, %d", i), func() { s.stoppedWhileRead("gw-a", 20000, 6000*i) })
	}
	s.upAgain("gw-a")
	s.allReach()
}

// stoppedWhileRead stops a speaker once the agent has so many of the routes that a ToR
// begins to announce.
func (s *site) stoppedWhileRead(gw string, all, some int) {
	s.Helper()
	routes := func(what string, enough func(n int) bool) {
		s.Helper()
		within(s.T, time.Minute, what, func(ctx context.Context) error {
			if n, err := s.learned(ctx, gw); err != nil || !enough(n) {
				return fmt.Errorf("%d routes, %w", n, err)
			}
			return nil
		})
	}
	many := func(verb string) {
		s.Helper()
		_, err := s.birds["tor1"].Ask(s.Context(), verb+" many")
		s.must(err)
	}
	s.upAgain(gw)
	many("disable")
	routes("no routes", func(n int) bool { return n < 100 })
	pid, err := s.speaker(gw)
	s.must(err)
	client := api.NewClient(filepath.Join(s.hosts[gw].Path("run"), "netd.sock"))
	many("enable")
	ctx, cancel := patience.Context(s.Context(), 30*time.Second)
	defer cancel()
	s.must(patience.Until(ctx, time.Millisecond, "some routes", func(ctx context.Context) error {
		var status api.Status
		if err := client.Get(ctx, "/v1/status", &status); err != nil || total(status) < some {
			return fmt.Errorf("%v, %w", status.Routes, err)
		}
		return nil
	}))
	s.stop(pid)
	s.meanwhile(gw, func() {
		s.quickly(gw, "pod", "add", "meanwhile")
		s.quickly(gw, "reload", s.config)
		s.quickly(gw, "pod", "del", "meanwhile")
		s.replaced(gw, pid, 9*time.Second)
	})
	routes("all routes", func(n int) bool { return n >= all })
}

// learned counts a gateway's routes.
func (s *site) learned(ctx context.Context, gw string) (int, error) {
	var status api.Status
	err := s.gw[gw].JSON(ctx, &status, "status")
	return total(status), err
}

func total(status api.Status) (n int) {
	for _, of := range status.Routes {
		n += of
	}
	return n
}

// manyRoutes is twoUplinks whose first ToR gives n more prefixes while its protocol "many"
// is enabled. Its ToRs keep their routes over a loss of BFD. prepare may come before gw-a.
func manyRoutes(t *testing.T, n int, prepare ...func(*site)) (s *site, tor func(i int, export string) string) {
	t.Helper()
	s, tor = dualToRs(t)
	s.add("")
	config, err := os.ReadFile(s.config)
	more := strings.NewReplacer("as = 65001\n", "as = 65001\nmax-prefixes = 100000\n", `"150ms"`, `"300ms"`) // for a busy machine
	s.must(err, os.WriteFile(s.config, []byte(more.Replace(string(config))), 0o644))
	var many strings.Builder
	many.WriteString("\nprotocol static many { disabled; ipv4;\n")
	for _, p := range feed.Prefixes(netip.MustParsePrefix("10.64.128.0/17"), 32, n) {
		fmt.Fprintf(&many, "route %s blackhole;\n", p)
	}
	many.WriteString("}\n")
	keeping := func(conf string) string {
		conf = strings.Replace(conf, "export where net", `export where proto != "many" && net`, 1) // to the other ToR
		return strings.Replace(conf, "bgp any {", "bgp any {\n\tgraceful restart on;", 1)
	}
	s.bird("tor1", keeping(tor(1, podsOnly+" || net = 0.0.0.0/0"))+many.String())
	s.bird("tor2", keeping(tor(2, podsOnly+" || net = 0.0.0.0/0")))
	for _, p := range prepare {
		p(s)
	}
	s.gateway("gw-a", "tor1", "tor2")
	s.gateway("gw-c", "tor1", "tor2")
	s.converged()
	return s, tor
}
