package bgp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"netd/netd/internal/bgp/gobgp"
)

// GoBGP holds a peer to its limit of prefixes by walking over all that the peer has
// told, at each UPDATE: 10,000 prefixes in as many UPDATEs took half a minute so. It
// is therefore not given the limit, but for the moment in which a peer exceeds it;
// then GoBGP counts once and ends the session. Who may exceed it is known by what the
// peer has announced since it was counted last.

// limitPause is the shortest time from one count to the next.
const limitPause = 50 * time.Millisecond

// suspect is a peer that may have told too much, by what it had announced.
type suspect struct {
	peer      netip.Addr
	announced uint64
	session   Session
}

// takeSuspects returns those that are to be counted.
func (l *life) takeSuspects(c Config) []suspect {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes.suspects = false
	var list []suspect
	for a, announced := range l.changes.announced {
		if _, _, session, ok := c.Who(a); ok && session.Exceeds(l.changes.mayHave(a)) {
			list = append(list, suspect{a, announced, session})
		}
	}
	return list
}

func (l *life) suspects() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changes.suspects
}

// limit counts those that may have told too much, and ends their sessions if they have.
func (l *life) limit(ctx context.Context, c Config) error {
	var errs []error
	for _, s := range l.takeSuspects(c) {
		has, err := l.countPrefixes(ctx, s.peer)
		if err == nil && s.session.Exceeds(has) {
			err = l.tooMany(ctx, s.peer, s.session)
		}
		l.mu.Lock()
		l.changes.count(s.peer, s.announced, min(has, uint64(s.session.MaxPrefixes)))
		l.mu.Unlock()
		if err != nil {
			errs = append(errs, fmt.Errorf("a peer may have told more prefixes than it is allowed: peer %s: %w", s.peer, err))
		}
	}
	return errors.Join(errs...)
}

// countPrefixes is how many a peer has told, of the family that it has told more of.
func (l *life) countPrefixes(ctx context.Context, a netip.Addr) (most uint64, err error) {
	err = receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
		return l.client.ListPeer(ctx, &api.ListPeerRequest{Address: a.String()})
	}, func(r *api.ListPeerResponse) {
		for _, af := range r.GetPeer().GetAfiSafis() {
			most = max(most, af.GetState().GetReceived())
		}
	})
	return most, err
}

// gobgp.TooMany ends a session. To one of a range GoBGP can not give a limit of its own.
func (l *life) tooMany(ctx context.Context, a netip.Addr, s Session) error {
	want, ok := l.peers[a]
	if !ok {
		_, err := l.client.ResetPeer(ctx, &api.ResetPeerRequest{Address: a.String(), Communication: gobgp.TooMany})
		return err
	}
	want = proto.CloneOf(want)
	for _, af := range want.AfiSafis {
		af.PrefixLimits = &api.PrefixLimit{Family: af.Config.Family, MaxPrefixes: s.MaxPrefixes}
	}
	_, err := l.client.UpdatePeer(ctx, &api.UpdatePeerRequest{Peer: want})
	return err
}

// limited says what becomes of a session that max-prefixes has ended, and sees to
// it that it is tried again.
func (s *Speaker) limited(l *life, c Config, a netip.Addr) string {
	_, _, session, _ := c.Who(a)
	s.mu.Lock()
	s.losses[a.String()] = gobgp.TooMany
	s.mu.Unlock()
	if at := l.limited(a, session.RestartAfter); !at.IsZero() {
		return gobgp.UntilRetry(at)
	}
	return gobgp.TooMany
}

// retry lets a session begin again that max-prefixes has ended.
func (l *life) retry(ctx context.Context, a netip.Addr) error {
	if !l.takeRetry(a) {
		return nil
	}
	if _, err := l.client.UpdatePeer(ctx, &api.UpdatePeerRequest{Peer: l.peers[a]}); err != nil {
		return fmt.Errorf("take the limit of prefixes off peer %s: %w", a, err)
	}
	if _, err := l.client.EnablePeer(ctx, &api.EnablePeerRequest{Address: a.String()}); err != nil {
		return fmt.Errorf("enable peer %s: %w", a, err)
	}
	return nil
}
