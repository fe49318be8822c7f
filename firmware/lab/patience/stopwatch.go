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

	mu    sync.Mutex // guards count
	count count
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

func (w *Stopwatch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count.look(time.Now(), tick)
}

// Stop ends it; the last look is now.
func (w *Stopwatch) Stop() { w.stop() }

// Took is the time since Start, by the clock.
func (w *Stopwatch) Took() time.Duration { return time.Since(w.began) }

// Lost is how much of it the machine stood still: more than 100 ms at a time.
func (w *Stopwatch) Lost() time.Duration {
	w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count.lost
}

// Longest is how long the machine stood still at a time.
func (w *Stopwatch) Longest() time.Duration {
	w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count.longest
}

// String is what a failure tells of the time.
func (w *Stopwatch) String() string {
	took, lost := w.Took().Round(time.Millisecond), w.Lost().Round(time.Millisecond)
	if lost == 0 {
		return took.String()
	}
	return fmt.Sprintf("%s (of which the machine stood still for %s)", took, lost)
}
