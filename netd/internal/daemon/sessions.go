package daemon

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"netd/netd/internal/bfd"
	"netd/netd/internal/bgp"
	"netd/netd/internal/intent"
	"netd/netd/internal/rib"
	"netd/netd/internal/route"
	"netd/netd/wake"
)

const (
	// settleDeadline bounds the wait for peers after a start of the speaker,
	// during which learned routes that are in the kernel are not touched.
	settleDeadline = 15 * time.Second
	// settlePause is how long after the last End-of-RIB to wait for what it was the end
	// of: FRR sends it a second before the routes (its coalesce-time), and others were seen
	// to send it three seconds before.
	settlePause = 4 * time.Second
	// routerDeadline is how long the speaker's start waits for the peers that are known
	// by their link alone: only those that it knows at its start are told that our
	// routes were kept (RFC 4724, the F bit). A ToR answers a question at once.
	routerDeadline = 5 * time.Second
)

// sessions are those of BGP and BFD, as they are. The speaker and the BFD process have
// keepers of their own (bgp.Speaker, bfd.Client): what is said to these, and heard of
// them, waits for nobody.
type sessions struct {
	log     *slog.Logger
	runDir  string
	words   io.Writer // gets the speaker's own
	start   func(func(context.Context) error) context.CancelFunc
	wake    wake.Signal
	begun   time.Time // the agent's start
	speaker *bgp.Speaker
	bfd     *bfd.Client

	peers   []bgp.PeerState
	paths   []bfd.Status // of the peers that have BFD
	life    time.Time    // when the speaker's present one began
	away    bool
	trouble trouble
	reset   map[string]time.Time // by peer: the failure for which its session was reset
	judge   judge                // of what BFD has lost
	either  either               // those whose BFD is of one kind or the other
	allTold time.Time            // when the last peer sent its End-of-RIB; zero if one has not
	settled bool

	farewell farewell
	flaps    map[string]uint64 // by peer: how often its session was lost
}

// trouble is what a person must know.
type trouble struct {
	speaker, bfd error       // of their processes
	claims       []bgp.Claim // others' to what is ours
}

func newSessions(o Options, t *tasks, l *loop) *sessions {
	return &sessions{
		log: o.Log, runDir: o.RunDir, words: o.Words, start: t.start, wake: l.wake, begun: time.Now(),
		reset: map[string]time.Time{},
	}
}

// ChildSocket is where a role that is a child of the agent serves it.
func ChildSocket(runDir, role string) string { return filepath.Join(runDir, role, role+".sock") }

// find takes over the BFD sessions of an earlier life, which went on. A loss
// that they tell of is not ours to answer by a reset of a session that is new.
func (s *sessions) find() error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	socket := ChildSocket(s.runDir, "bfd")
	s.bfd = bfd.Connect(bfd.Options{Program: program, Args: []string{"bfd", "--socket", socket}, Socket: socket, Log: s.log})
	s.paths, _ = s.bfd.Statuses() // The error is reported by the first round.
	s.judgePaths()
	for _, l := range s.lostPaths() {
		s.reset[l.Peer] = l.Failed
	}
	return nil
}

// runBFD keeps the BFD sessions until ctx ends. They go on over a restart of the
// agent, for as long as peers keep its routes.
func (s *sessions) runBFD(ctx context.Context) error {
	err := s.bfd.Run(ctx)
	if context.Cause(ctx) == bgp.ErrLeave {
		s.farewell.speaking.Wait() // No longer than the speaker has for its end.
		s.bfd.Leave()
	}
	return err
}

// listen takes in what the speaker has told since the last time, and returns what it
// has learned. While the speaker is away what it told last stays in use.
func (s *sessions) listen(want intent.Sessions) rib.Update {
	if s.speaker == nil {
		return rib.Update{}
	}
	news := s.speaker.Take()
	s.trouble.speaker = news.Problem
	if s.away = news.Away; s.away {
		s.settled = false
		return rib.Update{}
	}
	if news.Started != s.life {
		s.life, s.settled = news.Started, false
	}
	if news.Peers != nil {
		s.logPeers(s.peers, news.Peers)
		s.countFlaps(s.peers, news.Peers)
		s.peers = news.Peers
		s.judgePaths()
	}
	if news.Claims != nil {
		s.trouble.claims = news.Claims
	}
	s.settle(news.Settled && len(want.Unheard) == 0)
	return news.Paths
}

// settle notes when peers have told what they know.
func (s *sessions) settle(all bool) {
	switch {
	case !all:
		s.allTold = time.Time{}
	case s.allTold.IsZero():
		s.allTold = time.Now()
	}
	all = !s.allTold.IsZero() && time.Since(s.allTold) > settlePause
	if !s.settled && (all || time.Since(s.life) > settleDeadline) {
		s.settled = true
		s.log.Info("peers have told what they know", "all", all)
	}
}

// missingFor is how long a session may be away before that is a problem: longer than a
// peer takes to restart its daemon.
const missingFor = 30 * time.Second

// missing says why a peer has no session, at once where it is known for good (it refuses
// us), else when that has lasted.
func (s *sessions) missing(p bgp.PeerState) string {
	since := p.Since
	if since.Before(s.life) { // It never had one, or before this speaker.
		since = s.life
	}
	switch {
	case p.Refused():
		return p.Reason
	case p.Established() || p.Shutdown || p.Returning() || time.Since(since) < missingFor:
		return "" // After an order its return is tried just now.
	}
	return "has no session: " + cmp.Or(p.Reason, "nothing has been heard of it")
}

func (s *sessions) logPeers(before, now []bgp.PeerState) {
	for _, p := range now {
		i := slices.IndexFunc(before, func(b bgp.PeerState) bool { return b.Name == p.Name })
		was := i >= 0 && before[i].Established()
		switch {
		case p.Established() && !was:
			s.log.Info("peer established", "peer", p.Name, "address", p.Address, "as", p.AS)
		case !p.Established() && was:
			s.log.Warn("peer lost", "peer", p.Name, "address", p.Address, "reason", cmp.Or(p.Reason, "not told"))
		}
		if p.Warning != "" && (i < 0 || before[i].Warning == "") {
			s.log.Warn("peer", "peer", p.Name, "address", p.Address, "warning", p.Warning)
		}
	}
}

// countFlaps counts the sessions that were lost between two looks, also those
// that are up again.
func (s *sessions) countFlaps(before, now []bgp.PeerState) {
	flaps := make(map[string]uint64, len(now)) // what is not there any more is forgotten
	for _, p := range now {
		flaps[p.Name] = s.flaps[p.Name]
		for _, b := range before {
			if b.Name == p.Name && b.Established() && (!p.Established() || !p.Since.Equal(b.Since)) {
				flaps[p.Name]++
			}
		}
	}
	s.flaps = flaps
}

// changed is ready (once) when listen has something to hear; nil while there is no
// speaker.
func (s *sessions) changed() <-chan struct{} {
	if s.speaker == nil {
		return nil
	}
	return s.speaker.Changed()
}

// apply tells both keepers what is wanted, and starts the speaker once this gateway has
// an address. retained tells whether routes of an earlier life are in the kernel.
func (s *sessions) apply(want intent.Sessions, retained func() (bool, error)) error {
	watched := want.BFD
	watched.Sessions = s.farewell.with(watched.Sessions, want.About, s.peers)
	s.bfd.Set(watched)
	s.either.peers = want.Undecided
	if want.Speaker == nil || s.speaker == nil && s.awaits(want.Unheard) {
		return nil
	}
	if s.speaker != nil {
		s.speaker.Set(*want.Speaker)
		return nil
	}
	// Routes of ours in the kernel are those of an earlier life: they carried
	// on, and the peers may be told so (RFC 4724, the F bit).
	restarting, err := retained()
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	socket := ChildSocket(s.runDir, "bgp")
	s.speaker = bgp.New(bgp.Options{
		Program: program, Args: []string{"bgp", "--socket", socket}, Socket: socket, Log: s.log, Words: s.words,
		Known: filepath.Join(s.runDir, "range-peers.json"),
	}, *want.Speaker, restarting)
	s.start(s.farewell.speak(s.speaker.Run))
	return nil
}

// awaits tells whether to start the speaker a little later, for peers that were not
// heard yet.
func (s *sessions) awaits(unheard []intent.Peer) bool {
	rest := routerDeadline - time.Since(s.begun)
	if rest <= 0 || len(unheard) == 0 {
		return false
	}
	time.AfterFunc(rest, s.wake.Send)
	return true
}

// darkness tells which uplink without carrier an address is on, and since when.
type darkness func(netip.Addr) (uplink string, since time.Time)

// lost are the peers that can not be reached: BFD says so, or a ToR's uplink has no
// carrier. GoBGP would keep their paths until their hold time, and then for as long as
// a restart may take.
func (s *sessions) lost(tors []intent.Peer, dark darkness) []route.Lost {
	var all []route.Lost
	for _, p := range s.lostPaths() {
		all = append(all, route.Lost{Peer: p.Peer, Address: p.Remote, Since: p.Failed, Why: fmt.Sprintf("BFD: %s is down", p.Peer)})
	}
	for _, p := range tors {
		uplink, since := dark(p.Address)
		if uplink == "" || slices.ContainsFunc(all, func(l route.Lost) bool { return l.Peer == p.Name }) {
			continue
		}
		all = append(all, route.Lost{
			Peer: p.Name, Address: p.Address, Since: since, Why: fmt.Sprintf("%s is on %s, which has no carrier", p.Name, uplink),
		})
	}
	return all
}

// resetLost has the BGP session of each peer that was lost reset, once: its hold time
// is longer, and when that expires GoBGP would keep the paths as stale.
func (s *sessions) resetLost(lost []route.Lost) {
	for _, l := range lost {
		if s.speaker == nil || s.reset[l.Peer].Equal(l.Since) {
			continue
		}
		if slices.ContainsFunc(s.peers, func(p bgp.PeerState) bool { return p.Address == l.Address && p.Established() }) {
			s.speaker.Reset(l.Address, l.Why)
		}
		s.reset[l.Peer] = l.Since
	}
}
