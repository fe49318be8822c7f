//go:build net

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/firmware/lab"
	"netd/firmware/lab/patience"
)

// A box that stands still (a hypervisor takes a snapshot of it) loses the sessions whose
// hold time really passed, and nothing else; it has them back at once.
const (
	backWithin = 10 * time.Second
	// freezeHold is the hold time of all sessions of the site, freezeDetection the
	// detection time of its BFD.
	freezeHold, freezeDetection = 9 * time.Second, 900 * time.Millisecond
)

// freeze stops hosts for so long, and returns for how long it was.
func (s *site) freeze(d time.Duration, names ...string) time.Duration {
	s.Helper()
	var hosts []*lab.Host
	for _, name := range names {
		hosts = append(hosts, s.hosts[name])
	}
	began := time.Now()
	thaw, err := lab.Freeze(s.Context(), hosts...)
	s.must(err)
	<-time.After(d)
	s.must(thaw())
	return time.Since(began)
}

// losesNothing freezes hosts for less than limit, which is a hold time or a detection
// time. A machine that is too slow for that tries again.
func (s *site) losesNothing(t *testing.T, d, limit time.Duration, names ...string) {
	s.T = t
	for attempt := 1; ; attempt++ {
		before := map[string]condition{"gw-a": s.steady("gw-a"), "gw-c": s.steady("gw-c")}
		monitor, err := s.hosts["tor1"].Start("monitor", "ip", "-4", "monitor", "route")
		s.must(err)
		stop := s.flow("gw-a", "gw-c")
		within(t, time.Minute, "the flow to be in its pod, where it goes on", func(ctx context.Context) error {
			if now, err := s.hosts["gw-a"].Processes(ctx); err != nil || len(now) > len(before["gw-a"].Processes) {
				return fmt.Errorf("processes of gw-a: %d, %w", now, err)
			}
			return nil
		})
		took := s.freeze(d, names...)
		// What was lost by it is lost when half a detection time has passed as well.
		<-time.After(freezeDetection / 2)
		sent, lost := stop()
		monitor.Stop()
		if took > limit && attempt < 5 {
			t.Logf("frozen for %s, which is more than %s: once more", took, limit)
			continue
		}
		t.Logf("frozen for %s: %d of %d packets lost", took, lost, sent)
		for gw, c := range before {
			if diff := cmp.Diff(c, s.steady(gw)); diff != "" {
				t.Errorf("%s after %s (-before +after):\n%s", gw, took, diff)
			}
		}
		if seen := monitor.Tail(20); seen != "" {
			t.Errorf("routes moved on the ToR:\n%s", seen)
		}
		if lost > 0 && !slices.Contains(names, "tor1") { // which takes the flow's ping with it
			t.Errorf("%d of %d packets lost", lost, sent)
		}
		return
	}
}

// comesBack freezes hosts for longer than the hold time: the sessions are other ones, and
// all else is as before.
func (s *site) comesBack(t *testing.T, d time.Duration, names ...string) {
	s.T = t
	before := map[string]condition{"gw-a": s.steady("gw-a"), "gw-c": s.steady("gw-c")}
	s.freeze(d, names...)
	watch := patience.Start()
	defer watch.Stop()
	after := map[string]condition{}
	for _, gw := range []string{"gw-a", "gw-c"} {
		within(t, time.Minute, "another session of "+gw, func(ctx context.Context) error {
			c, err := s.condition(ctx, gw)
			if err == nil && slices.Contains(names, gw) && cmp.Equal(c.Sessions, before[gw].Sessions) {
				err = fmt.Errorf("the same as before: %v", c.Sessions)
			}
			after[gw] = c
			if err == nil && c.Kept != before[gw].Kept {
				err = errors.New(cmp.Diff(before[gw].Kept, c.Kept))
			}
			return err
		})
	}
	s.reaches("gw-a", "gw-c")
	watch.Stop()
	t.Logf("all is back %s after %s", watch, d)
	if watch.Took()-watch.Lost() > backWithin {
		t.Errorf("all is back %s after %s, want within %s", watch, d, backWithin)
	}
	for gw, c := range before {
		if diff := cmp.Diff(c.Processes, after[gw].Processes); diff != "" {
			t.Errorf("%s's processes (-before +after):\n%s", gw, diff)
		}
		if strings.Contains(s.gw[gw].Tail(1000), "the agent stands still") {
			t.Errorf("%s takes its own loop for one that stands still", gw)
		}
	}
}

// How soon all is back is measured, but most of the time nothing is done: these run side by
// side, and beside nothing else.
func TestOnTime(t *testing.T) {
	t.Run("frozen", frozen)
	t.Run("frozen with BFD", frozenWithBFD)
	t.Run("a leaf restarts, with BFD", leafRestartsWithBFD)
}

func frozen(t *testing.T) {
	t.Parallel()
	s := restartSite(t, "")
	t.Run("a gateway, for less than the hold time", func(t *testing.T) { s.losesNothing(t, 4*time.Second, freezeHold-4*time.Second, "gw-a") })
	t.Run("everything, for less than the hold time", func(t *testing.T) {
		s.losesNothing(t, 4*time.Second, freezeHold-4*time.Second, "gw-a", "tor1", "tor2", "gw-c")
	})
	t.Run("a gateway, for longer", func(t *testing.T) { s.comesBack(t, 12*time.Second, "gw-a") })
	s.T = t
}

func frozenWithBFD(t *testing.T) {
	t.Parallel()
	s := watchedSite(t, false)
	t.Run("a gateway, for less than the detection time", func(t *testing.T) {
		s.losesNothing(t, freezeDetection/3, freezeDetection/2, "gw-a")
	})
	t.Run("a gateway, for longer than the hold time", func(t *testing.T) { s.comesBack(t, 12*time.Second, "gw-a") })
	t.Run("everything, for longer", func(t *testing.T) { s.comesBack(t, 12*time.Second, "gw-a", "tor1", "tor2", "gw-c") })
	s.T = t
}
