package bfd

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"netd/netd/internal/watchdog"
	"netd/netd/wake"
)

const (
	// The pause before a process that fails is started again doubles.
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
	// firstAnswer is how long an agent's start waits for what an earlier one's process
	// knows. It says it at once.
	firstAnswer = 300 * time.Millisecond
)

// Options of a Client.
type Options struct {
	// Program and Args start Serve in a process of its own.
	Program string
	Args    []string
	// Socket is Serve's. Its folder is made, and given to layout.BFDUID.
	Socket string
	Log    *slog.Logger
}

// Client is the agent's hold on the process, which may be an earlier agent's. But for
// Run and Leave nothing in it waits for the process.
//
// A process that dies, or is silent for a second, is replaced. That says nothing of
// a path, so no session is lost by it: each is AdminDown, with the reason, until the new
// process knows better, and what was Failed before stays so.
type Client struct {
	opts    Options
	changed wake.Signal
	again   wake.Signal // wanted is new
	found   *line       // to an earlier agent's process, until Run takes it

	mu       sync.Mutex // guards what follows
	wanted   *request   // nil before the first Set
	statuses []Status
	problem  error
}

// Connect makes a Client. If an earlier agent's process answers within 300 ms, its
// sessions are known from the beginning; if it is later, Run finds it, or ends it.
func Connect(o Options) *Client {
	c := &Client{opts: o, changed: wake.New(), again: wake.New()}
	l, err := call(o.Socket)
	if err != nil {
		return c
	}
	if err = l.SetReadDeadline(time.Now().Add(firstAnswer)); err == nil {
		var r report
		if r, err = l.readFirst(); err == nil {
			err = l.SetReadDeadline(time.Time{})
			c.take(r)
			c.found = l
		}
	}
	if err != nil {
		c.found = nil
		_ = l.Close()
	}
	return c
}

// Wanted is all that the process is to do.
type Wanted struct {
	Sessions []Session
	// Linger is how long they go on without an agent.
	Linger time.Duration
	// Stay: there will be sessions again soon, and the process goes on though it has none.
	Stay bool
}

// Set says which sessions there are to be, all of them. Those that stay the same are not
// touched; changed timers are negotiated. Without any the process ends.
func (c *Client) Set(w Wanted) {
	next := &request{Sessions: slices.Clone(w.Sessions), Linger: w.Linger, End: len(w.Sessions) == 0 && !w.Stay, Beat: true}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted != nil && slices.Equal(next.Sessions, c.wanted.Sessions) && next.Linger == c.wanted.Linger && next.End == c.wanted.End {
		return
	}
	c.wanted = next
	c.again.Send()
}

// Changed is ready (once) when Statuses may differ.
func (c *Client) Changed() <-chan struct{} { return c.changed }

// Statuses has the sessions as they are, or were when the process was last heard.
// The error is for what keeps a session from running: a port that another program
// has, say, or a process that is lost.
func (c *Client) Statuses() ([]Status, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.statuses, c.problem
}

func (c *Client) take(r report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.statuses, c.problem = r.Statuses, nil; r.Problem != "" {
		c.problem = errors.New(r.Problem)
	}
	c.changed.Send()
}

// lose says of all sessions that from now on nobody runs them. The last words of the
// process are too long for a status: they are logged.
func (c *Client) lose(err error) {
	why := errors.New("the BFD process is lost")
	if errors.As(err, new(silent)) {
		why = err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.statuses, c.problem = slices.Clone(c.statuses), why
	for i, s := range c.statuses {
		if s.State != AdminDown {
			s.State, s.Since = AdminDown, time.Now()
		}
		s.Reason, s.Transmit, s.Detect = why.Error(), 0, 0
		c.statuses[i] = s
	}
	c.changed.Send()
}

// request is what the process is to be told; nil if that is not known yet.
func (c *Client) request() *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wanted
}

// Run keeps a process running while there are sessions to run, until ctx ends. The
// process goes on: Leave ends it.
func (c *Client) Run(ctx context.Context) error {
	if c.found == nil {
		if l, r, err := reach(c.opts.Socket); err == nil {
			c.take(r)
			c.found = l
		}
	}
	pause := firstPause
	for ctx.Err() == nil {
		if o := c.request(); c.found == nil && (o == nil || o.End) {
			if o != nil {
				c.take(report{})
			}
			select {
			case <-ctx.Done():
			case <-c.again:
			}
			continue
		}
		begin := time.Now()
		err := c.live(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errEnded) {
			continue
		}
		if time.Since(begin) > lastPause {
			pause = firstPause
		}
		c.lose(err)
		c.opts.Log.Error("the BFD process is lost; it is started again", "pause", pause, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
	return ctx.Err()
}

// Leave ends the process, which tells the peers that this is meant, and waits for it.
func (c *Client) Leave() {
	if l, _, err := reach(c.opts.Socket); err == nil {
		l.end()
	}
}

// errEnded is the end of a process that we wanted to end.
var errEnded = errors.New("no sessions are wanted any more")

// live finds or starts the process, and stays in touch with it until one of both
// fails.
func (c *Client) live(ctx context.Context) error {
	l := c.found
	if c.found = nil; l == nil {
		var err error
		if l, err = c.connect(ctx); err != nil {
			return err
		}
	}
	hearing, lost := context.WithCancelCause(ctx)
	var dog watchdog.Dog
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		lost(c.hear(l, &dog))
	}()
	defer func() {
		lost(nil)
		_ = l.Close()
		<-heard
	}()
	watched := false
	for {
		o := c.request()
		if o != nil && l.beats && !watched {
			watched = true // The request that follows asks for beats.
			go l.watch(hearing, &dog, lost)
		}
		if o != nil && o.End {
			l.end()
			return errEnded
		}
		if o != nil {
			if err := l.say(*o); err != nil {
				return c.blame(l, hearing, err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-hearing.Done():
			return c.blame(l, hearing, nil)
		case <-c.again:
		}
	}
}

// hear takes what the process says, until it is gone.
func (c *Client) hear(l *line, dog *watchdog.Dog) error {
	for {
		r, err := l.read()
		if err != nil {
			return err
		}
		if dog.Feed(); !r.Beat {
			c.take(r)
		}
	}
}

// blame says why the process is lost, and kills one that is only silent.
func (c *Client) blame(l *line, hearing context.Context, err error) error {
	first := context.Cause(hearing) // The others came of it.
	if errors.As(first, new(silent)) {
		l.kill()
		return first
	}
	if first != nil {
		err = first
	}
	return errors.Join(err, c.lastWords())
}

// connect finds the process, or starts one. What a new one says before it has its request
// is nothing new.
func (c *Client) connect(ctx context.Context) (*line, error) {
	l, r, err := reach(c.opts.Socket)
	if err != nil {
		return c.start(ctx)
	}
	c.take(r)
	return l, nil
}
