package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/bgp/wire"
	"netd/netd/internal/rib"
	"netd/netd/retry"
)

const (
	// peersPause is how old the sessions' counts may be: GoBGP counts by walking over
	// all that a peer has told, with everything else at a stand.
	peersPause = time.Second
	// The whole table is read again from time to time, whatever the hints said.
	tablePause = 30 * time.Second
	// Either takes no more than a share-th of the time.
	share = 100
	// Between two reads the speaker has as much time for itself as the first took, at
	// least gatherPause and at most longestPause. What comes after a rest is read at once.
	gatherPause  = 5 * time.Millisecond
	longestPause = time.Second
	// readTimeout bounds one read; a speaker that hangs is killed long before.
	readTimeout = 2 * time.Minute
)

// reader reads one life's sessions and paths. It keeps no table of paths.
type reader struct {
	*Speaker
	life *life

	states    []PeerState // as they were read at peersRead
	peersRead time.Time
	peersCost time.Duration
	countsDue bool     // paths have changed since
	known     []ranged // of ranges, as they are remembered

	tableRead time.Time // as a whole
	tableCost time.Duration
	interned  interned
}

// read reads what changes until ctx ends.
func (s *Speaker) read(ctx context.Context, l *life) error {
	r := &reader{Speaker: s, life: l, known: s.remembered()}
	failures := retry.Backoff{First: time.Second, Last: 10 * time.Second}
	for {
		begin := time.Now()
		err := r.round(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause := min(max(time.Since(begin), gatherPause), longestPause)
		if err != nil {
			err = fmt.Errorf("read the BGP speaker; routes stay as they are: %w", err)
			pause = failures.Next(0)
		} else {
			failures.Reset()
		}
		if s.note(l, reading, err); !retry.Sleep(ctx, pause) {
			return ctx.Err()
		}
		if err != nil {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.look:
		case <-time.After(time.Until(r.due())):
		}
	}
}

func (r *reader) countPause() time.Duration { return max(peersPause, share*r.peersCost) }
func (r *reader) wholePause() time.Duration { return max(tablePause, share*r.tableCost) }

// due is when to read again without a hint.
func (r *reader) due() time.Time {
	at := r.tableRead.Add(r.wholePause())
	if counts := r.peersRead.Add(r.countPause()); r.countsDue && counts.Before(at) {
		return counts
	}
	return at
}

// round reads what the speaker says has changed, and everything if that is not known.
// What could not be read to its end is an error, never less.
func (r *reader) round(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	l := r.life
	all, peers, prefixes := l.takeChanges()
	defer func() {
		if err != nil {
			l.everything()
		}
	}()
	config := r.wantedNow().Config
	all = all || r.interned.crowded() || time.Since(r.tableRead) > r.wholePause()
	r.countsDue = r.countsDue || len(prefixes) > 0
	var states []PeerState // nil: not read
	if all || peers || r.countsDue && time.Since(r.peersRead) >= r.countPause() {
		if states, err = r.readPeers(ctx, config); err != nil {
			return err
		}
		// The paths must be at least as new as the word that these are all: hints
		// may still be on their way.
		all = all || !slices.EqualFunc(r.states, states, sameLife)
	}
	u, err := r.readPaths(ctx, config, all, prefixes)
	if err != nil {
		return err
	}
	if states != nil {
		if r.peersRead.IsZero() || !slices.EqualFunc(r.states, states, sameLife) {
			l.command.Send() // What waits for the end of a session waits no more.
		}
		r.states, r.countsDue = states, false
	}
	var claims []Claim // nil: not read
	if all || mayClaim(owned(l.sentNow()), prefixes) {
		if claims, err = l.claims(ctx, config, r.states); err != nil {
			return err
		}
	}
	if states != nil || claims != nil || u.Whole || len(u.Entries) > 0 {
		r.publish(l, states, settled(r.states, len(config.Peers)), claims, u)
	}
	return nil
}

// readPeers reads the states of all sessions.
func (r *reader) readPeers(ctx context.Context, config Config) ([]PeerState, error) {
	begin := time.Now()
	l, losses, sent := r.life, r.lossesNow(), r.life.sentNow()
	states := []PeerState{}
	err := receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
		return l.client.ListPeer(ctx, &api.ListPeerRequest{})
	}, func(m *api.ListPeerResponse) {
		p, ok := config.PeerState(m.Peer, sent)
		if !ok {
			return
		}
		// When both ends have just begun, GoBGP does not wait for the peer's End-of-RIB,
		// but says that it had it.
		p.EndOfRIB = p.EndOfRIB && !(l.retained && gobgp.Begins(m.Peer))
		if gobgp.Limited(m.Peer.GetState()) {
			p.Reason = r.limited(l, config, p.Address)
		} else if p.Reason == "" {
			p.Reason = losses[p.Address.String()]
			if p.Established() && gobgp.IsUnanswered(p.Reason) {
				p.Reason = "" // It was not lost.
			}
		}
		p.EndOfRIB = l.noteEnd(p)
		states = append(states, p)
	})
	if err != nil {
		return nil, fmt.Errorf("list peers: %w", err)
	}
	slices.SortFunc(states, func(a, b PeerState) int { return strings.Compare(a.Name, b.Name) })
	l.note(states)
	r.peersRead, r.peersCost = begin, time.Since(begin)
	return states, r.remember(states)
}

// sameLife tells whether a session has neither begun nor ended, nor told that it has
// sent all.
func sameLife(p, o PeerState) bool {
	return p.Address == o.Address && p.State == o.State && p.Since.Equal(o.Since) && p.EndOfRIB == o.EndOfRIB
}

// readPaths reads all paths, or those of some prefixes.
func (r *reader) readPaths(ctx context.Context, c Config, all bool, prefixes map[netip.Prefix]struct{}) (rib.Update, error) {
	if !all {
		entries, err := r.readSome(ctx, c, prefixes)
		return rib.Update{Entries: entries}, err
	}
	begin := time.Now()
	r.interned.begin()
	u := rib.Update{Whole: true}
	var err error
	for _, six := range []bool{false, true} {
		err = errors.Join(err, r.list(ctx, c, wire.Question{IPv6: six}, func(e rib.Entry) { u.Entries = append(u.Entries, e) }))
	}
	if r.interned.end(err); err != nil {
		return rib.Update{}, err
	}
	r.tableRead, r.tableCost = begin, time.Since(begin)
	return u, nil
}

func (r *reader) readSome(ctx context.Context, c Config, prefixes map[netip.Prefix]struct{}) ([]rib.Entry, error) {
	four, six := wire.Question{}, wire.Question{IPv6: true}
	for p := range prefixes {
		if p.Addr().Is4() {
			four.Prefixes = append(four.Prefixes, p)
		} else {
			six.Prefixes = append(six.Prefixes, p)
		}
	}
	found := make(map[netip.Prefix]*rib.Paths, len(prefixes))
	for _, q := range []wire.Question{four, six} {
		if len(q.Prefixes) == 0 {
			continue
		}
		if err := r.list(ctx, c, q, func(e rib.Entry) { found[e.Prefix] = e.Paths }); err != nil {
			return nil, err
		}
	}
	entries := make([]rib.Entry, 0, len(prefixes))
	for p := range prefixes {
		entries = append(entries, rib.Entry{Prefix: p, Paths: found[p]}) // nil: nobody tells of it any more
	}
	return entries, nil
}

// list reads what a question asks for.
func (r *reader) list(ctx context.Context, c Config, q wire.Question, each func(rib.Entry)) error {
	names := map[netip.Addr]string{{}: ""} // of our own there is none
	name := func(a netip.Addr) string {
		n, known := names[a]
		if !known {
			n, _, _, _ = c.Who(a)
			names[a] = n
		}
		return n
	}
	lists := map[string]*rib.Paths{} // of this answer
	var key []byte
	err := wire.Ask(ctx, r.life.conn, q, func(e wire.Entry) {
		rule := admits(c.Pools, e.Prefix)
		key = append(append(key[:0], rule...), e.List...)
		paths, known := lists[string(key)]
		if !known {
			if list := learned(e.Paths, name); len(list) > 0 {
				paths = r.interned.one(rib.Paths{Rule: rule, List: list})
			}
			lists[string(key)] = paths
		}
		if paths != nil {
			each(rib.Entry{Prefix: e.Prefix, Paths: paths})
		}
	})
	if err != nil {
		return fmt.Errorf("list paths: %w", err)
	}
	return nil
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

// lossesNow are why sessions went down last, by address.
func (s *Speaker) lossesNow() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.losses)
}
