package bgp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// UID and GID of the speaker process, its own and no one else's.
	UID = 179
	// startTimeout bounds the time until a new process answers.
	startTimeout = 30 * time.Second
	// stopTimeout bounds its orderly end.
	stopTimeout = 5 * time.Second
	// The pause before the next life of a speaker that died doubles from
	// firstPause to lastPause; a life longer than lastPause begins anew.
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	// deferral is how long a restarted speaker waits for all peers' End-of-RIB
	// before it sends its own routes (GoBGP's default is 360 s, so that one dead
	// peer keeps everybody waiting: kube-router #946).
	deferral = 30 * time.Second
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
	originate  []netip.Prefix
	sent       []netip.Prefix // of originate, what this life has been told
	client     api.GoBgpServiceClient
	started    time.Time
	restarting bool
	losses     map[string]string // why sessions went down last, by address
}

// New makes a Speaker for the configuration, which originates the prefixes from
// its start. restarting says that the routes of an earlier life are still in the
// kernel, so peers may go on using us meanwhile.
func New(o Options, c Config, originate []netip.Prefix, restarting bool) *Speaker {
	return &Speaker{opts: o, config: c, originate: slices.Clone(originate), restarting: restarting, changed: make(chan struct{}, 1), again: make(chan struct{}, 1), losses: map[string]string{}}
}

// Configure gives the speaker another configuration, for which it is started
// again with graceful restart. The same one changes nothing.
func (s *Speaker) Configure(c Config) {
	s.mu.Lock()
	same := reflect.DeepEqual(s.config, c)
	s.config = c
	s.mu.Unlock()
	if same {
		return
	}
	select {
	case s.again <- struct{}{}:
	default:
	}
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
var ErrConfig = errors.New("the speaker can not be started")

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
	cmd, last, err := s.command()
	if err != nil {
		return fmt.Errorf("prepare the speaker's folder: %w", err)
	}
	died, err := startAndWait(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.opts.Program, err)
	}
	talking, cancel := context.WithCancel(ctx)
	followed := make(chan error, 1)
	go func() { followed <- s.converse(talking) }()
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
	s.client, s.sent = nil, nil
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

// startAndWait starts the process and reports its end. Both happen on one thread
// that is kept for it: the parent's death signal is bound to the thread that
// forked (prctl(2), PR_SET_PDEATHSIG), and Go ends threads now and then.
func startAndWait(cmd *exec.Cmd) (<-chan error, error) {
	started, died := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			died <- cmd.Wait()
		}
	}()
	return died, <-started
}

// command is the process with its own uid and the one capability that it needs:
// to listen on a port below 1024.
func (s *Speaker) command() (*exec.Cmd, *lastWords, error) {
	dir := filepath.Dir(s.opts.Socket)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	if err := os.Chown(dir, UID, UID); err != nil {
		return nil, nil, err
	}
	last := &lastWords{out: os.Stderr}
	cmd := exec.Command(s.opts.Program, s.opts.Args...)
	cmd.Stdout, cmd.Stderr = last, last
	cmd.Dir = "/"
	cmd.Env = []string{"GOTRACEBACK=single"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:     true, // Ctrl-C is for the agent, which ends the speaker in order
		Pdeathsig:   syscall.SIGTERM,
		Credential:  &syscall.Credential{Uid: UID, Gid: UID},
		AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE},
	}
	return cmd, last, nil
}

// converse configures the process and follows its events until one of both fails.
func (s *Speaker) converse(ctx context.Context) error {
	conn, err := grpc.NewClient("unix://"+s.opts.Socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.opts.Socket, err)
	}
	defer func() { _ = conn.Close() }()
	client := api.NewGoBgpServiceClient(conn)
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.mu.Lock()
	config, restarting := s.config, s.restarting
	s.mu.Unlock()
	if err := config.start(starting, client, restarting); err != nil {
		return err
	}
	// Snapshots begin when all peers are known: less would look like an end of
	// their routes.
	s.mu.Lock()
	err = s.originateLocked(starting, client)
	if err == nil {
		err = config.addPeers(starting, client, restarting)
	}
	if err == nil {
		s.client, s.started = client, time.Now()
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.follow(ctx, client)
}

// follow turns the speaker's events into wake-ups. It reads on whatever happens:
// GoBGP's channel of events is without bound.
func (s *Speaker) follow(ctx context.Context, client api.GoBgpServiceClient) error {
	stream, err := client.WatchEvent(ctx, &api.WatchEventRequest{
		Peer: &api.WatchEventRequest_Peer{},
		Table: &api.WatchEventRequest_Table{Filters: []*api.WatchEventRequest_Table_Filter{
			{Type: api.WatchEventRequest_Table_Filter_TYPE_POST_POLICY},
			{Type: api.WatchEventRequest_Table_Filter_TYPE_EOR},
		}},
	})
	for err == nil {
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
	switch p.GetDisconnectReason() {
	case api.PeerState_DISCONNECT_REASON_UNSPECIFIED, api.PeerState_DISCONNECT_REASON_IDLE_TIMER_EXPIRED:
		return // not an end but a beginning
	}
	s.mu.Lock()
	s.losses[p.GetNeighborAddress()] = disconnectReason(p)
	s.mu.Unlock()
}

// Originate says which prefixes we announce: all of them. It may be called again
// at any time; while the speaker is away it is remembered.
func (s *Speaker) Originate(ctx context.Context, prefixes []netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.originate = slices.Clone(prefixes)
	if s.client == nil {
		return nil
	}
	return s.originateLocked(ctx, s.client)
}

func (s *Speaker) originateLocked(ctx context.Context, client api.GoBgpServiceClient) error {
	for _, p := range s.originate {
		if slices.Contains(s.sent, p) {
			continue
		}
		if _, err := client.AddPath(ctx, &api.AddPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Path: ownPath(p)}); err != nil {
			return fmt.Errorf("originate %s: %w", p, err)
		}
		s.sent = append(s.sent, p)
	}
	for _, p := range slices.Clone(s.sent) {
		if slices.Contains(s.originate, p) {
			continue
		}
		if _, err := client.DeletePath(ctx, &api.DeletePathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: ipv4(), Path: ownPath(p)}); err != nil {
			return fmt.Errorf("withdraw %s: %w", p, err)
		}
		s.sent = slices.DeleteFunc(s.sent, func(q netip.Prefix) bool { return q == p })
	}
	return nil
}

// Reset ends the peer's session with a NOTIFICATION, and what the peer has told is
// forgotten at once: after one (unlike after a hold timer) GoBGP keeps nothing for a
// graceful restart. Only a session that is Established may be reset: GoBGP would
// keep the NOTIFICATION for the next one.
func (s *Speaker) Reset(ctx context.Context, peer netip.Addr, reason string) error {
	s.mu.Lock()
	client := s.client
	s.mu.Unlock()
	if client == nil {
		return ErrAway
	}
	if _, err := client.ResetPeer(ctx, &api.ResetPeerRequest{Address: peer.String(), Communication: reason}); err != nil {
		return fmt.Errorf("reset the session with %s: %w", peer, err)
	}
	return nil
}

// ErrAway is what Snapshot returns while there is no speaker.
var ErrAway = errors.New("the BGP speaker is away")

// Snapshot reads all that the speaker knows. A snapshot that could not be read
// to its end is an error, never a shorter one.
func (s *Speaker) Snapshot(ctx context.Context) (Snapshot, error) {
	s.mu.Lock()
	client, config, started, originated, losses := s.client, s.config, s.started, len(s.sent), maps.Clone(s.losses)
	s.mu.Unlock()
	if client == nil {
		return Snapshot{}, ErrAway
	}
	snap := Snapshot{Started: started, configured: len(config.Peers)}
	err := receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
		return client.ListPeer(ctx, &api.ListPeerRequest{})
	}, func(r *api.ListPeerResponse) {
		if p, ok := peerState(r.Peer, config.Peers, originated); ok {
			if p.Reason == "" {
				p.Reason = losses[p.Address.String()]
			}
			snap.Peers = append(snap.Peers, p)
		}
	})
	if err != nil {
		return Snapshot{}, fmt.Errorf("list peers: %w", err)
	}
	slices.SortFunc(snap.Peers, func(a, b PeerState) int { return strings.Compare(a.Name, b.Name) })
	names := map[string]string{}
	for _, p := range config.Peers {
		names[p.Address.String()] = p.Name
	}
	err = receive(func() (grpc.ServerStreamingClient[api.ListPathResponse], error) {
		return client.ListPath(ctx, &api.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: ipv4()})
	}, func(r *api.ListPathResponse) {
		snap.Paths = append(snap.Paths, learned(r.Destination, names)...)
	})
	if err != nil {
		return Snapshot{}, fmt.Errorf("list paths: %w", err)
	}
	return snap, nil
}

// receive reads a stream to its end.
func receive[T any](open func() (grpc.ServerStreamingClient[T], error), each func(*T)) error {
	stream, err := open()
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		each(m)
	}
}

// lastWords passes on what the process says and keeps its end, for the day it
// dies with a stack trace.
type lastWords struct {
	out  io.Writer
	mu   sync.Mutex // guards kept
	kept []byte
}

const keptOctets = 4 << 10

func (l *lastWords) Write(b []byte) (int, error) {
	l.mu.Lock()
	l.kept = append(l.kept, b...)
	if n := len(l.kept); n > keptOctets {
		l.kept = bytes.Clone(l.kept[n-keptOctets:])
	}
	l.mu.Unlock()
	return l.out.Write(b)
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.kept))
}
