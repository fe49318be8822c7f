package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/bgp/wire"
)

const (
	// UID and GID of the speaker process, its own and no one else's.
	UID = 179
	// startTimeout bounds the time until a new process answers.
	startTimeout = 30 * time.Second
	// configureTimeout bounds a change of its configuration.
	configureTimeout = 10 * time.Second
	// stopTimeout bounds its orderly end.
	stopTimeout = 5 * time.Second
	// The pause before the next life of a speaker that died doubles from
	// firstPause to lastPause; a life longer than lastPause begins anew.
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// Options of a Speaker.
type Options struct {
	// Program and Args start Serve in a process of its own.
	Program string
	Args    []string
	// Socket is the path of its API. Its folder is made, and given to UID.
	Socket string
	Log    *slog.Logger
}

// Speaker is the agent's hold on the speaker process.
type Speaker struct {
	opts    Options
	changed chan struct{}
	again   chan struct{} // a new configuration waits

	mu         sync.Mutex // guards what follows
	config     Config
	originate  []Origin
	life       *life // nil while there is no process that answers
	restarting bool
	losses     map[string]string    // why sessions went down last, by address
	resets     map[string]time.Time // when Reset ended them last
	process    Process
	kill       func() error // of process
}

// New makes a Speaker for the configuration, which originates the prefixes from
// its start. restarting says that the routes of an earlier life are still in the
// kernel, so peers may go on using us meanwhile.
func New(o Options, c Config, originate []Origin, restarting bool) *Speaker {
	return &Speaker{opts: o, config: c.Clone(), originate: slices.Clone(originate), restarting: restarting, changed: make(chan struct{}, 1), again: make(chan struct{}, 1), losses: map[string]string{}, resets: map[string]time.Time{}}
}

// Configure gives the speaker another configuration, by difference: it may be called
// again at any time, and the same one changes nothing. Only another AS, router id or
// port starts the process again, with graceful restart. While the speaker is away
// the configuration is remembered; one that fails is tried again by the next call.
func (s *Speaker) Configure(ctx context.Context, c Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.config
	s.config = c.Clone()
	if !before.SameProcess(c) {
		s.life = nil
		select {
		case s.again <- struct{}{}:
		default:
		}
		return nil
	}
	if s.life == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, configureTimeout)
	defer cancel()
	err := s.life.configure(ctx, s.config)
	if err != nil || !reflect.DeepEqual(before, s.config) {
		// Other filters may apply to what is known, and GoBGP tells of that in no event.
		s.life.changes.all = true
		s.life.suspect(s.config)
		s.wake()
	}
	return err
}

// errAgain ends a life for a new configuration.
var errAgain = errors.New("new configuration")

// Changed is ready (once) when a new Snapshot may differ.
func (s *Speaker) Changed() <-chan struct{} { return s.changed }

func (s *Speaker) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// ErrConfig marks what starting again will not mend: a port that is taken, say.
var ErrConfig = gobgp.ErrConfig

// Run keeps the speaker process running until ctx ends. A first start that the
// process refuses (ErrConfig) ends Run; later deaths are logged and mended.
func (s *Speaker) Run(ctx context.Context) error {
	pause := firstPause
	for first := true; ; first = false {
		begin := time.Now()
		err := s.live(ctx)
		s.wake()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if first && errors.Is(err, ErrConfig) {
			return err
		}
		if time.Since(begin) > lastPause || errors.Is(err, errAgain) {
			pause = firstPause
		}
		if errors.Is(err, errAgain) {
			s.opts.Log.Info("the BGP speaker starts again, for its new configuration")
		} else {
			s.opts.Log.Error("the BGP speaker died; routes stay, and it is started again", "pause", pause, "err", err)
		}
		s.mu.Lock()
		s.restarting = true
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// live is one life of the process: start, configure, follow, until it dies or
// ctx ends.
func (s *Speaker) live(ctx context.Context) error {
	hear, tell, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for the speaker: %w", err)
	}
	defer func() { _ = hear.Close() }()
	cmd, last, err := s.command(tell)
	if err != nil {
		return errors.Join(fmt.Errorf("prepare the speaker's folder: %w", err), tell.Close())
	}
	died, err := startAndWait(cmd)
	_ = tell.Close() // The process has its own.
	if err != nil {
		return fmt.Errorf("start %s: %w", s.opts.Program, err)
	}
	s.born(cmd.Process)
	defer s.buried()
	talking, cancel := context.WithCancel(ctx)
	followed := make(chan error, 1)
	go func() { followed <- s.converse(talking, hear) }()
	var dead, ended error
	alive := true
	select {
	case dead = <-died:
		alive = false
		cancel()
		ended = <-followed
	case ended = <-followed:
		cancel()
	case <-s.again:
		cancel()
		<-followed
		ended = errAgain
	}
	s.mu.Lock()
	s.life = nil
	s.mu.Unlock()
	if alive {
		goodbye := syscall.SIGTERM
		if errors.Is(context.Cause(ctx), ErrLeave) {
			goodbye = syscall.SIGINT
		}
		_ = cmd.Process.Signal(goodbye)
		select {
		case dead = <-died:
		case <-time.After(stopTimeout):
			_ = cmd.Process.Kill()
			dead = <-died
		}
	}
	if errors.Is(ended, ErrConfig) || errors.Is(ended, errAgain) {
		return ended
	}
	return fmt.Errorf("%v (%w); its last words: %s", dead, ended, last)
}

// converse configures the process and follows its events until one of both fails.
func (s *Speaker) converse(ctx context.Context, hints *os.File) error {
	conn, err := grpc.NewClient("unix://"+s.opts.Socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage)))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.opts.Socket, err)
	}
	defer func() { _ = conn.Close() }()
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.mu.Lock()
	l := newLife(api.NewGoBgpServiceClient(conn), s.restarting)
	l.conn = conn
	config, originate := s.config, s.originate
	s.mu.Unlock()
	if err := l.begin(starting, config, originate); err != nil {
		return err
	}
	// Snapshots begin when all peers are known: less would look like an end of
	// their routes.
	s.mu.Lock()
	s.life = l
	err = errors.Join(l.configure(starting, s.config), l.originate(starting, s.originate)) // of meanwhile
	s.mu.Unlock()
	if err != nil {
		return err
	}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return s.follow(ctx, l) })
	tasks.Go(func() error { return s.hear(hints, l) })
	tasks.Go(func() error { return s.limitAll(ctx, l) })
	tasks.Go(func() error {
		<-ctx.Done()
		return hints.Close()
	})
	return tasks.Wait()
}

// follow turns the events of sessions into wake-ups; those of prefixes are hear's.
// It reads on whatever happens: GoBGP's channel of events is without bound.
func (s *Speaker) follow(ctx context.Context, l *life) error {
	stream, err := l.client.WatchEvent(wire.AsAgent(ctx), &api.WatchEventRequest{Peer: &api.WatchEventRequest_Peer{}})
	for err == nil {
		s.mu.Lock()
		l.peersRead = time.Time{}
		s.mu.Unlock()
		s.wake()
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
	if time.Since(s.resets[p.GetNeighborAddress()]) > resetEcho { // Else Reset has said why.
		s.losses[p.GetNeighborAddress()] = gobgp.DisconnectReason(p)
	}
}

// resetEcho is how long after a Reset an event may be about that.
const resetEcho = 2 * time.Second

// Originate says what we announce: all of it. It may be called again
// at any time; while the speaker is away it is remembered.
func (s *Speaker) Originate(ctx context.Context, origins []Origin) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.originate = slices.Clone(origins)
	if s.life == nil {
		return nil
	}
	return s.life.originate(ctx, s.originate)
}

// Reset ends the peer's session with a NOTIFICATION, and what the peer has told is
// forgotten at once: after one (unlike after a hold timer) GoBGP keeps nothing for a
// graceful restart. Only a session that is Established is reset: GoBGP would keep the
// NOTIFICATION for the next one.
func (s *Speaker) Reset(ctx context.Context, peer netip.Addr, reason string) error {
	s.mu.Lock()
	l := s.life
	if l != nil {
		s.losses[peer.String()], s.resets[peer.String()] = reason, time.Now()
	}
	s.mu.Unlock()
	if l == nil {
		return ErrAway
	}
	// The peer may have ended the session for the same reason at the same moment.
	established := false
	err := receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
		return l.client.ListPeer(ctx, &api.ListPeerRequest{Address: peer.String()})
	}, func(r *api.ListPeerResponse) {
		established = r.Peer.GetState().GetSessionState() == api.PeerState_SESSION_STATE_ESTABLISHED
	})
	if err != nil {
		return fmt.Errorf("look at the session with %s: %w", peer, err)
	}
	if !established {
		return nil
	}
	if _, err := l.client.ResetPeer(ctx, &api.ResetPeerRequest{Address: peer.String(), Communication: reason}); err != nil {
		return fmt.Errorf("reset the session with %s: %w", peer, err)
	}
	return nil
}

// ErrAway is what Snapshot returns while there is no speaker.
var ErrAway = errors.New("the BGP speaker is away")
