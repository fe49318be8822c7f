package bgp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/bgp/wire"
	"netd/netd/internal/watchdog"
)

// One life of the process has a task each for what it is told (command.go), what is
// read of it (read.go), its events, its hints (changes.go), and whether it lives
// (beat.go). None waits for another one: they wake one another.

const (
	// startTimeout bounds the time until a new process answers.
	startTimeout = 30 * time.Second
	// stopTimeout bounds its orderly end.
	stopTimeout = 5 * time.Second
)

// live is one life of the process: start, configure, follow, until it dies or
// ctx ends.
func (s *Speaker) live(ctx context.Context) error {
	hear, tell, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for the speaker: %w", err)
	}
	defer func() { _ = hear.Close() }()
	cmd, last, err := s.prepare(tell)
	if err != nil {
		return errors.Join(fmt.Errorf("prepare the speaker's folder: %w", err), tell.Close())
	}
	died, err := startAndWait(cmd)
	_ = tell.Close() // The process has its own.
	if err != nil {
		return fmt.Errorf("start %s: %w", s.opts.Program, err)
	}
	s.born(cmd.Process.Pid)
	talking, cancel := context.WithCancel(ctx)
	talked := make(chan error, 1)
	go func() { talked <- s.converse(talking, hear, cmd.Process.Kill) }()
	var dead, ended error
	select {
	case dead = <-died:
		cancel()
		ended = <-talked
		s.buried()
	case ended = <-talked:
		cancel()
		dead = s.end(ctx, cmd.Process, died)
		s.buried()
	}
	if errors.Is(ended, ErrConfig) || errors.Is(ended, errAgain) {
		return ended
	}
	return fmt.Errorf("%v (%w); its last words: %s", dead, ended, last)
}

// end ends a process that is still there, in order if it can be done.
func (s *Speaker) end(ctx context.Context, p *os.Process, died <-chan error) error {
	goodbye := syscall.SIGTERM
	if errors.Is(context.Cause(ctx), ErrLeave) {
		goodbye = syscall.SIGINT
	}
	_ = p.Signal(goodbye)
	select {
	case dead := <-died:
		return dead
	case <-time.After(stopTimeout):
		_ = p.Kill()
		return <-died
	}
}

// converse configures the process and follows it until one of both fails.
func (s *Speaker) converse(ctx context.Context, hints *os.File, kill func() error) error {
	conn, err := grpc.NewClient("unix://"+s.opts.Socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage)))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.opts.Socket, err)
	}
	defer func() { _ = conn.Close() }()
	defer s.leave()
	l := newLife(api.NewGoBgpServiceClient(conn), s.restarts())
	l.conn = conn
	if l.restarting {
		l.returned = s.remembered()
	}
	var core watchdog.Dog
	p := newPulse()
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		<-ctx.Done()
		return errors.Join(ctx.Err(), hints.Close())
	})
	tasks.Go(func() error { return s.hear(hints, l, p) })
	tasks.Go(func() error { return s.watchPulse(ctx, l, p, kill) })
	tasks.Go(func() error {
		starting, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		// Nothing is read before all peers are known: less would look like an end of
		// their routes.
		if err := l.begin(starting, s.wantedNow()); err != nil {
			return err
		}
		s.enter(l)
		tasks.Go(func() error { return s.follow(ctx, l) })
		tasks.Go(func() error { return s.commandAll(ctx, l) })
		tasks.Go(func() error { return s.read(ctx, l) })
		tasks.Go(func() error { return l.askAlive(ctx, &core) })
		tasks.Go(func() error { return s.watchCore(ctx, &core, kill) })
		return nil
	})
	return tasks.Wait()
}

func (s *Speaker) restarts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarting
}

// follow turns the events of sessions into wake-ups; those of prefixes are hear's.
// It reads on whatever happens: GoBGP's channel of events is without bound.
func (s *Speaker) follow(ctx context.Context, l *life) error {
	stream, err := l.client.WatchEvent(wire.AsAgent(ctx), &api.WatchEventRequest{Peer: &api.WatchEventRequest_Peer{}})
	for err == nil {
		l.sessions()
		var e *api.WatchEventResponse
		if e, err = stream.Recv(); err == nil {
			s.noteLoss(e.GetPeer().GetPeer().GetState())
		}
	}
	return fmt.Errorf("watch the speaker: %w", err)
}

// noteLoss keeps why a session went down: only the event tells.
func (s *Speaker) noteLoss(p *api.PeerState) {
	if !gobgp.IsLoss(p) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.resetAt[p.GetNeighborAddress()]) <= resetEcho {
		return // Reset has said why.
	}
	was, is := s.losses[p.GetNeighborAddress()], gobgp.DisconnectReason(p)
	notBack := p.GetDisconnectReason() == api.PeerState_DISCONNECT_REASON_RESTART_TIMER_EXPIRED || gobgp.IsUnanswered(is)
	if was == "" || was == gobgp.EndedHere || gobgp.IsUnanswered(was) || !notBack {
		s.losses[p.GetNeighborAddress()] = is // That it does not come back is not why it went.
	}
}

// resetEcho is how long after a Reset an event may be about that.
const resetEcho = 2 * time.Second
