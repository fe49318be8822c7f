package daemon

import (
	"fmt"
	"slices"
	"time"

	"netd/netd/internal/link"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
)

// The kernel throws out the next hops of a link that loses its carrier, and the routes
// that have no other. What takes their place is in the kernel as soon as an event says
// so: from what is known of BGP already, and without a word to or from a peer.

// linksChanged answers a change of an uplink's carrier at once; all else is for the
// round that follows.
func (d *Daemon) linksChanged() {
	links, err := d.kernel.Links()
	if err != nil {
		return // The round that follows reports it.
	}
	states := slices.Clone(d.uplinks)
	for i, u := range states {
		at := slices.IndexFunc(links, func(l rtnl.Link) bool { return l.Index == u.Index })
		states[i].Carrier = at >= 0 && links[at].Carrier && links[at].Up
	}
	if !d.noteCarriers(states) {
		return
	}
	d.uplinks = states
	if _, err := d.program(); err != nil {
		d.opts.Log.Error("routes after a change of carrier", "err", err)
	}
	d.resetLost()
}

// noteCarriers logs how the uplinks differ from before, remembers when a carrier was
// lost, and tells whether one was lost or has returned.
func (d *Daemon) noteCarriers(states []link.State) bool {
	changed := false
	for _, s := range states {
		at := slices.IndexFunc(d.uplinks, func(u link.State) bool { return u.Name == s.Name })
		if at >= 0 && d.uplinks[at].Carrier == s.Carrier && d.uplinks[at].Problem == s.Problem {
			continue
		}
		changed = changed || at < 0 || d.uplinks[at].Carrier != s.Carrier
		d.opts.Log.Info("uplink", "link", s.Name, "carrier", s.Carrier, "addresses", s.Addresses, "problem", s.Problem)
		if _, dark := d.dark[s.Name]; s.Carrier {
			delete(d.dark, s.Name)
		} else if !dark {
			d.dark[s.Name] = time.Now()
		}
	}
	return changed
}

// lost are the peers that can not be reached: BFD says so, or a ToR's uplink has no
// carrier. GoBGP would keep their paths until their hold time, and then for as long as
// a restart may take.
func (d *Daemon) lost() []route.Lost {
	var all []route.Lost
	for _, s := range d.lostPeers() {
		all = append(all, route.Lost{Peer: s.Peer, Address: s.Remote, Since: s.Failed, Why: fmt.Sprintf("BFD: %s is down", s.Peer)})
	}
	for _, p := range d.peers() {
		u := d.uplinkOf(p.Address)
		if u == nil || u.Carrier || slices.ContainsFunc(all, func(l route.Lost) bool { return l.Peer == p.Name }) {
			continue
		}
		all = append(all, route.Lost{
			Peer: p.Name, Address: p.Address, Since: d.dark[u.Name], Why: fmt.Sprintf("%s is on %s, which has no carrier", p.Name, u.Name),
		})
	}
	return all
}
