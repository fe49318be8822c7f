package daemon

import (
	"slices"
	"time"

	"netd/netd/internal/bfd"
	"netd/netd/internal/bgp"
)

// listenBFD takes in what BFD has found and logs what changed; which of it is a loss,
// the judge says. It tells whether other peers are lost than before.
func (s *sessions) listenBFD() bool {
	before := s.lostPaths()
	now, err := s.bfd.Statuses()
	for _, p := range now {
		i := slices.IndexFunc(s.paths, func(b bfd.Status) bool { return b.Peer == p.Peer })
		up := i >= 0 && s.paths[i].State == bfd.Up
		switch {
		case p.State == bfd.Up && !up:
			s.log.Info("BFD: peer is up", "peer", p.Peer, "address", p.Remote, "multihop", p.Multihop)
		case up && p.State == bfd.AdminDown: // Our end does not run, which says nothing of the path.
			s.log.Warn("BFD: peer is not watched", "peer", p.Peer, "address", p.Remote, "reason", p.Reason)
		case up && p.State != bfd.Up && p.Failed.IsZero():
			s.log.Info("BFD: peer has ended its session", "peer", p.Peer, "address", p.Remote)
		}
	}
	s.paths, s.trouble.bfd = now, err
	s.judgePaths()
	same := func(a, b bfd.Status) bool { return a.Peer == b.Peer && a.Failed.Equal(b.Failed) }
	return !slices.EqualFunc(before, s.lostPaths(), same)
}

// judgePaths has the judge rule on what BFD has lost, and looks again when it waits no
// more.
func (s *sessions) judgePaths() {
	for _, p := range s.paths {
		if p.Failed.IsZero() && !s.judge.knows(p.Peer) {
			continue
		}
		switch before, is := s.judge.rule(time.Now(), p, s.with(p.Peer)); {
		case before == is:
		case is == lost:
			s.log.Warn("BFD: peer lost", "peer", p.Peer, "address", p.Remote, "reason", p.Reason)
		case is == excused:
			s.log.Info("BFD: peer restarts; what it told is kept", "peer", p.Peer, "address", p.Remote)
		case is == waiting:
			time.AfterFunc(time.Until(until(p)), s.wake.Send)
		}
	}
}

// with is what BGP knew last of a peer.
func (s *sessions) with(peer string) session {
	i := slices.IndexFunc(s.peers, func(p bgp.PeerState) bool { return p.Name == peer })
	if i < 0 {
		return session{}
	}
	p := s.peers[i]
	return session{Established: p.Established(), Graceful: p.Graceful, Since: p.Since, Stale: p.Stale}
}

// returning are the peers whose BFD is for later.
func (s *sessions) returning() map[string]bool {
	all := map[string]bool{}
	for _, peer := range s.judge.excusedPeers() {
		if s.judge.begins(time.Now(), peer, s.with(peer)) {
			all[peer] = true
			time.AfterFunc(returnTime, s.wake.Send)
		}
	}
	return all
}

// eitherTime is how long one kind of BFD session is tried before the other.
const eitherTime = 4 * time.Second

// either are the peers whose BFD may be of either kind, and when they are looked at next.
type either struct {
	peers []string
	due   time.Time
}

// mute are those of them that were not heard for long. What is lost is not mute: a session
// that was Up is of the right kind.
func (s *sessions) mute() map[string]bool {
	all := map[string]bool{}
	now := time.Now()
	for _, p := range s.paths {
		if p.State != bfd.Down || p.Detect != 0 || !p.Failed.IsZero() || !slices.Contains(s.either.peers, p.Peer) {
			continue
		}
		all[p.Peer] = now.Sub(p.Since) >= eitherTime
		if now.After(s.either.due) {
			s.either.due = now.Add(eitherTime)
			time.AfterFunc(eitherTime, s.wake.Send)
		}
	}
	return all
}

// lostPaths are those that the judge has ruled lost.
func (s *sessions) lostPaths() []bfd.Status {
	return slices.DeleteFunc(slices.Clone(s.paths), func(p bfd.Status) bool { return s.judge.of(p) != lost })
}
