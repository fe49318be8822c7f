package route

import (
	"net/netip"
	"slices"

	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

// round is one Apply.
type round struct {
	*FIB
	o       Options
	delta   Delta
	whole   bool // all is compared
	batches []*batch
	byKey   map[batchKey]*batch
	last    *batch
	fates   []*fate // in order of their first route
	byFate  map[string]*fate
	// touched counts by next-hop object the routes that this round writes or removes, or
	// leaves after having looked at them.
	touched map[uint32]int
	pinned  map[uint32]bool
	res     Result
	errs    []error
	refused bool // a next hop was
	unsure  bool // a write was refused: who refers to what is not known
	silent  bool // the kernel does not answer
}

func (r *round) run() {
	gone := r.spare(r.gather())
	r.makeHops()
	r.pin()
	r.write()
	r.sweep(gone)
	r.note()
}

// todo tells whether a batch's routes are to be made so now.
func (b *batch) todo() bool { return b.err == nil && !b.held }

// fateOf is the fate of an outcome's prefixes.
func (r *round) fateOf(o *Outcome, hops []hop, v4 bool) *fate {
	key := string(o.appendFate(nil, v4))
	f := r.byFate[key]
	if f == nil {
		f = &fate{hops: hops, key: key}
		r.byFate[key] = f
		r.fates = append(r.fates, f)
	}
	return f
}

// appendFate appends what is the same for prefixes that move together. It is made for
// each outcome, so without fmt.
func (d *Outcome) appendFate(b []byte, v4 bool) []byte {
	// IPv6 routes can not follow a group whose members become IPv4's.
	b = append(append(b, byte(number(v4))), d.Route.Kind...)
	b = d.Route.appendTo(b)
	for _, w := range d.Route.Equal {
		b = w.appendTo(b)
	}
	usable := make([]*Candidate, 0, 4)
	for i := range d.Candidates {
		if d.Candidates[i].Kind != "" {
			usable = append(usable, &d.Candidates[i])
		}
	}
	slices.SortStableFunc(usable, func(a, b *Candidate) int { return a.class - b.class }) // BGP's rank decides inside a class.
	for _, c := range usable {
		b = c.way.appendTo(append(append(b, '|'), c.Kind...))
	}
	return b
}

func (w Way) appendTo(b []byte) []byte {
	b = append(append(b, ' '), w.Link...)
	for _, a := range []netip.Addr{w.NextHop, w.Key, w.Local} {
		b = a.AppendTo(append(b, ' '))
	}
	return b
}

// spare finds the routes that are held, and returns those to remove.
func (r *round) spare(gone []netip.Prefix) (remove []netip.Prefix) {
	for _, f := range r.fates {
		if !r.objects.resolve(f) {
			f.group = nil // Nothing in the kernel leads there yet.
		}
	}
	for _, b := range r.batches {
		r.touched[b.was.NextHop] += b.n
		if b.err == nil && b.slot != 0 && !r.same(b) && r.holds(b.was) {
			r.res.Held += b.n
			b.held = true
		}
	}
	holds := map[uint32]bool{}
	for _, p := range gone {
		slot := r.mirror.at(p)
		route := r.mirror.slots[slot].route
		if _, known := holds[slot]; !known {
			holds[slot] = r.holds(route)
		}
		if holds[slot] {
			r.res.Held++
		} else {
			remove = append(remove, p)
			r.touched[route.NextHop]++
		}
	}
	for _, s := range r.mirror.strays {
		if r.holds(s) {
			r.res.Held++
			r.pinned[s.NextHop] = true
		}
	}
	return remove
}

// pin keeps the groups of routes that stay as they are: held ones, those whose new way
// the kernel refuses, and those that this round does not look at.
func (r *round) pin() {
	for _, b := range r.batches {
		if !b.todo() && b.slot != 0 {
			r.pinned[b.was.NextHop] = true
		}
	}
	for id, n := range r.mirror.groups {
		if n > r.touched[id] {
			r.pinned[id] = true
		}
	}
}

// same tells whether routes in the kernel are as planned, whatever the number of
// their group.
func (r *round) same(b *batch) bool {
	was := b.was
	if b.fate != nil {
		if !r.objects.leads(was.NextHop, b.fate) {
			return false
		}
		was.NextHop = 0
	}
	want := b.want
	want.NextHop = 0
	return was == want
}

// holds tells whether a route is one to be left alone.
func (r *round) holds(route rtnl.Route) bool {
	if !r.o.Hold || !route.Gateway.IsValid() && route.NextHop == 0 {
		return false
	}
	return slices.ContainsFunc(r.objects.ways(route), func(h hop) bool {
		return r.carrier[h.link] && !r.dead(h)
	})
}

// dead tells whether a hop leads to an address that is known to be dead.
func (r *round) dead(h hop) bool {
	return slices.ContainsFunc(r.o.Lost, func(a netip.Addr) bool {
		return a.WithZone("") == h.address() && (a.Zone() == "" || r.links[a.Zone()] == h.link)
	})
}

// write brings the planned routes into the kernel.
func (r *round) write() {
	r.claim()
	var groups, moves []rtnl.Change
	moving := map[uint32]bool{}
	for _, f := range r.fates {
		if n := r.objects.assign(f); n != nil {
			groups = append(groups, rtnl.Change{Do: rtnl.Add, NextHop: n})
		}
		for _, id := range f.ids {
			if moving[id] = r.objects.moves(id); moving[id] {
				moves = append(moves, rtnl.Change{Do: rtnl.Replace, NextHop: &rtnl.NextHop{ID: id, Group: f.group, Protocol: layout.Protocol}})
			}
		}
	}
	for _, b := range r.batches {
		r.schedule(b, moving[b.want.NextHop])
	}
	r.refuse()
	r.res.NextHops += len(groups) + len(moves)
	r.done(r.kernel.Write(groups))
	r.routes(before)
	if r.done(r.kernel.MoveNextHops(moves)) == 0 {
		for _, m := range moves {
			r.objects.all[m.NextHop.ID] = *m.NextHop
		}
	}
	r.routes(after)
}

// schedule counts what becomes of a batch, and says when.
func (r *round) schedule(b *batch, moving bool) {
	switch {
	case !b.todo():
		return
	case b.slot == 0:
		r.res.Added += b.n
	case b.was == b.want:
		if moving {
			r.res.Moved += b.n
		}
		return
	default:
		r.res.Replaced += b.n
	}
	if b.step = before; moving {
		b.step = after
	}
}

// writer gives changes of routes to the kernel, some at a time, and notes them.
type writer struct {
	*round
	routes   []rtnl.Route
	outcomes []*Outcome // nil: the route is to go
}

// writerRoom is several of rtnl's datagrams.
const writerRoom = 1024

func (w *writer) add(p netip.Prefix, route rtnl.Route, o *Outcome) {
	if route.Prefix = p; !w.first.IsValid() {
		w.first = p
	}
	w.routes, w.outcomes = append(w.routes, route), append(w.outcomes, o)
	if len(w.routes) == writerRoom {
		w.flush()
	}
}

func (w *writer) flush() {
	if w.silent { // What is not tried was not done, and is not told one by one.
		w.res.Refused += len(w.routes)
		w.routes, w.outcomes = w.routes[:0], w.outcomes[:0]
		return
	}
	changes := make([]rtnl.Change, len(w.routes))
	for i := range changes {
		changes[i] = rtnl.Change{Do: rtnl.Replace, Route: &w.routes[i]}
		if w.outcomes[i] == nil {
			changes[i].Do = rtnl.Delete
		}
	}
	errs := w.kernel.Write(changes)
	w.res.Refused += w.done(errs)
	for i, route := range w.routes {
		switch {
		case i < len(errs) && errs[i] != nil:
		case w.outcomes[i] == nil:
			w.mirror.drop(route.Prefix)
		default:
			w.mirror.put(route.Prefix, said{route, w.outcomes[i]})
		}
	}
	w.routes, w.outcomes = w.routes[:0], w.outcomes[:0]
}

// routes writes those whose time has come.
func (r *round) routes(s step) {
	w := writer{round: r}
	r.walk(func(b *batch) bool { return b.step == s }, func(p netip.Prefix, b *batch) { w.add(p, b.want, b.outcome) })
	w.flush()
}

// done notes what was refused, and returns how much.
func (r *round) done(errs []error) (refused int) {
	for _, err := range errs {
		if err != nil {
			r.errs, r.unsure = append(r.errs, err), true
			r.silent = r.silent || rtnl.IsSilent(err)
			refused++
		}
	}
	return refused
}

// note remembers for which outcome the routes are there that were not written.
func (r *round) note() {
	if r.unsure {
		return // All is read again.
	}
	for id, f := range r.objects.owner {
		if _, there := r.objects.all[id]; there {
			r.objects.fates[id] = f.key
		}
	}
	clear(r.objects.owner)
	kept := func(b *batch) bool {
		return b.todo() && b.slot != 0 && b.step == never && r.mirror.slots[b.slot].outcome != b.outcome
	}
	var parts []*batch
	for _, b := range r.batches {
		switch {
		case !kept(b):
		case r.mirror.slots[b.slot].uses == b.n:
			r.mirror.become(b.slot, b.outcome)
		default:
			parts = append(parts, b)
		}
	}
	if len(parts) > 0 {
		r.walk(kept, func(p netip.Prefix, b *batch) { r.mirror.put(p, said{b.was, b.outcome}) })
	}
}

// sweep removes routes, and then the next-hop objects of ours that nobody refers
// to. With an object its routes would go too: so if a write was refused, the objects
// wait for the next round.
func (r *round) sweep(gone []netip.Prefix) {
	w := writer{round: r}
	for _, p := range gone {
		w.add(p, r.mirror.slots[r.mirror.at(p)].route, nil)
	}
	r.res.Deleted += len(gone)
	w.flush()
	r.sweepStrays()
	if r.unsure {
		return
	}
	used := map[uint32]bool{}
	for _, s := range r.mirror.strays {
		used[s.NextHop] = true
	}
	var groups, members []rtnl.Change
	for id, n := range r.objects.all {
		if len(n.Group) == 0 {
			continue
		}
		if n.Protocol == layout.Protocol && r.mirror.groups[id] == 0 && !used[id] {
			groups = append(groups, rtnl.Change{Do: rtnl.Delete, NextHop: &rtnl.NextHop{ID: id, Group: n.Group}})
			continue
		}
		for _, member := range n.Group { // An alien group's, too.
			used[member] = true
		}
	}
	for id, n := range r.objects.all {
		if n.Protocol == layout.Protocol && len(n.Group) == 0 && !used[id] && r.mirror.groups[id] == 0 {
			members = append(members, rtnl.Change{Do: rtnl.Delete, NextHop: &n})
		}
	}
	r.res.NextHops += len(groups) + len(members)
	for _, list := range [][]rtnl.Change{groups, members} {
		r.done(r.kernel.Write(list))
		for _, c := range list {
			r.objects.remove(c.NextHop.ID)
		}
	}
}

// sweepStrays removes routes of ours that have not our metric, but for held ones.
func (r *round) sweepStrays() {
	var changes []rtnl.Change
	held := r.mirror.strays[:0]
	for _, s := range r.mirror.strays {
		if r.holds(s) {
			held = append(held, s)
			continue
		}
		changes = append(changes, rtnl.Change{Do: rtnl.Delete, Route: &s})
	}
	r.mirror.strays = held
	r.res.Deleted += len(changes)
	r.res.Refused += r.done(r.kernel.Write(changes))
}
