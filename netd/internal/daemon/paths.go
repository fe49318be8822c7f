package daemon

import (
	"slices"

	"netd/netd/internal/bfd"
)

// listenBFD takes what BFD has found, and logs what that changes. It tells whether other
// peers are lost than before.
func (s *sessions) listenBFD() bool {
	before := s.lostPaths()
	now, err := s.bfd.Statuses()
	for _, p := range now {
		i := slices.IndexFunc(s.paths, func(b bfd.Status) bool { return b.Peer == p.Peer })
		lost := i >= 0 && !s.paths[i].Failed.IsZero()
		up := i >= 0 && s.paths[i].State == bfd.Up
		switch {
		case !p.Failed.IsZero() && (!lost || !s.paths[i].Failed.Equal(p.Failed)):
			if s.excuse(p) {
				break
			}
			s.log.Warn("BFD: peer lost", "peer", p.Peer, "address", p.Remote, "reason", p.Reason)
		case p.State == bfd.Up && !up:
			s.log.Info("BFD: peer is up", "peer", p.Peer, "address", p.Remote, "multihop", p.Multihop)
		case up && p.State == bfd.AdminDown: // Our end does not run, which says nothing of the path.
			s.log.Warn("BFD: peer is not watched", "peer", p.Peer, "address", p.Remote, "reason", p.Reason)
		case up && p.State != bfd.Up && p.Failed.IsZero():
			s.log.Info("BFD: peer has ended its session", "peer", p.Peer, "address", p.Remote)
		}
	}
	s.paths, s.silent = now, err
	same := func(a, b bfd.Status) bool { return a.Peer == b.Peer && a.Failed.Equal(b.Failed) }
	return !slices.EqualFunc(before, s.lostPaths(), same)
}

// excuse tells whether a loss is not one of the path. A peer that restarts gracefully
// ends its BGP first, and its BFD with it unless that is independent; its kernel
// forwards on, and its paths are kept for its restart time (RFC 5882 section 4.3.2). One
// that dies or is cut off says nothing: its BGP is Established when BFD is lost.
func (s *sessions) excuse(p bfd.Status) bool {
	if p.Independent || !s.restarts(p.Peer) {
		return false
	}
	s.log.Info("BFD: peer restarts; what it told is kept", "peer", p.Peer, "address", p.Remote)
	s.excused[p.Peer] = p.Failed
	return true
}

// lostPaths are of the peers that BFD has lost, and that are not excused.
func (s *sessions) lostPaths() []bfd.Status {
	return slices.DeleteFunc(slices.Clone(s.paths), func(p bfd.Status) bool {
		return p.Failed.IsZero() || s.excused[p.Peer].Equal(p.Failed)
	})
}
