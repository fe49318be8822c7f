package bfd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"time"

	"netd/netd/internal/cage"
)

// protocol is the version of what agent and process say to one another, JSON over
// a unix socket. A process of another one is ended, so that ours can be started: that
// costs each session a few seconds. So a field that one of both does not know means, by
// its absence, what was so before it: the version stays.
const protocol = 1

// request is what the agent says: all that is wanted.
type request struct {
	Sessions []Session
	// Linger is how long the sessions go on without an agent.
	Linger time.Duration
	// End them now, and the process. Every version knows it.
	End bool
	// Beat asks for a report at least every beatInterval. An agent that does not ask
	// would take each of them for a change.
	Beat bool
}

// report is what the process says: all that is.
type report struct {
	Version  int
	Statuses []Status
	Problem  string
	// Beats: the process beats when it is asked to. An earlier one does not.
	Beats bool
	// Beat: this is a beat, which says only that the sessions are run.
	Beat bool
}

const (
	// writeTimeout is how long an agent may leave a report unread.
	writeTimeout = 5 * time.Second
	// beatInterval is how often the process says at least that it runs.
	beatInterval = 250 * time.Millisecond
)

// server is the process: a Monitor that outlives its agents.
type server struct {
	monitor *Monitor
	agent   *caller // nil between two lives
	linger  time.Duration
	rounds  uint64 // the monitor's, at the last beat
}

// heard is a request and whose it is; without one the agent is gone.
type heard struct {
	from    *caller
	request *request
}

// Serve runs sessions for the agent that connects to the socket, and goes on without
// it for as long as it said. In the end peers are told that it is meant.
func Serve(ctx context.Context, socket string) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listen for the agent: %w", err)
	}
	defer func() { _ = l.Close() }()
	monitor, err := New()
	if err != nil {
		return err
	}
	// Whatever a packet makes of this process: UDP is all that is left to it. What the
	// kernel lacks for that is the speaker's to say.
	if err := cage.Enter(cage.Config{Work: cage.Datagrams, Log: slog.New(slog.DiscardHandler)}); err != nil {
		return fmt.Errorf("confine BFD: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = monitor.Run(running) // It ends with running, and by nothing else.
	}()
	s := server{monitor: monitor, linger: writeTimeout}
	err = s.serve(ctx, l)
	stop()
	<-ended // The peers have been told: who waits for our end may know.
	s.drop()
	return err
}

// serve waits for nothing but its channels: neither an agent that does not read nor
// one that does not write keeps the next one out.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	agents, requests := make(chan net.Conn), make(chan heard)
	go welcome(ctx, l, agents)
	alone := time.NewTimer(s.linger)
	beat := time.NewTicker(beatInterval)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-alone.C:
			return nil
		case conn := <-agents:
			s.drop()
			alone.Stop()
			s.agent = newCaller(context.WithoutCancel(ctx), conn, s.monitor, requests)
		case h := <-requests:
			switch {
			case h.from != s.agent:
			case h.request == nil:
				s.drop()
				alone.Reset(s.linger)
			case h.request.End:
				return nil
			default:
				s.linger, s.agent.beats = h.request.Linger, h.request.Beat
				s.monitor.Set(h.request.Sessions)
			}
		case <-s.monitor.Changed():
			if s.agent != nil {
				s.agent.news.Send()
			}
		case <-beat.C:
			s.beat()
		}
	}
}

// drop lets the agent go.
func (s *server) drop() {
	if s.agent != nil {
		s.agent.leave()
		s.agent = nil
	}
}

// beat tells the agent that the sessions are run: the Monitor has been through its
// round since the last time, and is asked for the next one.
func (s *server) beat() {
	if s.agent == nil || !s.agent.beats {
		return
	}
	if n := s.monitor.Rounds(); n != s.rounds {
		s.rounds = n
		s.agent.beat.Send()
	}
	s.monitor.Wake()
}

// welcome passes agents on until the listener is closed.
func welcome(ctx context.Context, l net.Listener, agents chan<- net.Conn) {
	for {
		agent, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case agents <- agent:
		case <-ctx.Done():
			return
		}
	}
}
