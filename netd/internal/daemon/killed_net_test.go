//go:build net

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab/patience"
	"netd/netd/internal/api"
)

// speaker returns the process of a gateway's speaker.
func (s *site) speaker(gw string) (int, error) {
	agent := s.gw[gw].PID()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", agent, agent))
	for _, thread := range threads(agent) {
		more, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", agent, thread))
		b = append(b, more...)
	}
	for _, pid := range strings.Fields(string(b)) {
		status, _ := os.ReadFile("/proc/" + pid + "/status")
		if strings.Contains(string(status), "\nUid:\t179\t179\t179\t179\n") {
			return strconv.Atoi(pid)
		}
	}
	return 0, fmt.Errorf("the agent %d of %s has no speaker: children %q, %v", agent, gw, b, err)
}

func threads(pid int) []string {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// establishedBetween tells whether the one session of a gateway is up, since then.
func (s *site) establishedBetween(ctx context.Context, gw string, after, before time.Time) error {
	var v []api.Peer
	if err := s.gw[gw].JSON(ctx, &v, "peers"); err != nil {
		return err
	}
	if len(v) != 1 || v[0].State != "Established" || v[0].Since.Before(after) || v[0].Since.After(before) {
		return fmt.Errorf("not between %s and %s: %+v", after, before, v)
	}
	return nil
}

// A speaker that is killed, or that breaks, costs no packet and moves nothing: the
// session is back within five seconds.
func TestSpeakerKilled(t *testing.T) {
	t.Parallel()
	const deadline = 5 * time.Second
	s := restartSite(t, "")
	monitor, err := s.hosts["tor1"].Start("monitor", "ip", "-4", "monitor", "route")
	s.must(err)
	before := s.kept("gw-a")
	stops := []func() (int, int){s.flow("gw-a", "gw-c"), s.flow("gw-c", "gw-a")}
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV} {
		// Since is in whole seconds: the session to be lost must be older.
		within(t, time.Minute, "a session of another second", func(ctx context.Context) error {
			return s.establishedBetween(ctx, "gw-a", time.Time{}, time.Now().Add(-time.Second))
		})
		pid, err := s.speaker("gw-a")
		s.must(err)
		at, watch := time.Now(), patience.Start()
		s.must(syscall.Kill(pid, how))
		within(t, time.Minute, "the session to be back", func(ctx context.Context) error {
			if now, err := s.speaker("gw-a"); err != nil || now == pid {
				return fmt.Errorf("the speaker is still process %d: %w", pid, err)
			}
			return s.establishedBetween(ctx, "gw-a", at.Truncate(time.Second), time.Now())
		})
		watch.Stop()
		t.Logf("%v: the session is back after %s", how, watch)
		if watch.Took()-watch.Lost() > deadline {
			t.Errorf("%v: the session is back after %s, want %s", how, watch, deadline)
		}
	}
	for i, stop := range stops {
		if sent, lost := stop(); lost > 0 || sent < 100 {
			t.Errorf("flow %d: %d of %d packets lost", i, lost, sent)
		}
	}
	monitor.Stop()
	if seen := monitor.Tail(20); seen != "" {
		t.Errorf("routes moved on the ToR:\n%s", seen)
	}
	if after := s.kept("gw-a"); after != before {
		t.Errorf("what must stay has changed from\n%s\nto\n%s", before, after)
	}
}

// A speaker that hangs keeps nothing else from being done, and is replaced before its
// peers' hold time is over: no packet is lost.
func TestSpeakerHangs(t *testing.T) {
	t.Parallel()
	s := restartSite(t, "")
	before := s.kept("gw-a")
	stops := []func() (int, int){s.flow("gw-a", "gw-c"), s.flow("gw-c", "gw-a")}
	pid, err := s.speaker("gw-a")
	s.must(err)
	at := time.Now()
	s.must(syscall.Kill(pid, syscall.SIGSTOP))
	if out, err := s.gw["gw-a"].Ask(t.Context(), "pod", "add", "meanwhile"); err != nil {
		t.Errorf("a pod while the speaker hangs: %v\n%s", err, out)
	}
	if out, err := s.gw["gw-a"].Ask(t.Context(), "pod", "del", "meanwhile"); err != nil {
		t.Errorf("a pod while the speaker hangs: %v\n%s", err, out)
	}
	within(t, time.Minute, "a problem to be said", func(ctx context.Context) error {
		out, err := s.gw["gw-a"].Ask(ctx, "status")
		if err == nil && !strings.Contains(out, "PROBLEM  the BGP speaker has been silent for") {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
	within(t, 2*time.Minute, "the session of another speaker", func(ctx context.Context) error {
		if now, err := s.speaker("gw-a"); err != nil || now == pid {
			return fmt.Errorf("the speaker is still process %d: %w", pid, err)
		}
		return s.establishedBetween(ctx, "gw-a", at.Truncate(time.Second), time.Now())
	})
	for i, stop := range stops {
		if sent, lost := stop(); lost > 0 || sent < 100 {
			t.Errorf("flow %d: %d of %d packets lost", i, lost, sent)
		}
	}
	if after := s.kept("gw-a"); after != before {
		t.Errorf("what must stay has changed from\n%s\nto\n%s", before, after)
	}
}

// A machine that stands still, and everybody on it for longer than a speaker may be
// silent, costs no speaker its life.
func TestAllStandStill(t *testing.T) {
	t.Parallel()
	s := restartSite(t, "")
	pid, err := s.speaker("gw-a")
	s.must(err)
	agent := s.gw["gw-a"].PID()
	at := time.Now()
	s.must(syscall.Kill(pid, syscall.SIGSTOP), syscall.Kill(agent, syscall.SIGSTOP))
	<-time.After(5 * time.Second) // It is what is tested: a third of the hold time is 3 s.
	s.must(syscall.Kill(agent, syscall.SIGCONT), syscall.Kill(pid, syscall.SIGCONT))
	// After another 4 s a speaker that is taken for a hung one were dead.
	within(t, time.Minute, "4 seconds of life", func(ctx context.Context) error {
		if now, err := s.speaker("gw-a"); err != nil || now != pid {
			t.Fatalf("the speaker is process %d and was %d: %v", now, pid, err)
		}
		if err := s.establishedBetween(ctx, "gw-a", time.Time{}, at); err != nil {
			t.Fatalf("the session: %v", err)
		}
		if time.Since(at) < 9*time.Second {
			return errors.New("not yet")
		}
		return nil
	})
}
