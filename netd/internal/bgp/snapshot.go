package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"

	"netd/netd/internal/bgp/gobgp"
)

const (
	// peersPause is how old the sessions' counts may be: GoBGP counts by walking over
	// all that a peer has told, with everything else at a stand.
	peersPause = time.Second
	// The whole table is read again from time to time, whatever the hints said.
	tablePause = 30 * time.Second
	// Either takes no more than a share-th of the time.
	share = 100
)

// Snapshot is all that the speaker knows. It reads again what the speaker says has
// changed, and everything if that is not known. What could not be read to its end is
// an error, never less.
func (s *Speaker) Snapshot(ctx context.Context) (Snapshot, error) {
	s.mu.Lock()
	l, config, losses := s.life, s.config, maps.Clone(s.losses)
	if l == nil {
		s.mu.Unlock()
		return Snapshot{}, ErrAway
	}
	all, prefixes := l.changes.take()
	all = all || time.Since(l.tableRead) > max(tablePause, share*l.tableCost)
	pause := max(peersPause, share*l.peersCost)
	counted := !all && time.Since(l.peersRead) < pause
	sent, read := slices.Clone(l.sent), l.peersRead
	if !counted {
		l.peersRead = time.Now()
	}
	s.mu.Unlock()
	snap := Snapshot{Started: l.started, configured: len(config.Peers)}
	err := error(nil)
	if counted {
		if len(prefixes) > 0 {
			time.AfterFunc(time.Until(read.Add(pause)), s.wake)
		}
	} else {
		before := l.states
		if err = s.readPeers(ctx, l, config, sent, losses); !slices.EqualFunc(before, l.states, sameLife) {
			// The paths must be at least as new as the word that these are all: hints
			// may still be on their way.
			all = true
		}
	}
	if err == nil {
		err = l.read(ctx, config, all, prefixes)
	}
	if err != nil {
		s.mu.Lock()
		l.changes.all = true
		s.mu.Unlock()
		return Snapshot{}, err
	}
	snap.Peers, snap.Paths = l.states, make([]Path, 0, len(l.table))
	for _, paths := range l.table {
		snap.Paths = append(snap.Paths, paths...)
	}
	return snap, nil
}

// readPeers reads the states of all sessions.
func (s *Speaker) readPeers(ctx context.Context, l *life, config Config, sent []Origin, losses map[string]string) error {
	begin := time.Now()
	var states []PeerState
	err := receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
		return l.client.ListPeer(ctx, &api.ListPeerRequest{})
	}, func(r *api.ListPeerResponse) {
		p, ok := config.PeerState(r.Peer, sent)
		if !ok {
			return
		}
		// When both ends have just begun, GoBGP does not wait for the peer's End-of-RIB,
		// but says that it had it.
		p.EndOfRIB = p.EndOfRIB && !(l.kept && gobgp.Begins(r.Peer))
		if gobgp.Limited(r.Peer.GetState()) {
			p.Reason = s.limited(ctx, l, config, p.Address)
		} else if p.Reason == "" {
			p.Reason = losses[p.Address.String()]
		}
		p.EndOfRIB = s.noteEnd(l, p)
		states = append(states, p)
	})
	if err != nil {
		return fmt.Errorf("list peers: %w", err)
	}
	slices.SortFunc(states, func(a, b PeerState) int { return strings.Compare(a.Name, b.Name) })
	l.states, l.peersCost = states, time.Since(begin)
	return nil
}

// sameLife tells whether a session has neither begun nor ended, nor told that it has
// sent all.
func sameLife(p, o PeerState) bool {
	return p.Address == o.Address && p.State == o.State && p.Since.Equal(o.Since) && p.EndOfRIB == o.EndOfRIB
}

// noteEnd remembers a session's End-of-RIB, which GoBGP may forget.
func (s *Speaker) noteEnd(l *life, p PeerState) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.Established() {
		delete(l.ended, p.Address)
		return false
	}
	if p.EndOfRIB {
		l.ended[p.Address] = p.Since
	}
	return l.ended[p.Address].Equal(p.Since)
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
