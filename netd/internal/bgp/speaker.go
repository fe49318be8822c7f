package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/rib"
	"netd/netd/retry"
	"netd/netd/wake"
)

const (
	// The pause before the next life of a speaker that died doubles from
	// firstPause to lastPause; after a life longer than lastPause it begins anew.
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// Options of a Speaker.
type Options struct {
	// Program and Args start package child in a process of its own.
	Program string
	Args    []string
	// Socket is the path of its API. Its folder is made, and given to layout.SpeakerUID.
	Socket string
	// Known is a file for the peers of ranges that are there, which a restart has to know;
	// empty: they are not remembered.
	Known string
	Log   *slog.Logger
	// Words gets what the process itself says. It must not wait: a process that can not
	// say its words hangs. nil: they are kept for the day it dies, and no more.
	Words io.Writer
}

// Wanted is all that the speaker is to do.
type Wanted struct {
	Config
	Origins []Origin // what it announces, from its start
}

// Speaker is the agent's hold on the speaker process. Whoever calls it is never made
// to wait for the process, but for Explain and Details, which ask it something: Run
// alone talks to it.
type Speaker struct {
	opts    Options
	changed wake.Signal

	mu         sync.Mutex // guards what follows; it is never held over a call
	wanted     Wanted
	revision   int // of wanted
	resets     []resetRequest
	life       *life // nil while there is no process that has been told what to do
	gathered   gathered
	restarting bool
	losses     map[string]string    // why sessions went down last, by address
	resetAt    map[string]time.Time // when Reset ended them last
	process    Process
}

// resetRequest asks for the end of a session.
type resetRequest struct {
	peer   netip.Addr
	reason string
	at     time.Time
}

// New makes a Speaker. restarting says that the routes of an earlier life are still
// in the kernel, so peers may go on using us meanwhile.
func New(o Options, w Wanted, restarting bool) *Speaker {
	return &Speaker{
		opts: o, changed: wake.New(), wanted: w.clone(), restarting: restarting,
		gathered: gathered{news: News{Away: true}, problems: map[int]error{}},
		losses:   map[string]string{}, resetAt: map[string]time.Time{},
	}
}

func (w Wanted) clone() Wanted { return Wanted{w.Config.Clone(), slices.Clone(w.Origins)} }

// Set says what the speaker is to do, all of it. It may be called again at any time:
// what is in force is changed by difference, and the same again changes nothing. Only
// another AS, router id or port starts the process again, with graceful restart. What
// can not be done is tried again, and is in News.Problem meanwhile.
func (s *Speaker) Set(w Wanted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reflect.DeepEqual(s.wanted, w) {
		return
	}
	s.wanted = w.clone()
	s.revision++
	s.poke()
}

// poke wakes who commands. The caller holds mu.
func (s *Speaker) poke() {
	if s.life != nil {
		s.life.command.Send()
	}
}

// Reset ends the peer's session with a NOTIFICATION, and what the peer has told is
// forgotten at once: after one (unlike after a hold timer) GoBGP keeps nothing for a
// graceful restart. Only a session that is Established is reset: GoBGP would keep the
// NOTIFICATION for the next one.
func (s *Speaker) Reset(peer netip.Addr, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process.PID == 0 {
		return // Its sessions have ended with it.
	}
	now := time.Now()
	s.losses[peer.String()], s.resetAt[peer.String()] = reason, now
	s.resets = append(slices.DeleteFunc(s.resets, func(o resetRequest) bool { return o.peer == peer }), resetRequest{peer, reason, now})
	s.poke()
}

// Changed is ready (once) when Take has something new.
func (s *Speaker) Changed() <-chan struct{} { return s.changed }

// Take returns what is known, and what has changed since the last Take.
func (s *Speaker) Take() News {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gathered.take()
}

// ErrConfig marks what starting again will not mend: a port that is taken, say.
var ErrConfig = gobgp.ErrConfig

// errAgain ends a life for a new configuration.
var errAgain = errors.New("new configuration")

// Run keeps the speaker process running until ctx ends. A first start that the
// process refuses (ErrConfig) ends Run; later deaths are logged and mended.
func (s *Speaker) Run(ctx context.Context) error {
	pauses := retry.Backoff{First: firstPause, Last: lastPause}
	for first := true; ; first = false {
		begin := time.Now()
		err := s.live(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if first && errors.Is(err, ErrConfig) {
			return err
		}
		if errors.Is(err, errAgain) {
			pauses.Reset()
		}
		pause := pauses.Next(time.Since(begin))
		if errors.Is(err, errAgain) {
			s.opts.Log.Info("the BGP speaker starts again, for its new configuration")
		} else {
			s.opts.Log.Error("the BGP speaker died; routes stay, and it is started again", "pause", pause, "err", err)
		}
		if !retry.Sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// wantedNow is what is wanted.
func (s *Speaker) wantedNow() Wanted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted
}

// wantedSince is what is wanted, and its revision.
func (s *Speaker) wantedSince() (Wanted, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted, s.revision
}

// enter makes a life the one that is told and asked.
func (s *Speaker) enter(l *life) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life = l
	l.command.Send() // for what was asked meanwhile
}

// leave ends it: the next one restarts.
func (s *Speaker) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life, s.restarting, s.resets = nil, true, nil
	s.gathered.reset()
	s.changed.Send()
}

// alive is the life that can be asked.
func (s *Speaker) alive() (*life, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil {
		return nil, ErrAway
	}
	return s.life, nil
}

// ErrAway is what questions return while there is no speaker.
var ErrAway = errors.New("the BGP speaker is away")

// publish adds what a life was read to have.
func (s *Speaker) publish(l *life, peers []PeerState, settled bool, claims []Claim, u rib.Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != l {
		return
	}
	delete(s.gathered.problems, silence) // of the life before, if any
	s.gathered.add(l.started, peers, settled, claims, u)
	s.changed.Send()
}

// note says what is wrong with a life's task, or that nothing is any more.
func (s *Speaker) note(l *life, task int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == l && s.gathered.note(task, err) {
		s.changed.Send()
	}
}

// hung says that the process is silent, and kills it.
func (s *Speaker) hung(kill func() error, words string, silent time.Duration) {
	err := fmt.Errorf("%s %s; routes stay as they are", words, silent.Round(100*time.Millisecond))
	s.opts.Log.Error("the BGP speaker hangs and is killed", "err", err)
	_ = kill() // It may have just ended.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gathered.note(silence, err) {
		s.changed.Send()
	}
}
