// Package watchdog tells when something stands still. It counts only time in which
// this process itself ran: a machine that stood still for a minute (its host does
// that) makes nobody late. Below all; it knows nobody.
package watchdog

import (
	"context"
	"sync/atomic"
	"time"
)

// Dog watches one thing, which feeds it from any goroutine. The zero value is ready.
type Dog struct {
	fed   atomic.Uint64
	rests atomic.Bool
}

// Feed says that the thing goes on. It never waits.
func (d *Dog) Feed() {
	d.rests.Store(false)
	d.fed.Add(1)
}

// Rest says that the thing has nothing to do until it feeds the dog again.
func (d *Dog) Rest() { d.rests.Store(true) }

// Run looks every tick until ctx ends, and calls late with how long the dog has not
// been fed, whenever that is limit or more and the thing does not rest. A tick counts for at most two: what is
// beyond is time in which this process did not run either.
func (d *Dog) Run(ctx context.Context, tick, limit time.Duration, late func(silent time.Duration)) {
	t := time.NewTicker(tick)
	defer t.Stop()
	silent, fed, before := time.Duration(0), d.fed.Load(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		silent += min(now.Sub(before), 2*tick)
		before = now
		if n := d.fed.Load(); n != fed || d.rests.Load() {
			silent, fed = 0, n
		}
		if silent >= limit {
			late(silent)
		}
	}
}
