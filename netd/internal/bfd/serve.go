package bfd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// protocol is the version of what agent and process say to one another, JSON over
// a unix socket. A process of another one is ended, so that ours can be started.
const protocol = 1

// order is what the agent says: all that is wanted.
type order struct {
	Sessions []Session
	// Linger is how long the sessions go on without an agent.
	Linger time.Duration
	// End them now, and the process. Every version knows it.
	End bool
}

// report is what the process says: all that is.
type report struct {
	Version  int
	Statuses []Status
	Problem  string
}

// writeTimeout is how long an agent may leave a report unread.
const writeTimeout = 5 * time.Second

// server is the process: a Monitor that outlives its agents.
type server struct {
	monitor *Monitor
	agent   net.Conn // nil between two lives
	linger  time.Duration
}

// heard is an order and whose it is; without one the agent is gone.
type heard struct {
	from  net.Conn
	order *order
}

// Serve runs sessions for the agent that connects to the socket, and goes on without
// it for as long as it said. In the end peers are told that it is meant.
func Serve(ctx context.Context, socket string) error {
	// Whatever a packet makes of this process, it gains no privilege by exec. The
	// attribute is a thread's (prctl(2)).
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
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
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- monitor.Run(running) }()
	s := server{monitor: monitor, linger: writeTimeout}
	err = s.serve(ctx, l)
	stop()
	<-ended // The peers have been told.
	return err
}

func (s *server) serve(ctx context.Context, l net.Listener) error {
	agents, orders := make(chan net.Conn), make(chan heard)
	go welcome(ctx, l, agents)
	alone := time.NewTimer(s.linger)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-alone.C:
			return nil
		case agent := <-agents:
			if s.agent != nil {
				_ = s.agent.Close()
			}
			s.agent = agent
			alone.Stop()
			go listenTo(ctx, agent, orders)
			s.report()
		case h := <-orders:
			switch {
			case h.from != s.agent:
			case h.order == nil:
				_ = s.agent.Close()
				s.agent = nil
				alone.Reset(s.linger)
			case h.order.End:
				return nil
			default:
				s.linger = h.order.Linger
				s.monitor.Set(h.order.Sessions)
			}
		case <-s.monitor.Changed():
			s.report()
		}
	}
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

// listenTo passes an agent's orders on until it is gone.
func listenTo(ctx context.Context, agent net.Conn, orders chan<- heard) {
	for in := json.NewDecoder(agent); ; {
		h := heard{from: agent, order: new(order)}
		if err := in.Decode(h.order); err != nil {
			h.order = nil
		}
		select {
		case orders <- h:
		case <-ctx.Done():
			return
		}
		if h.order == nil {
			return
		}
	}
}

// report tells the agent all. One that does not read it will connect again.
func (s *server) report() {
	if s.agent == nil {
		return
	}
	r := report{Version: protocol}
	var problem error
	if r.Statuses, problem = s.monitor.Statuses(); problem != nil {
		r.Problem = problem.Error()
	}
	err := s.agent.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		err = json.NewEncoder(s.agent).Encode(r)
	}
	if err != nil {
		_ = s.agent.Close() // Its listenTo sees it.
	}
}
