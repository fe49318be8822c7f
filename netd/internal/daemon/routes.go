package daemon

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"netd/netd/internal/api"
	"netd/netd/internal/intent"
	"netd/netd/internal/link"
	"netd/netd/internal/rib"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

// readShare is how much of the time may go into reading the kernel's routes without a
// cause: one part of so many.
const readShare = 1000

// routes are what is planned, and what the kernel has of it.
type routes struct {
	log     *slog.Logger
	kernel  *rtnl.Conn
	table   *route.Table
	fib     *route.FIB
	count   func(route.Result)
	facts   route.Facts   // of the last look
	opts    route.Options // likewise
	told    bool          // something was learned since the last plan
	mended  []string      // what somebody else had changed, as the last program found it
	changed bool          // by the last round
	ownWork bool          // netd has changed links since the last program, with which routes go
	work    api.Work
	// unread: the next program reads the kernel's routes as a whole. read is when that was
	// done last, and readTook what it took.
	unread    bool
	conflicts conflicts
	read      time.Time
	readTook  time.Duration
}

// surroundings are what the plan looks at beside the intent.
type surroundings struct {
	uplinks []link.State
	tunnels []route.Tunnel
	pods    []route.LocalPod
	lost    []route.Lost
	// dead are the addresses of what is lost, as routes write them.
	dead []netip.Addr
	hold bool
}

// learn takes in what peers have told.
func (r *routes) learn(u rib.Update) {
	if u.Whole || len(u.Entries) > 0 {
		r.table.Learn(u)
		r.told = true
	}
}

// answer puts what was learned into the kernel, with what was seen in the last look, where
// that is enough: a way that is withdrawn is not for waiting until all links were looked at.
func (r *routes) answer() error {
	if !r.told || r.opts.Hold || r.facts.Hops == nil {
		return nil
	}
	for _, a := range r.table.NextHops(r.facts.Routers) {
		if _, seen := r.facts.Hops[a]; !seen {
			return nil
		}
	}
	_, err := r.program()
	return err
}

// apply looks where next hops are, plans, and puts the routes into the kernel.
func (r *routes) apply(want intent.Intent, s surroundings) (route.Result, error) {
	f := route.Facts{
		Pools: want.Routes.Pools, Blocks: want.Pods.Blocks, Announced: want.Routes.Rest, Pods: s.pods,
		Gateways: want.Routes.Gateways, Ranges: want.Routes.Ranges, Peers: want.Routes.Peers, Down: s.lost,
		Source: want.Source, Source6: want.Source6, Tunnels: s.tunnels, LeaveDelay: want.Routes.LeaveDelay,
	}
	if s.hold {
		f.LeaveDelay = 0 // What routes there were before this start is not known here.
	}
	for _, u := range s.uplinks {
		for _, a := range []netip.Addr{u.Router, u.Router6} {
			if a.IsValid() {
				f.Routers = append(f.Routers, route.Router{Uplink: u.Name, Address: a})
			}
		}
	}
	hops := r.table.NextHops(f.Routers)
	for _, s := range want.Routes.Statics {
		if s.Router.IsValid() {
			hops = append(hops, s.Router)
		}
	}
	var err error
	if f.Hops, err = r.lookUp(hops, want, s.uplinks, f.Tunnels); err != nil {
		return route.Result{}, err
	}
	f.Statics = statics(want.Routes.Statics, f.Hops, s.uplinks)
	r.facts, r.opts = f, route.Options{Hold: s.hold, Lost: s.dead}
	return r.program()
}

// statics are those of the routes whose link is there, and why there is no way by others.
func statics(all []route.Static, hops map[netip.Addr]route.Hop, uplinks []link.State) []route.Static {
	var now []route.Static
	for _, s := range all {
		there := slices.ContainsFunc(uplinks, func(u link.State) bool { return u.Name == s.Uplink && u.Index != 0 })
		hop := hops[s.Router]
		switch {
		case !there:
			s.Why = "there is no link " + s.Uplink
		case s.Router.IsValid() && (!hop.Connected || hop.Link != s.Uplink):
			s.Why = fmt.Sprintf("the router %s is not reached on %s", s.Router, s.Uplink)
		}
		now = append(now, s)
	}
	return now
}

// applyPods puts the routes of pods into the kernel, and leaves all else as it was seen
// last.
func (r *routes) applyPods(pods []route.LocalPod) (route.Result, error) {
	r.facts.Pods = pods
	return r.program()
}

func (r *routes) program() (route.Result, error) {
	planned := since(&r.work.Plan)
	r.facts.Now = time.Now()
	delta := r.table.Plan(r.facts)
	r.told = false
	planned()
	defer since(&r.work.Apply)()
	begin, stood := time.Now(), r.fib.Stands(delta)
	res, err := r.fib.Apply(delta, r.opts)
	if r.mended = nil; stood && !r.ownWork && res.Changed() {
		r.mended = []string{putBack(res, r.fib.First())}
	}
	r.ownWork = r.ownWork && err != nil
	if r.unread {
		r.unread, r.read, r.readTook = false, begin, time.Since(begin)
	}
	r.count(res)
	if res.Changed() {
		r.log.Info("routes", "added", res.Added, "replaced", res.Replaced, "moved", res.Moved, "deleted", res.Deleted, "held", res.Held, "refused", res.Refused)
	}
	return res, err
}

// conflicts are what the last look at all prefixes for blocks of two gateways has found.
type conflicts struct {
	of   *route.Decisions
	said []string
	at   time.Time
	took time.Duration
}

// conflicting says which blocks are announced by two gateways. It walks over all prefixes,
// which is to take no more than one part of readShare of the time.
func (r *routes) conflicting(o route.Origin) []string {
	c, now := &r.conflicts, r.table.Decisions()
	if pause := max(time.Second, readShare*c.took); c.of == now && time.Since(c.at) < 30*time.Second || time.Since(c.at) < pause {
		return c.said
	}
	begin := time.Now()
	*c = conflicts{of: now, said: now.Conflicts(o), at: begin, took: time.Since(begin)}
	return c.said
}

// putBack says what of routes was put back.
func putBack(res route.Result, first netip.Prefix) string {
	n, objects := res.Added+res.Replaced+res.Deleted, "1 next-hop object"
	if res.NextHops != 1 {
		objects = fmt.Sprintf("%d next-hop objects", res.NextHops)
	}
	switch {
	case n == 0:
		return objects
	case n == 1 && res.NextHops == 0:
		return fmt.Sprintf("route %s", first)
	case res.NextHops == 0:
		return fmt.Sprintf("%d routes, of them %s", n, first)
	case n == 1:
		return fmt.Sprintf("route %s and %s", first, objects)
	}
	return fmt.Sprintf("%d routes, of them %s, and %s", n, first, objects)
}

// due is when to plan again even if nothing happens; nil if that is not known.
func (r *routes) due() <-chan time.Time {
	at := r.table.Due()
	if at.IsZero() {
		return nil
	}
	return time.After(time.Until(at))
}

// repair has the kernel's routes read again, unless that would take too much of the time.
func (r *routes) repair() {
	if time.Since(r.read) > readShare*r.readTook {
		r.distrust()
	}
}

// distrust says that somebody else may have changed our routes.
func (r *routes) distrust() {
	r.unread = true
	r.fib.Distrust()
}

// linksChanged says whether netd itself has changed links: the kernel drops what leads by a
// link that is down for a moment, as for another name. The next program reads all, so that
// what is put back is not taken for somebody else's doing later.
func (r *routes) linksChanged(byUs bool) {
	if byUs {
		r.ownWork = true
		r.distrust()
	}
}

// since adds the seconds between its call and that of the function that it returns.
func since(sum *float64) func() {
	begin := time.Now()
	return func() { *sum += time.Since(begin).Seconds() }
}

// lookUp asks the kernel, not our own masks, how each next hop is reached: addresses
// with a /32 mask and odd DHCP servers broke that for others.
func (r *routes) lookUp(hops []netip.Addr, want intent.Intent, uplinks []link.State, tunnels []route.Tunnel) (map[netip.Addr]route.Hop, error) {
	links, err := r.kernel.Links()
	if err != nil {
		return nil, err
	}
	all := make(map[netip.Addr]route.Hop, len(hops))
	for _, a := range hops {
		hop := r.lookUpHop(a, links, uplinks)
		hop.LAN = slices.ContainsFunc(want.LANs, func(l link.Wanted) bool { return l.Name == hop.Link })
		hop.Tunnel = hop.Link != "" && slices.ContainsFunc(tunnels, func(t route.Tunnel) bool { return t.Link == hop.Link })
		if i := want.UplinkOf(a); i >= 0 && i < len(uplinks) && !uplinks[i].Carrier {
			hop.Dark = uplinks[i].Name
		}
		all[a] = hop
	}
	return all, nil
}

func (r *routes) lookUpHop(a netip.Addr, links []rtnl.Link, uplinks []link.State) route.Hop {
	named := func(l rtnl.Link) bool { return l.Name == a.Zone() }
	var via netip.Addr
	if a.Zone() == "" {
		way, err := r.kernel.Lookup(a)
		if err != nil {
			return route.Hop{Error: err.Error()}
		}
		via = way.Gateway
		named = func(l rtnl.Link) bool { return l.Index == way.Link }
	}
	i := slices.IndexFunc(links, named)
	if i < 0 {
		return route.Hop{Error: fmt.Sprintf("there is no link for %s", a)}
	}
	l := links[i]
	uplink := slices.ContainsFunc(uplinks, func(u link.State) bool { return u.Index == l.Index })
	return route.Hop{Link: l.Name, Via: via, Connected: uplink && !via.IsValid() && l.Carrier && l.Up}
}

// retained tells whether the kernel has routes of an earlier life.
func (r *routes) retained() (bool, error) {
	all, err := r.kernel.Routes(layout.Protocol)
	return len(all) > 0, err
}
