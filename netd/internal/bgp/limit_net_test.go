//go:build net

package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"netd/firmware/bench/feed"
	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/ownnet"
)

// A peer may tell as often as it likes what it is allowed to, and not one prefix
// more: then the session ends with the reason, and begins again in its time.
func TestPrefixesAreCounted(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		for _, line := range []string{"ip link set lo up", "ip addr add 10.0.1.2/32 dev lo", "ip addr add 10.0.1.1/32 dev lo"} {
			ownnet.Command(t, line)
		}
		s := &site{log: new(logbook)}
		p := Peer{Name: "tor1", Address: ip("10.0.1.1"), Local: ip("10.0.1.2"), Session: times(Session{AS: 65001, Passive: true, RestartAfter: time.Second})}
		s.speak(t, Config{AS: 65101, RouterID: ip("10.0.1.2"), Port: 179, Pools: []netip.Prefix{pfx("10.128.0.0/9")}, Peers: []Peer{p}})
		pool := feed.Prefixes(pfx("10.128.0.0/9"), 26, 200)
		for life := range 2 {
			peer := dial(t, p)
			for range 3 {
				if err := peer.Send(feed.Announce(pool[:100], 1, p.Address, p.AS)); err != nil {
					t.Fatal(err)
				}
			}
			s.counts(t, func(state PeerState, paths int) bool {
				return state.Established() && state.Received == 100 && paths == 100
			})
			if err := peer.Send(feed.Announce(pool[100:101], 1, p.Address, p.AS)); err != nil {
				t.Fatal(err)
			}
			ownnet.Within(t, 10*time.Second, "the end of the session", func() error {
				if err := peer.Err(); err == nil || !strings.Contains(err.Error(), "NOTIFICATION 06 01") { // Cease, Maximum Number of Prefixes Reached
					return fmt.Errorf("life %d: %w", life, err)
				}
				return nil
			})
			s.counts(t, func(state PeerState, paths int) bool {
				return !state.Established() && strings.HasPrefix(state.Reason, gobgp.TooMany+"; tried again at ") && paths == 0
			})
		}
		// Who has withdrawn enough may tell again.
		peer := dial(t, p)
		for i := range 10 {
			part := pool[i*20 : i*20+20]
			if err := errors.Join(peer.Send(feed.Announce(part, 1, p.Address, p.AS)), peer.Send(feed.Withdraw(part, 5))); err != nil {
				t.Fatal(err)
			}
		}
		if err := peer.Send(feed.Announce(pool[:1], 1, p.Address, p.AS)); err != nil {
			t.Fatal(err)
		}
		s.counts(t, func(state PeerState, paths int) bool {
			return state.Established() && state.Received == 1 && paths == 1
		})
	})
}

// dial opens a session as the peer, which the speaker may not be ready for yet.
func dial(t *testing.T, p Peer) *feed.Session {
	t.Helper()
	var s *feed.Session
	ownnet.Within(t, 30*time.Second, "a session", func() error {
		var err error
		s, err = feed.Dial(t.Context(), p.Address, p.Local, p.AS)
		return err
	})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// counts waits for a state of the only peer and a number of paths.
func (s *site) counts(t *testing.T, want func(state PeerState, paths int) bool) {
	t.Helper()
	ownnet.Within(t, 20*time.Second, "the speaker's view", func() error {
		snap, err := s.snapshot(s.Speaker)
		if err == nil && (len(snap.Peers) != 1 || !want(snap.Peers[0], len(snap.Paths))) {
			err = fmt.Errorf("%d paths, peers %+v", len(snap.Paths), snap.Peers)
		}
		return err
	})
}
