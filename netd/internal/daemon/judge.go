package daemon

import (
	"time"

	"netd/netd/internal/bfd"
)

// A peer that restarts gracefully ends its BGP and, unless that has a life of its own,
// its BFD with it: FRR's bfdd says Down a few milliseconds after bgpd died, BIRD's falls
// silent. Its kernel forwards on, and BGP keeps its paths as stale (RFC 5882 section
// 4.3.2). A peer that is dead or cut off says nothing at all, and its BGP is still
// Established when BFD is lost. So a loss of BFD is half of a story: the judge takes
// both halves, in whatever order they become known, and rules on each loss.
//
//   - Independent BFD (the C bit) tells of forwarding alone: lost.
//   - The peer hears us no more, as it says: lost.
//   - BGP has ended by itself and its paths are stale: excused, also if that becomes
//     known only after the loss.
//   - The peer itself says Down, so its packets come through, and its BGP, which could
//     restart gracefully, is Established as far as is known: its end may be on its way.
//     This is waited for, for wordTime; nothing but this waits.
//   - All else, silence before all: lost.

// wordTime is how long BGP's word may be later than the peer's Down. It came 3 to 20 ms
// later on a busy machine. The wait costs no packet of a peer whose path is whole.
const wordTime = 250 * time.Millisecond

// ruling is what a loss of BFD is.
type ruling int

const (
	noLoss  ruling = iota
	lost           // the path is
	excused        // the peer restarts
	waiting        // not known yet
)

// session is what BGP knows of a peer.
type session struct {
	// Established as far as is known; Graceful if the peer can restart gracefully.
	Established, Graceful bool
	// Since is when it was last Established or ended, to a second.
	Since time.Time
	// Stale: paths of the peer are kept without a session. They are not after a reset.
	Stale bool
}

// judge has ruled on the losses, by peer. The zero value is ready. It has no clock.
type judge struct{ losses map[string]loss }

// loss is what BFD lost at a time, and how the judge ruled; a later one is another case.
type loss struct {
	failed time.Time
	ruling ruling
}

// rule looks at a peer's BFD and BGP as they are known now, and returns the ruling of
// before on the same loss, and now's. A ruling of waiting is to be asked for again
// when BGP has a word, and at until.
func (j *judge) rule(now time.Time, s bfd.Status, b session) (before, is ruling) {
	before = j.of(s)
	is = judged(before, now, s, b)
	switch {
	case is == noLoss:
		delete(j.losses, s.Peer)
	case j.losses == nil:
		j.losses = map[string]loss{}
		fallthrough
	default:
		j.losses[s.Peer] = loss{failed: s.Failed, ruling: is}
	}
	return before, is
}

func judged(before ruling, now time.Time, s bfd.Status, b session) ruling {
	end := until(s)
	restarts := !b.Established && b.Stale && !b.Since.After(end)
	deaf := s.RemoteDiag == bfd.DiagTimeExpired
	switch {
	case s.Failed.IsZero():
		return noLoss
	case s.Independent:
		return lost
	case before == excused || restarts:
		return excused
	case before == lost:
		return lost
	case s.Signalled() && !deaf && b.Established && b.Graceful && now.Before(end):
		return waiting
	}
	return lost
}

// until is when waiting for BGP's word on a loss ends.
func until(s bfd.Status) time.Time { return s.Failed.Add(wordTime) }

// knows tells whether there was a ruling on a peer, if on an old loss.
func (j *judge) knows(peer string) bool { _, ok := j.losses[peer]; return ok }

// of is the ruling on a peer's loss so far.
func (j *judge) of(s bfd.Status) ruling {
	if r, ok := j.losses[s.Peer]; ok && !s.Failed.IsZero() && r.failed.Equal(s.Failed) {
		return r.ruling
	}
	return noLoss
}

// excusedPeers are those that the last ruling has excused.
func (j *judge) excusedPeers() []string {
	var peers []string
	for peer, r := range j.losses {
		if r.ruling == excused {
			peers = append(peers, peer)
		}
	}
	return peers
}

// returnTime is how long after its return a peer's BGP and BFD may still find together.
const returnTime = 3 * time.Second

// begins tells whether an excused peer is still on its way back. Until it is back it has
// no BFD with us: FRR's bgpd makes its BFD session anew when BGP is Established, and
// takes the end of the old one, if that was Up, for a loss of ours; it then ends BGP
// once more, and what was stale is gone (RFC 4724 section 4.2).
func (j *judge) begins(now time.Time, peer string, b session) bool {
	return j.losses[peer].ruling == excused && (b.Stale && !b.Established || b.Established && now.Sub(b.Since) < returnTime)
}
