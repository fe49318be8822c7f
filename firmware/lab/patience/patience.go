// Package patience gives tests deadlines that count only time in which this process
// ran. The host of a virtual machine may let it stand still for a minute, with its
// clocks going on: that is nobody's fault, and fails no test.
//
// Who waits looks at the clock often. Where two looks are much further apart than they
// should be, the machine stood still in between, and that time does not count. Only
// tests and the lab import it.
package patience

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// tick is the time between two looks at the clock.
	tick = 50 * time.Millisecond
	// slack is how late a look may be on a busy machine: a deadline counts that in.
	slack = 500 * time.Millisecond
	// jitter is the same for a measurement, which is spoilt by less.
	jitter = 100 * time.Millisecond
	// upset is a standstill that ends sessions (the least hold time of BGP is 3 s):
	// what is waited for may begin anew after it, and so does the wait.
	upset = 3 * time.Second
)

// count tells the time in which the process ran from the time that it lost.
type count struct {
	before    time.Time // the last look
	slack     time.Duration
	ran, lost time.Duration
	longest   time.Duration // lost at a time
}

// look is called when a wait is over. Of one that took much too long only what it was
// to take counts.
func (c *count) look(now time.Time, wait time.Duration) {
	passed := now.Sub(c.before)
	c.before = now
	if passed <= wait+c.slack {
		c.ran += passed
		return
	}
	c.ran += wait
	c.lost += passed - wait
	c.longest = max(c.longest, passed-wait)
	if passed-wait >= upset {
		c.ran = 0
	}
}

// limited is a context with a deadline that nobody knows beforehand. Its Deadline is
// the parent's.
type limited struct {
	context.Context
	done chan struct{}
	stop func()

	mu  sync.Mutex // guards err
	err error
}

func (l *limited) Done() <-chan struct{} { return l.done }

func (l *limited) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *limited) end(err error) {
	l.mu.Lock()
	l.err = err
	l.mu.Unlock()
	close(l.done)
}

// Context is context.WithTimeout, but that d is time in which this process ran. After
// a standstill of 3 s or more d begins anew.
func Context(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	stop := make(chan struct{})
	l := &limited{Context: parent, done: make(chan struct{}), stop: sync.OnceFunc(func() { close(stop) })}
	go l.run(d, stop)
	return l, func() { l.stop(); <-l.done }
}

func (l *limited) run(d time.Duration, stop <-chan struct{}) {
	c := count{before: time.Now(), slack: slack}
	for c.ran < d {
		wait := min(tick, d-c.ran)
		select {
		case <-l.Context.Done():
			l.end(l.Context.Err())
			return
		case <-stop:
			l.end(context.Canceled)
			return
		case <-time.After(wait):
			c.look(time.Now(), wait)
		}
	}
	l.end(context.DeadlineExceeded)
}

// After is ready when the process has run for d: time.After for the case of a select
// in which a test fails.
func After(d time.Duration) <-chan struct{} {
	ctx, _ := Context(context.Background(), d)
	return ctx.Done()
}

// Deadline is how a connection is given one.
type Deadline interface{ SetDeadline(time.Time) error }

// Limit lets reads and writes on a connection fail once d is over, as SetDeadline does.
// The function that it returns lifts the limit.
func Limit(conn Deadline, d time.Duration) (lift func()) {
	ctx, cancel := Context(context.Background(), d)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			_ = conn.SetDeadline(time.Unix(1, 0))
		}
	}()
	return func() {
		cancel()
		<-ended
		_ = conn.SetDeadline(time.Time{})
	}
}

// Hopeless is an error that waiting does not mend.
type Hopeless struct{ Err error }

func (h Hopeless) Error() string { return h.Err.Error() }

// Unwrap returns what is hopeless.
func (h Hopeless) Unwrap() error { return h.Err }

// Until tries cond at the interval until it returns nil or something hopeless, or ctx
// ends: the error then says what was waited for and what was seen last.
func Until(ctx context.Context, interval time.Duration, what string, cond func(context.Context) error) error {
	w := Start()
	defer w.Stop()
	for {
		err := cond(ctx)
		if err == nil {
			return nil
		}
		if errors.As(err, new(Hopeless)) {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w", w, what, err)
		case <-time.After(interval):
		}
	}
}
