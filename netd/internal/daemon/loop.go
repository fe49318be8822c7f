package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"netd/netd/internal/rtnl"
	"netd/netd/internal/watchdog"
	"netd/netd/wake"
)

const (
	// repairInterval is how often everything is compared again without an event.
	repairInterval = 30 * time.Second
	// sentryInterval is how often it is looked for what others have changed and the kernel
	// tells nobody, and at most for what it tells of too often.
	sentryInterval = 2 * time.Second
	// settleInterval is how often it is looked whether peers have told all.
	settleInterval = time.Second
	// The pause between two rounds is as long as a round, and from gatherPause to
	// longestPause.
	gatherPause  = 10 * time.Millisecond
	longestPause = time.Second
	// A loop that stands still for stillTold is a problem that a person is told, and
	// after stillEnds the agent ends, so that PID 1 starts it anew: graceful restart keeps
	// the routes. Nothing in the loop waits for another process, for flash or for a
	// lock of such; so it is a fault of ours or of the kernel's.
	stillTold = 5 * time.Second
	stillEnds = 60 * time.Second
	stillTick = time.Second
)

// job is work for the loop. Those that wait at the same time are done together.
type job struct {
	do func() error
	// settled, if not nil, is called when the routes are as do wanted them, with what
	// went wrong there.
	settled func(error) error
	done    chan error
}

// loop has what wakes the one goroutine that decides: jobs, events, timers; and what it
// does now, for who watches it.
type loop struct {
	log    *slog.Logger
	jobs   chan *job
	wake   wake.Signal
	repair *time.Ticker
	settle *time.Ticker
	sentry *time.Ticker
	dog    watchdog.Dog
	// step is what the loop does, still what a person is told when it stands still there.
	step, still atomic.Pointer[string]

	mu    sync.Mutex // guards what follows, and is held for an assignment
	seen  map[rtnl.What]bool
	downs []int
	gone  []netip.Addr
}

func newLoop(log *slog.Logger) *loop {
	return &loop{
		log: log, jobs: make(chan *job), wake: wake.New(), seen: map[rtnl.What]bool{},
		repair: time.NewTicker(repairInterval), settle: time.NewTicker(settleInterval), sentry: time.NewTicker(sentryInterval),
	}
}

// heard takes down what rtnetlink tells of.
func (l *loop) heard(e rtnl.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[e.What] = true
	if e.Down != 0 {
		l.downs = append(l.downs, e.Down)
	}
	if e.Gone.IsValid() {
		l.gone = append(l.gone, e.Gone)
	}
	l.wake.Send()
}

// events are what rtnetlink has told of since the last time: what kinds of things have
// changed, which links were down, and which addresses are gone.
func (l *loop) events() (seen map[rtnl.What]bool, downs []int, gone []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen, downs, gone = l.seen, l.downs, l.gone
	l.seen, l.downs, l.gone = map[rtnl.What]bool{}, nil, nil
	return seen, downs, gone
}

// enter notes what the loop does now.
func (l *loop) enter(step string) {
	l.step.Store(&step)
	l.dog.Feed()
	l.goOn()
}

// rest notes that it waits for something to do.
func (l *loop) rest() {
	l.dog.Rest()
	l.goOn()
}

// goOn ends the problem that it stood still.
func (l *loop) goOn() {
	if l.still.Swap(nil) != nil {
		l.log.Info("the agent goes on")
	}
}

// problem is that the loop stands still, empty if it does not.
func (l *loop) problem() string {
	if still := l.still.Load(); still != nil {
		return *still
	}
	return ""
}

// guard watches the loop, and ends the process if it stands still for good.
func (l *loop) guard(ctx context.Context, words io.Writer, end func()) error {
	watch, stop := context.WithCancel(ctx)
	defer stop()
	l.dog.Run(watch, stillTick, stillTold, func(silent time.Duration) {
		step := "the start"
		if s := l.step.Load(); s != nil {
			step = *s
		}
		told := fmt.Sprintf("the agent has stood still for %s, in %s; after %s it starts anew", silent.Round(time.Second), step, stillEnds)
		if l.still.Swap(&told) == nil {
			l.log.Error("the agent stands still", "step", step, "for", silent.Round(time.Second))
		}
		if silent >= stillEnds {
			l.log.Error("the agent ends because it stands still; routes, pods and BFD go on", "step", step)
			_ = pprof.Lookup("goroutine").WriteTo(words, 2) // What it does are its last words.
			end()
			stop()
		}
	})
	return ctx.Err()
}

// do has the loop do f, and returns its error.
func (l *loop) do(ctx context.Context, f func() error) error {
	return l.run(ctx, &job{do: f})
}

func (l *loop) run(ctx context.Context, j *job) error {
	j.done = make(chan error, 1)
	select {
	case l.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waiting are the jobs that wait, the first of which is here already.
func (l *loop) waiting(first *job) []*job {
	all := []*job{first}
	for {
		select {
		case j := <-l.jobs:
			all = append(all, j)
		default:
			return all
		}
	}
}

// pauseAfter is what passes between two rounds: events that come in a burst are
// answered together, and half of the time is the speaker's. The first event after
// a rest is answered at once.
func pauseAfter(round time.Duration) time.Duration {
	return min(max(round, gatherPause), longestPause)
}
