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
)

// Snapshot reads all that the speaker knows. A snapshot that could not be read
// to its end is an error, never a shorter one.
func (s *Speaker) Snapshot(ctx context.Context) (Snapshot, error) {
	s.mu.Lock()
	l, config, losses := s.life, s.config, maps.Clone(s.losses)
	if l == nil {
		s.mu.Unlock()
		return Snapshot{}, ErrAway
	}
	client, sent := l.client, slices.Clone(l.sent)
	s.mu.Unlock()
	snap := Snapshot{Started: l.started, configured: len(config.Peers)}
	sources := map[string]source{}
	err := receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
		return client.ListPeer(ctx, &api.ListPeerRequest{})
	}, func(r *api.ListPeerResponse) {
		p, ok := config.peerState(r.Peer, sent)
		if !ok {
			return
		}
		// When both ends have just begun, GoBGP does not wait for the peer's End-of-RIB,
		// but says that it had it.
		p.EndOfRIB = p.EndOfRIB && !(l.kept && begins(r.Peer))
		if limited(r.Peer.GetState()) {
			p.Reason = s.limited(ctx, l, config, p.Address)
		} else if p.Reason == "" {
			p.Reason = losses[p.Address.String()]
		}
		p.EndOfRIB = s.noteEnd(l, p)
		sources[p.Address.String()] = source{p.Name, p.Address}
		snap.Peers = append(snap.Peers, p)
	})
	if err != nil {
		return Snapshot{}, fmt.Errorf("list peers: %w", err)
	}
	slices.SortFunc(snap.Peers, func(a, b PeerState) int { return strings.Compare(a.Name, b.Name) })
	for _, family := range []*api.Family{ipv4(), ipv6()} {
		err = receive(func() (grpc.ServerStreamingClient[api.ListPathResponse], error) {
			return client.ListPath(ctx, &api.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: family})
		}, func(r *api.ListPathResponse) {
			for _, p := range learned(r.Destination, sources) {
				p.Rule = config.admits(p.Prefix)
				snap.Paths = append(snap.Paths, p)
			}
		})
		if err != nil {
			return Snapshot{}, fmt.Errorf("list paths: %w", err)
		}
	}
	return snap, nil
}

// limited says what becomes of a session that max-prefixes has ended, and sees to
// it that it is tried again.
func (s *Speaker) limited(ctx context.Context, l *life, c Config, a netip.Addr) string {
	_, _, session, _ := c.who(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses[a.String()] = tooMany
	at, known := l.retries[a]
	if !known {
		at = time.Now().Add(session.RestartAfter)
		l.retries[a] = at
		if session.RestartAfter > 0 {
			time.AfterFunc(session.RestartAfter, func() { s.retry(ctx, l, a) })
		}
	}
	if session.RestartAfter == 0 {
		return tooMany
	}
	return untilRetry(at)
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

// retry tries a limited session again, if it still waits for that.
func (s *Speaker) retry(ctx context.Context, l *life, a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != l {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), configureTimeout)
	defer cancel()
	if err := l.retry(ctx, a); err != nil {
		s.opts.Log.Error("a session stays Idle", "peer", a, "err", err)
	}
	s.wake()
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
