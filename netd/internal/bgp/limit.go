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

// limitAll ends the sessions of peers that have told too much, until ctx ends.
func (s *Speaker) limitAll(ctx context.Context, l *life) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.suspects:
		}
		s.mu.Lock()
		if err := l.limit(ctx, s.config); err != nil && ctx.Err() == nil {
			s.opts.Log.Error("a peer may have told more prefixes than it is allowed", "err", err)
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(limitPause):
		}
	}
}

// suspect wakes limitAll if a peer may have told too much.
func (l *life) suspect(c Config) {
	for a := range l.changes.announced {
		if _, _, session, ok := c.Who(a); ok && session.Exceeds(l.changes.mayHave(a)) {
			select {
			case l.suspects <- struct{}{}:
			default:
			}
			return
		}
	}
}

// limit counts those that may have told too much.
func (l *life) limit(ctx context.Context, c Config) error {
	var errs []error
	for a, announced := range l.changes.announced {
		_, _, session, ok := c.Who(a)
		if !ok || !session.Exceeds(l.changes.mayHave(a)) {
			continue
		}
		has, err := l.countPrefixes(ctx, a)
		if err == nil && session.Exceeds(has) {
			err = l.tooMany(ctx, a, session)
		}
		if l.changes.count(a, announced, min(has, uint64(session.MaxPrefixes))); err != nil {
			errs = append(errs, fmt.Errorf("peer %s: %w", a, err))
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
func (s *Speaker) limited(ctx context.Context, l *life, c Config, a netip.Addr) string {
	_, _, session, _ := c.Who(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses[a.String()] = gobgp.TooMany
	at, known := l.retries[a]
	if !known {
		at = time.Now().Add(session.RestartAfter)
		l.retries[a] = at
		if session.RestartAfter > 0 {
			time.AfterFunc(session.RestartAfter, func() { s.retry(ctx, l, a) })
		}
	}
	if session.RestartAfter == 0 {
		return gobgp.TooMany
	}
	return gobgp.UntilRetry(at)
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

// retry lets a session begin again that max-prefixes has ended.
func (l *life) retry(ctx context.Context, a netip.Addr) error {
	if _, ok := l.retries[a]; !ok {
		return nil
	}
	delete(l.retries, a)
	if _, err := l.client.UpdatePeer(ctx, &api.UpdatePeerRequest{Peer: l.peers[a]}); err != nil {
		return fmt.Errorf("take the limit of prefixes off peer %s: %w", a, err)
	}
	if _, err := l.client.EnablePeer(ctx, &api.EnablePeerRequest{Address: a.String()}); err != nil {
		return fmt.Errorf("enable peer %s: %w", a, err)
	}
	return nil
}
