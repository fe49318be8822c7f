package bgp

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"

	"netd/netd/retry"
)

const (
	// configureTimeout bounds a change of the process's configuration.
	configureTimeout = 10 * time.Second
	// resetTimeout bounds the end of a session, and resetPatience how long after it was
	// asked for it is still wanted.
	resetTimeout  = 3 * time.Second
	resetPatience = 10 * time.Second
)

// commander tells one life what to do.
type commander struct {
	*Speaker
	life     *life
	failures retry.Backoff
	tried    int       // the revision that was tried last
	again    time.Time // when it is tried again if that failed; zero if it did not
	limited  time.Time // when those were counted last that may have told too much
}

// commandAll says what is to be said until ctx ends, one thing after the other.
func (s *Speaker) commandAll(ctx context.Context, l *life) error {
	c := &commander{Speaker: s, life: l, failures: retry.Backoff{First: time.Second, Last: lastPause}, tried: -1}
	for {
		if err := c.round(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.command:
		case <-time.After(time.Until(c.due())):
		}
	}
}

// due is when there is something to say without being woken.
func (c *commander) due() time.Time {
	at := time.Now().Add(time.Hour)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	sooner(c.again)
	if c.life.suspects() {
		sooner(c.limited.Add(limitPause))
	}
	_, t := c.life.nextRetry()
	sooner(t)
	if len(c.life.returned) > 0 {
		sooner(time.Now().Add(returnedPause))
	}
	return at
}

// round says what is to be said now. Its error is the end of this life.
func (c *commander) round(ctx context.Context) error {
	l := c.life
	c.resetPeers(ctx)
	w, revision := c.wantedSince()
	if !l.config.SameProcess(w.Config) {
		return errAgain
	}
	if revision != c.tried || c.again.IsZero() || !time.Now().Before(c.again) {
		c.obey(ctx, w, revision)
	}
	if l.suspects() && time.Since(c.limited) >= limitPause {
		c.say(ctx, configureTimeout, func(ctx context.Context) error { return l.limit(ctx, w.Config) })
		c.limited = time.Now()
	}
	for a, at := l.nextRetry(); !at.IsZero() && !time.Now().Before(at); a, at = l.nextRetry() {
		c.say(ctx, configureTimeout, func(ctx context.Context) error { return l.retry(ctx, a) })
		l.sessions()
	}
	return nil
}

// say does something, and logs what is wrong with it.
func (c *commander) say(ctx context.Context, limit time.Duration, do func(context.Context) error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := do(limited); err != nil && ctx.Err() == nil {
		c.opts.Log.Error("the BGP speaker", "err", err)
	}
}

// obey makes the process do what is wanted.
func (c *commander) obey(ctx context.Context, w Wanted, revision int) {
	l := c.life
	same := reflect.DeepEqual(l.config, w.Config)
	news := revision != c.tried
	limited, cancel := context.WithTimeout(ctx, configureTimeout)
	defer cancel()
	err := errors.Join(l.configure(limited, w.Config), l.originate(limited, w.Origins))
	c.tried, c.again = revision, time.Time{}
	if ctx.Err() != nil {
		return
	}
	c.note(l, commanding, err)
	if err != nil {
		c.again = time.Now().Add(c.failures.Next(0))
	} else {
		c.failures.Reset()
	}
	switch {
	case err != nil || !same:
		// Other filters may apply to what is known, and GoBGP tells of that in no event.
		l.mu.Lock()
		l.changes.suspects = l.changes.suspect(w.Config)
		l.mu.Unlock()
		l.everything()
	case news:
		l.sessions() // They are told something else.
	}
}

// resetPeers ends the sessions whose end was asked for.
func (c *commander) resetPeers(ctx context.Context) {
	c.mu.Lock()
	requests := c.resets
	c.resets = nil
	c.mu.Unlock()
	for _, o := range requests {
		limited, cancel := context.WithTimeout(ctx, resetTimeout)
		err := c.life.reset(limited, o)
		if cancel(); err == nil || ctx.Err() != nil {
			continue
		}
		c.opts.Log.Error("the BGP speaker", "err", err)
		if time.Since(o.at) < resetPatience {
			time.AfterFunc(time.Second, func() { c.resetAgain(o) })
		}
	}
}

// resetAgain asks once more, unless that life is over.
func (c *commander) resetAgain(o resetRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Speaker.life == c.life {
		c.resets = append(c.resets, o)
		c.life.command.Send()
	}
}

// reset ends a session that is Established.
func (l *life) reset(ctx context.Context, o resetRequest) error {
	// The peer may have ended the session for the same reason at the same moment.
	established := false
	err := receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
		return l.client.ListPeer(ctx, &api.ListPeerRequest{Address: o.peer.String()})
	}, func(r *api.ListPeerResponse) {
		established = r.Peer.GetState().GetSessionState() == api.PeerState_SESSION_STATE_ESTABLISHED
	})
	if err != nil {
		return fmt.Errorf("look at the session with %s: %w", o.peer, err)
	}
	if !established {
		return nil
	}
	if _, err := l.client.ResetPeer(ctx, &api.ResetPeerRequest{Address: o.peer.String(), Communication: o.reason}); err != nil {
		return fmt.Errorf("reset the session with %s: %w", o.peer, err)
	}
	return nil
}
