package bfd

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// The pause before a process that fails is started again doubles.
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Options of a Client.
type Options struct {
	// Program and Args start Serve in a process of its own.
	Program string
	Args    []string
	// Socket is Serve's. Its folder is made, and given to UID.
	Socket string
	Log    *slog.Logger
}

// Client is the agent's hold on the process, which may be an earlier agent's.
type Client struct {
	opts    Options
	changed chan struct{}
	again   chan struct{} // wanted is new
	found   *line         // to an earlier agent's process, until Run takes it

	mu       sync.Mutex // guards what follows
	wanted   *order     // nil before the first Set
	statuses []Status
	problem  error
}

// Connect makes a Client. If an earlier agent's process is there, its sessions are
// known from the beginning.
func Connect(o Options) *Client {
	c := &Client{opts: o, changed: make(chan struct{}, 1), again: make(chan struct{}, 1)}
	if l, r, err := answer(o.Socket); err == nil {
		c.take(r)
		c.found = l
	}
	return c
}

// Set says which sessions there are to be, all of them, and for how long they go on
// without an agent. Those that stay the same are not touched; changed timers are
// negotiated.
func (c *Client) Set(sessions []Session, linger time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted != nil && slices.Equal(sessions, c.wanted.Sessions) && linger == c.wanted.Linger {
		return
	}
	c.wanted = &order{Sessions: slices.Clone(sessions), Linger: linger, End: len(sessions) == 0}
	wake(c.again)
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Changed is ready (once) when Statuses may differ.
func (c *Client) Changed() <-chan struct{} { return c.changed }

// Statuses has the sessions as they are, or were when the process was last heard.
// The error is for what keeps a session from running: a port that another program
// has, say.
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
	wake(c.changed)
}

// order is what the process is to be told; nil if that is not known yet.
func (c *Client) order() *order {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wanted
}

// Run keeps a process running while there are sessions to run, until ctx ends. The
// process goes on: Leave ends it.
func (c *Client) Run(ctx context.Context) error {
	pause := firstPause
	for ctx.Err() == nil {
		if o := c.order(); c.found == nil && (o == nil || o.End) {
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
			c.take(report{})
			continue
		}
		if time.Since(begin) > lastPause {
			pause = firstPause
		}
		c.opts.Log.Error("the BFD process died; it is started again", "pause", pause, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
	return ctx.Err()
}

// Leave ends the process, which tells the peers that this is meant.
func (c *Client) Leave() {
	if l, _, err := answer(c.opts.Socket); err == nil {
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
	defer func() { _ = l.Close() }()
	lost := make(chan error, 1)
	go func() {
		for {
			r, err := l.read(0)
			if err != nil {
				lost <- err
				return
			}
			c.take(r)
		}
	}()
	for {
		if o := c.order(); o != nil && o.End {
			l.end()
			return errEnded
		} else if o != nil {
			if err := l.say(*o); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return errors.Join(err, c.lastWords())
		case <-c.again:
		}
	}
}

// connect finds the process, or starts one.
func (c *Client) connect(ctx context.Context) (*line, error) {
	l, r, err := answer(c.opts.Socket)
	if err != nil {
		if l, r, err = c.start(ctx); err != nil {
			return nil, err
		}
	}
	c.take(r)
	return l, nil
}
