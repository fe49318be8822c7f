package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"netd/netd/internal/rtnl"
)

// Protocol is our number in rtnetlink's rtm_protocol: it marks the routes and
// next-hop objects that are ours (120 is taken by no one in iproute2's rt_protos).
const Protocol = 120

// Metric of all our routes. It keeps them apart from what others add with
// theirs (a person's ip route add has 0, the kernel's connected routes too).
const Metric = 120

// namedRefusals is how many routes the error of one next hop names.
const namedRefusals = 10

// FIB is what Apply needs of the kernel.
type FIB interface {
	Links() ([]rtnl.Link, error)
	Routes(protocol int) ([]rtnl.Route, error)
	NextHops() ([]rtnl.NextHop, error)
	Writer
}

// Writer changes the kernel's FIB, as rtnl.Conn does.
type Writer interface {
	Write([]rtnl.Change) []error
	MoveNextHops([]rtnl.Change) []error
}

// Result counts what Apply did.
type Result struct {
	// Replaced are the routes that were rewritten one by one; Moved those that
	// moved with their next-hop object.
	Added, Replaced, Moved, Deleted int
	// Held are routes of ours that are not planned, or planned otherwise, and
	// were left alone because of Options.Hold.
	Held int
	// NextHops are the operations on next-hop objects.
	NextHops int
	// Refused are those of Added, Replaced and Deleted that the kernel refused.
	Refused int
}

// Changed tells whether anything was done.
func (r Result) Changed() bool {
	return r.Added+r.Replaced+r.Moved+r.Deleted+r.NextHops > r.Refused
}

// Options of Apply.
type Options struct {
	// Hold leaves in place the learned routes that are in the kernel already,
	// as long as a link of theirs has carrier: the plan is known to be incomplete
	// (peers have not told all yet), and what was true before still carries.
	Hold bool
	// Lost are next hops that are known to be dead: their routes are not held.
	Lost []netip.Addr
}

// round is one Apply.
type round struct {
	fib     FIB
	objects *objects
	links   map[string]int
	carrier map[int]bool
	hold    bool
	lost    []netip.Addr
	jobs    []*job
	fates   []*fate // in order of their first route
	pinned  map[uint32]bool
	res     Result
	errs    []error
	unsure  bool // a write was refused: who refers to what is not known
}

// Apply makes the kernel's routes of our protocol the planned ones. A route that
// the kernel refuses is an error that names it and does not stop the others; if
// the kernel could not be read, nothing is changed.
//
// The order is such that no route is ever absent or leads where neither the old
// nor the new plan says: new next hops; the routes that go to a group that stays
// as it is; the groups that move, with all their routes; the routes that join
// these; then what is to be removed.
func Apply(fib FIB, plan []Decision, o Options) (Result, error) {
	links, err := fib.Links()
	if err != nil {
		return Result{}, err
	}
	have, err := fib.Routes(Protocol)
	if err != nil {
		return Result{}, err
	}
	hops, err := fib.NextHops()
	if err != nil {
		return Result{}, err
	}
	r := &round{
		fib: fib, objects: readObjects(hops), hold: o.Hold, lost: o.Lost,
		links: map[string]int{}, carrier: map[int]bool{}, pinned: map[uint32]bool{},
	}
	for _, l := range links {
		r.links[l.Name], r.carrier[l.Index] = l.Index, l.Carrier
	}
	r.want(plan, have)
	deletions := r.spare(have)
	r.errs = append(r.errs, r.objects.makeHops(fib, r.fates, &r.res)...)
	r.pin()
	r.write()
	r.sweep(deletions)
	return r.res, errors.Join(r.errs...)
}

// want turns the plan into jobs and fates.
func (r *round) want(plan []Decision, have []rtnl.Route) {
	installed := make(map[netip.Prefix]*rtnl.Route, len(have))
	for i := range have {
		if have[i].Metric == Metric {
			installed[have[i].Prefix] = &have[i]
		}
	}
	fates := map[string]*fate{}
	var key []byte
	jobs := make([]job, len(plan)) // at once: there may be 100,000
	r.jobs = make([]*job, 0, len(plan))
	for i, d := range plan {
		if d.Route == nil {
			continue
		}
		want, hops, err := r.kernelRoute(*d.Route)
		j := &jobs[i]
		*j = job{want: want, was: installed[want.Prefix], err: err}
		if r.jobs = append(r.jobs, j); err != nil || len(hops) == 0 {
			continue
		}
		key = appendFate(key[:0], d)
		if j.fate = fates[string(key)]; j.fate == nil {
			j.fate = &fate{hops: hops}
			fates[string(key)] = j.fate
			r.fates = append(r.fates, j.fate)
		}
		j.fate.routes = append(j.fate.routes, j)
	}
}

// appendFate appends what is the same for prefixes that move together. It is made for
// each of them, so without fmt.
func appendFate(b []byte, d Decision) []byte {
	// IPv6 routes can not follow a group whose members become IPv4's.
	b = append(append(b, byte(FamilyOf(d.Prefix.Addr()))), d.Route.Kind...)
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

// spare finds the routes that are held, and returns those to delete.
func (r *round) spare(have []rtnl.Route) (deletions []rtnl.Change) {
	for _, f := range r.fates {
		if !r.objects.resolve(f) {
			f.group = nil // Nothing in the kernel leads there yet.
		}
	}
	planned := map[netip.Prefix]bool{}
	for _, j := range r.jobs {
		planned[j.want.Prefix] = true
		if j.err == nil && j.was != nil && !r.same(j) && r.held(*j.was) {
			r.res.Held++
			j.err = errHeld
		}
	}
	for i := range have {
		switch {
		case planned[have[i].Prefix] && have[i].Metric == Metric:
		case r.held(have[i]):
			r.res.Held++
			r.pinned[have[i].NextHop] = true
		default:
			deletions = append(deletions, rtnl.Change{Do: rtnl.Delete, Route: &have[i]})
		}
	}
	return deletions
}

// pin keeps the groups of routes that stay as they are: held ones, and those
// whose new way the kernel refuses.
func (r *round) pin() {
	for _, j := range r.jobs {
		if j.err != nil && j.was != nil {
			r.pinned[j.was.NextHop] = true
		}
	}
}

// errHeld marks a job that is not to be done now.
var errHeld = errors.New("held")

// same tells whether a route in the kernel is as planned, whatever the number of
// its group.
func (r *round) same(j *job) bool {
	was := *j.was
	if j.fate != nil {
		if !r.objects.leads(was.NextHop, j.fate) {
			return false
		}
		was.NextHop = 0
	}
	want := j.want
	want.NextHop = 0
	return was == want
}

func (r *round) held(route rtnl.Route) bool {
	if !r.hold || !route.Gateway.IsValid() && route.NextHop == 0 {
		return false
	}
	return slices.ContainsFunc(r.objects.ways(route), func(h hop) bool {
		return r.carrier[h.link] && !r.dead(h)
	})
}

// dead tells whether a hop leads to an address that is known to be dead.
func (r *round) dead(h hop) bool {
	return slices.ContainsFunc(r.lost, func(a netip.Addr) bool {
		return a.WithZone("") == h.address() && (a.Zone() == "" || r.links[a.Zone()] == h.link)
	})
}

// write brings the planned routes into the kernel.
func (r *round) write() {
	r.objects.claim(r.fates, r.pinned)
	var groups, moves, before, after []rtnl.Change
	moving := map[uint32]bool{}
	for _, f := range r.fates {
		if n := r.objects.assign(f); n != nil {
			groups = append(groups, rtnl.Change{Do: rtnl.Add, NextHop: n})
		}
		for _, id := range f.ids {
			if moving[id] = r.objects.moves(id); moving[id] {
				moves = append(moves, rtnl.Change{Do: rtnl.Replace, NextHop: &rtnl.NextHop{ID: id, Group: f.group, Protocol: Protocol}})
			}
		}
	}
	var refused []*job
	for _, j := range r.jobs {
		switch {
		case errors.Is(j.err, errHeld):
			continue
		case j.err != nil:
			refused = append(refused, j)
			continue
		case j.was == nil:
			r.res.Added++
		case *j.was == j.want:
			if moving[j.want.NextHop] {
				r.res.Moved++
			}
			continue
		default:
			r.res.Replaced++
		}
		change := rtnl.Change{Do: rtnl.Replace, Route: &j.want}
		if moving[j.want.NextHop] {
			after = append(after, change)
		} else {
			before = append(before, change)
		}
	}
	r.refuse(refused)
	r.res.NextHops += len(groups) + len(moves)
	r.done(r.fib.Write(groups))
	r.res.Refused += r.done(r.fib.Write(before))
	r.done(r.fib.MoveNextHops(moves))
	r.res.Refused += r.done(r.fib.Write(after))
}

// refuse reports routes that could not even be tried. The routes of one next hop
// have one reason: its error names the first of them and counts the rest.
func (r *round) refuse(jobs []*job) {
	seen := map[*fate]int{}
	for _, j := range jobs {
		if j.fate == nil {
			r.errs = append(r.errs, j.err)
			continue
		}
		if seen[j.fate]++; seen[j.fate] <= namedRefusals {
			r.errs = append(r.errs, j.err)
		}
	}
	for f, n := range seen {
		if n > namedRefusals {
			r.errs = append(r.errs, fmt.Errorf("and %d more routes%s", n-namedRefusals, f))
		}
	}
}

// done notes what was refused, and returns how much.
func (r *round) done(errs []error) (refused int) {
	for _, err := range errs {
		if err != nil {
			r.errs, r.unsure = append(r.errs, err), true
			refused++
		}
	}
	return refused
}

// sweep removes routes, and then the next-hop objects of ours that nobody refers
// to. With an object its routes would go too: so if a write was refused, the objects
// wait for the next round.
func (r *round) sweep(deletions []rtnl.Change) {
	r.res.Deleted += len(deletions)
	r.res.Refused += r.done(r.fib.Write(deletions))
	if r.unsure {
		return
	}
	used := r.pinned
	for _, j := range r.jobs {
		used[j.want.NextHop] = true
	}
	var groups, members []rtnl.Change
	for id, n := range r.objects.all {
		if len(n.Group) == 0 {
			continue
		}
		if f := r.objects.owner[id]; f != nil {
			n.Group = f.group
		}
		if n.Protocol == Protocol && !used[id] {
			groups = append(groups, rtnl.Change{Do: rtnl.Delete, NextHop: &rtnl.NextHop{ID: id, Group: n.Group}})
			continue
		}
		for _, member := range n.Group { // An alien group's, too.
			used[member] = true
		}
	}
	for id, n := range r.objects.all {
		if n.Protocol == Protocol && len(n.Group) == 0 && !used[id] {
			members = append(members, rtnl.Change{Do: rtnl.Delete, NextHop: &n})
		}
	}
	r.res.NextHops += len(groups) + len(members)
	r.done(r.fib.Write(groups))
	r.done(r.fib.Write(members))
}

// kernelRoute is the planned route in the kernel's terms, and its next hops.
func (r *round) kernelRoute(p Route) (rtnl.Route, []hop, error) {
	k := rtnl.Route{
		Prefix: p.Prefix, Blackhole: p.Kind == Blackhole, Source: p.Source, Protocol: Protocol, Metric: Metric,
	}
	if k.Blackhole {
		return k, nil, nil
	}
	hops := make([]hop, 0, 1+len(p.Equal))
	for _, w := range append([]Way{p.Way}, p.Equal...) {
		index := r.links[w.Link]
		if index == 0 {
			return k, nil, fmt.Errorf("route %s via %s: there is no link %s", p.Prefix, w.NextHop, w.Link)
		}
		hops = append(hops, kernelHop(p.Kind, w, index))
	}
	if !p.NextHop.IsValid() { // A pod's link is its own: nobody moves with it.
		k.Link = hops[0].link
		return k, nil, nil
	}
	return k, hops, nil
}

// kernelHop is a way as a next-hop object says it.
func kernelHop(kind Kind, w Way, link int) hop {
	gateway := w.NextHop
	if w.Key.IsValid() {
		gateway = w.Key
	}
	if kind == IP6Tnl {
		return hop{link: link, outer: gateway, source: w.Local}
	}
	gateway = gateway.WithZone("") // The link says it.
	// The kernel wants no "onlink" with a link-local gateway, which is on its link anyway.
	return hop{gateway: gateway, link: link, onlink: kind.tunnelled() && !gateway.IsLinkLocalUnicast()}
}
