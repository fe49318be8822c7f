package bgp

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"netd/netd/internal/rib"
)

// News is what is known of the speaker, and what has changed since the last Take.
type News struct {
	// Away: there is no process that answers right now, or it has not been read yet;
	// Peers and Paths say nothing then, and what they said before still counts.
	Away bool
	// Started is when this life of the speaker began. Another one is another life, whose
	// first Paths are Whole.
	Started time.Time
	// Peers by name: those of the configuration, and those of ranges that are there; nil
	// if nothing about them has changed. They are never newer than Paths.
	Peers []PeerState
	// Settled: every session has sent all that it has. Nothing is settled about peers that
	// the speaker does not know yet; those of ranges are not waited for.
	Settled bool
	Paths   rib.Update
	// Claims are others' paths to what is ours; nil if they were not read anew.
	Claims []Claim
	// Problem is what a person must know; nil if there is nothing.
	Problem error
}

// settled tells whether all of so many peers, and those of ranges that are there, have
// sent all that they have.
func settled(peers []PeerState, configured int) bool {
	known := 0
	for _, p := range peers {
		if p.Range == "" {
			known++
		}
		if !p.Shutdown && (!p.Established() || !p.EndOfRIB) {
			return false
		}
	}
	return known == configured
}

// The tasks whose errors are a Problem, in the order in which it names them.
const (
	silence = iota
	commanding
	reading
)

// gathered is what the next Take returns. Its owner guards it.
type gathered struct {
	news     News
	index    map[netip.Prefix]int // of news.Paths.Entries; nil while it is not needed
	problems map[int]error        // by task
}

// reset forgets a life that has ended.
func (g *gathered) reset() {
	g.news = News{Away: true, Started: g.news.Started}
	g.index = nil
	delete(g.problems, commanding)
	delete(g.problems, reading)
}

// add takes in what was read. There is never more of it than there are prefixes.
func (g *gathered) add(started time.Time, peers []PeerState, settled bool, claims []Claim, u rib.Update) {
	g.news.Away, g.news.Started = false, started
	if claims != nil {
		g.news.Claims = claims
	}
	if peers != nil {
		g.news.Peers, g.news.Settled = peers, settled
	}
	p := &g.news.Paths
	switch {
	case u.Whole:
		*p, g.index = u, nil
		return
	case len(p.Entries) == 0:
		p.Entries = u.Entries
		return
	case g.index == nil && len(u.Entries) > 0:
		g.index = make(map[netip.Prefix]int, len(p.Entries))
		for i, e := range p.Entries {
			g.index[e.Prefix] = i
		}
	}
	for _, e := range u.Entries {
		i, known := g.index[e.Prefix]
		if !known {
			g.index[e.Prefix] = len(p.Entries)
			p.Entries = append(p.Entries, e)
			continue
		}
		p.Entries[i] = e
	}
}

// take returns what has gathered, and begins anew.
func (g *gathered) take() News {
	n := g.news
	if n.Paths.Whole {
		n.Paths.Entries = slices.DeleteFunc(n.Paths.Entries, func(e rib.Entry) bool { return e.Paths == nil })
	}
	var problems []error
	for _, task := range slices.Sorted(maps.Keys(g.problems)) {
		problems = append(problems, g.problems[task])
	}
	n.Problem = errors.Join(problems...)
	g.news.Peers, g.news.Claims, g.news.Paths, g.index = nil, nil, rib.Update{}, nil
	return n
}

// note keeps or clears a task's problem, and tells whether that is another one.
func (g *gathered) note(task int, err error) bool {
	was := g.problems[task]
	if err == nil {
		delete(g.problems, task)
		return was != nil
	}
	g.problems[task] = err
	return was == nil || was.Error() != err.Error()
}
