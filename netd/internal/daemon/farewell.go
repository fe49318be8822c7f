package daemon

import (
	"context"
	"slices"
	"sync"

	"netd/netd/internal/bfd"
	"netd/netd/internal/bgp"
	"netd/netd/internal/intent"
)

// farewell has BGP speak before BFD goes. A peer whose BFD is taken down first takes that
// for a failure: it does not read why the session ends, and BIRD then waits for a minute
// before it takes another.
type farewell struct {
	watched  []bfd.Session  // as BFD was told last
	speaking sync.WaitGroup // the speaker, until it has left
}

// with adds the sessions whose BGP is still to end in order to those that are wanted.
func (f *farewell) with(want []bfd.Session, about map[string]intent.About, peers []bgp.PeerState) []bfd.Session {
	next := slices.Clone(want)
	for _, w := range f.watched {
		a, known := about[w.Peer]
		ends := !known || a.Shutdown
		up := slices.ContainsFunc(peers, func(p bgp.PeerState) bool { return p.Name == w.Peer && p.Established() })
		if ends && up && !slices.ContainsFunc(want, func(s bfd.Session) bool { return s.Peer == w.Peer }) {
			next = append(next, w)
		}
	}
	f.watched = next
	return next
}

// speak runs the speaker.
func (f *farewell) speak(run func(context.Context) error) func(context.Context) error {
	f.speaking.Add(1)
	return func(ctx context.Context) error {
		defer f.speaking.Done()
		return run(ctx)
	}
}
