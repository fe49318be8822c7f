package patience

import (
	"fmt"
	"sync"
	"time"
)

// Stopwatch measures, and knows how much of what it measured is no one's doing. A test
// that judges a time discards one of which the machine lost some.
type Stopwatch struct {
	began time.Time
	stop  func()

	mu      sync.Mutex // guards what follows
	count   count
	stopped bool
}

// Start starts one.
func Start() *Stopwatch {
	now, stop := time.Now(), make(chan struct{})
	w := &Stopwatch{began: now, stop: sync.OnceFunc(func() { close(stop) }), count: count{before: now, slack: jitter}}
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(tick):
				w.look()
			}
		}
	}()
	return w
}

// look looks at the clock, unless the watch is stopped, and returns what was seen.
func (w *Stopwatch) look() count {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.count.look(time.Now(), tick)
	}
	return w.count
}

// Stop ends it: it shows the time until now.
func (w *Stopwatch) Stop() {
	w.stop()
	w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
}

// Took is the time since Start, by the clock.
func (w *Stopwatch) Took() time.Duration { return w.look().before.Sub(w.began) }

// Lost is how much of it the machine stood still: more than 100 ms at a time.
func (w *Stopwatch) Lost() time.Duration { return w.look().lost }

// Longest is how long the machine stood still at a time.
func (w *Stopwatch) Longest() time.Duration { return w.look().longest }

// String is what a failure tells of the time.
func (w *Stopwatch) String() string {
	c := w.look()
	took, lost := c.before.Sub(w.began).Round(time.Millisecond), c.lost.Round(time.Millisecond)
	if lost == 0 {
		return took.String()
	}
	return fmt.Sprintf("%s (of which the machine stood still for %s)", took, lost)
}
