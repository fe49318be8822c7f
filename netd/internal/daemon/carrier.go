package daemon

import (
	"slices"
	"time"

	"netd/netd/internal/link"
	"netd/netd/internal/rtnl"
)

// The kernel throws out the next hops of a link that loses its carrier, and the routes
// that have no other. What takes their place is in the kernel as soon as an event says
// so: from what is known of BGP already, and without a word to or from a peer.

// carriers looks at the uplinks' carriers alone, and tells whether one was lost or has
// returned. A kernel that can not be read is the next round's to report.
func (u *uplinks) carriers() bool {
	links, err := u.kernel.Links()
	if err != nil {
		return false
	}
	states := slices.Clone(u.states)
	for i, s := range states {
		at := slices.IndexFunc(links, func(l rtnl.Link) bool { return l.Index == s.Index })
		states[i].Carrier = at >= 0 && links[at].Carrier && links[at].Up
	}
	changed := u.noteCarriers(states)
	u.states = states
	return changed
}

// noteCarriers logs how the uplinks differ from before, remembers when a carrier was
// lost, and tells whether one was lost or has returned.
func (u *uplinks) noteCarriers(states []link.State) bool {
	changed := false
	for _, s := range changes(u.states, states) {
		at := slices.IndexFunc(u.states, func(b link.State) bool { return b.Name == s.Name })
		changed = changed || at < 0 || u.states[at].Carrier != s.Carrier
		u.log.Info("uplink", "link", s.Name, "carrier", s.Carrier, "addresses", s.Addresses, "problem", s.Problem)
		if _, dark := u.dark[s.Name]; s.Carrier {
			if delete(u.dark, s.Name); at >= 0 && !u.states[at].Carrier {
				u.returned(s.Name)
			}
		} else if !dark {
			u.dark[s.Name] = time.Now()
		}
	}
	return changed
}

// changes are the states that a person is to hear of: of new links, and with another
// carrier or problem than before.
func changes(before, now []link.State) []link.State {
	return slices.DeleteFunc(slices.Clone(now), func(s link.State) bool {
		return slices.ContainsFunc(before, func(b link.State) bool {
			return b.Name == s.Name && b.Carrier == s.Carrier && b.Problem == s.Problem
		})
	})
}
