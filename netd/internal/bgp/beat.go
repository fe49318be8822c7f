package bgp

import (
	"context"
	"fmt"
	"time"

	"github.com/osrg/gobgp/v4/api"

	"netd/netd/internal/watchdog"
	"netd/netd/retry"
	"netd/netd/wake"
)

// A process that stands still keeps its sessions up for the peers' hold time, and then
// they drop our routes. It is replaced before: its peers keep the routes of one that was
// killed (RFC 4724). So it says all the time that it lives, on the pipe of the hints, and
// from a goroutine that waits for nothing else; whether GoBGP lives, too, is asked.

const (
	// Silence is allowed for a holdShare-th of the shortest hold time, within limits: a
	// process that has no CPU for leastSilence is not hung, and what stands still for
	// mostSilence is, whatever the peers put up with.
	holdShare    = 3
	leastSilence = time.Second
	mostSilence  = 6 * time.Second
	// beatTick is how often the silence is looked at.
	beatTick = 250 * time.Millisecond
	// GoBGP is asked each corePause, and may be silent for coreSilence: a large change
	// keeps it busy.
	corePause   = 3 * time.Second
	coreTick    = time.Second
	coreSilence = 20 * time.Second
)

// silenceAllowed is how long the process may say nothing. Hold times are those of the
// configuration, and the shortest that is agreed upon: the peer's may be shorter.
func silenceAllowed(c Config, agreed time.Duration) time.Duration {
	allowed := mostSilence
	note := func(hold time.Duration) {
		if hold > 0 {
			allowed = min(allowed, hold/holdShare)
		}
	}
	note(agreed)
	for _, p := range c.Peers {
		note(p.HoldTime)
	}
	for _, r := range c.Ranges {
		note(r.HoldTime)
	}
	return max(allowed, leastSilence)
}

// pulse is when the process has beaten last. It is watched from the first beat on.
type pulse struct {
	watchdog.Dog
	first wake.Signal
}

func newPulse() *pulse { return &pulse{first: wake.New()} }

func (p *pulse) beat() {
	p.Feed()
	p.first.Send()
}

// watchPulse kills a process that says nothing any more.
func (s *Speaker) watchPulse(ctx context.Context, l *life, p *pulse, kill func() error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.first:
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	p.Run(watching, beatTick, leastSilence, func(silent time.Duration) {
		if silent >= silenceAllowed(s.wantedNow().Config, l.shortestHold()) {
			s.hung(kill, "the BGP speaker has been silent for", silent)
			cancel()
		}
	})
	return ctx.Err()
}

// watchCore kills a process whose GoBGP answers nothing any more.
func (s *Speaker) watchCore(ctx context.Context, core *watchdog.Dog, kill func() error) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	core.Run(watching, coreTick, coreSilence, func(silent time.Duration) {
		s.hung(kill, "the BGP speaker has not answered for", silent)
		cancel()
	})
	return ctx.Err()
}

// askAlive asks GoBGP something that costs it nothing.
func (l *life) askAlive(ctx context.Context, core *watchdog.Dog) error {
	for {
		asking, cancel := context.WithTimeout(ctx, coreSilence)
		_, err := l.client.GetBgp(asking, &api.GetBgpRequest{})
		if cancel(); err == nil {
			core.Feed()
		}
		if !retry.Sleep(ctx, corePause) {
			return fmt.Errorf("ask the speaker who it is: %w", ctx.Err())
		}
	}
}
