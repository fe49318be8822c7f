package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"netd/containers"
)

// guarded is a loop with its guard, in time of its own.
type guarded struct {
	*testing.T
	loop  *loop
	words *bytes.Buffer // the agent's last
	log   *bytes.Buffer
	ends  atomic.Int32
}

func newGuarded(t *testing.T) *guarded {
	g := &guarded{T: t, words: new(bytes.Buffer), log: new(bytes.Buffer)}
	g.loop = newLoop(slog.New(slog.NewTextHandler(g.log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = g.loop.guard(ctx, g.words, func() { g.ends.Add(1) })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return g
}

// after lets time pass and returns the problem that a person is told.
func (g *guarded) after(d time.Duration) string {
	<-time.After(d)
	synctest.Wait()
	agent := &Daemon{loop: g.loop, board: newBoard(), runtime: containers.New(containers.Options{})}
	return strings.Join(gateway{agent}.View(g.Context(), 0).Status.Problems, "; ")
}

// A loop that stands still is a problem after five seconds and the agent's end after a
// minute, once, with what everybody was doing.
func TestLoopStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		release := make(chan struct{})
		go standStill(g.loop, release)
		defer close(release)
		if told := g.after(4900 * time.Millisecond); told != "" {
			t.Errorf("after 4.9 s: %s", told)
		}
		told := g.after(1500 * time.Millisecond) // It is looked at each second.
		if rest, ok := strings.CutSuffix(told, "s, in tunnels; after 1m0s it starts anew"); !ok || rest != "the agent has stood still for 5" && rest != "the agent has stood still for 6" {
			t.Errorf("after 6.4 s: %q", told)
		}
		if g.after(53 * time.Second); g.ends.Load() > 0 {
			t.Error("it has ended after 59.4 s")
		}
		g.after(10 * time.Minute)
		if g.ends.Load() != 1 || !strings.Contains(g.words.String(), "standStill") {
			t.Errorf("it has ended %d times, with these words:\n%s", g.ends.Load(), g.words)
		}
		if n := strings.Count(g.log.String(), "\n"); n != 2 {
			t.Errorf("%d lines, want 2, at the problem's begin and at the end:\n%s", n, g.log)
		}
	})
}

// standStill is a step that waits for somebody else.
func standStill(l *loop, release chan struct{}) {
	l.enter("tunnels")
	<-release
}

// A loop that goes on after a while has no problem any more, and one that has nothing to
// do has none.
func TestLoopGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.loop.enter("routes")
		if told := g.after(30 * time.Second); !strings.Contains(told, "in routes") {
			t.Errorf("after 30 s: %q", told)
		}
		g.loop.enter("look") // the next round
		if told := g.after(time.Second); told != "" {
			t.Errorf("it goes on, and there is a problem: %s", told)
		}
		g.loop.rest()
		if told := g.after(time.Hour); told != "" || g.ends.Load() > 0 {
			t.Errorf("it rests, and there is a problem: %q, it has ended %d times", told, g.ends.Load())
		}
		if log := g.log.String(); strings.Count(log, "\n") != 2 || !strings.Contains(log, "the agent goes on") {
			t.Errorf("want two lines, at the problem's begin and end:\n%s", log)
		}
	})
}
