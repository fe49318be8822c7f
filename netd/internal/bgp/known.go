package bgp

import (
	"net/netip"
	"slices"
	"time"

	"netd/netd/internal/filter"
)

// Here is what both who commands a life and who reads it look at.

// sentNow is what the process originates.
func (l *life) sentNow() []Origin {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.sent)
}

func (l *life) setSent(sent []Origin) {
	l.mu.Lock()
	l.sent = sent
	l.mu.Unlock()
}

// ownNow is what nobody else may tell us.
func (l *life) ownNow() []filter.Range {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.own
}

func (l *life) setOwn(own []filter.Range) {
	l.mu.Lock()
	l.own = own
	l.mu.Unlock()
}

// noteEnd remembers a session's End-of-RIB, which GoBGP may forget.
func (l *life) noteEnd(p PeerState) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.Established() {
		delete(l.stand.ended, p.Address)
		return false
	}
	if p.EndOfRIB {
		l.stand.ended[p.Address] = p.Since
	}
	return l.stand.ended[p.Address].Equal(p.Since)
}

// hasAll tells whether a session is up and has had its End-of-RIB.
func (l *life) hasAll(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, up := l.stand.ended[a]
	return up
}

// note notes which sessions are up, and the shortest hold time of them.
func (l *life) note(sessions []PeerState) {
	shortest, up := time.Duration(0), map[netip.Addr]bool{}
	for _, p := range sessions {
		if p.Established() || p.Stale {
			up[p.Address] = true
		}
		if p.HoldTime > 0 && (shortest == 0 || p.HoldTime < shortest) {
			shortest = p.HoldTime
		}
	}
	l.mu.Lock()
	l.stand.hold, l.stand.up = shortest, up
	l.mu.Unlock()
}

func (l *life) isUp(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stand.up[a]
}

func (l *life) shortestHold() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stand.hold
}

// forget forgets a peer.
func (l *life) forget(a netip.Addr) {
	l.mu.Lock()
	delete(l.retries, a)
	delete(l.stand.ended, a)
	l.mu.Unlock()
}

// limited says when a session is tried again that max-prefixes has ended: never if that
// is zero.
func (l *life) limited(a netip.Addr, after time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, known := l.retries[a]
	if !known {
		if after > 0 {
			at = time.Now().Add(after)
		}
		l.retries[a] = at
		l.command.Send()
	}
	return at
}

// takeRetry tells whether the session waits to be tried again, and that it does so no more.
func (l *life) takeRetry(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.retries[a]
	delete(l.retries, a)
	return ok
}

// nextRetry is the session that is tried again first, and when; none if that is zero.
func (l *life) nextRetry() (first netip.Addr, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for a, t := range l.retries {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			first, at = a, t
		}
	}
	return first, at
}
