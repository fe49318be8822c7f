package route

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

// firstID is where our next-hop objects' numbers begin; taken ones are stepped over.
const firstID = 120_001

// hop is a next hop as the kernel knows it: what a member of a group says.
type hop struct {
	gateway netip.Addr
	link    int
	onlink  bool
	// outer and source are the outer addresses of a tunnel whose link knows neither.
	outer, source netip.Addr
}

func hopOf(n rtnl.NextHop) hop { return hop{n.Gateway, n.Link, n.Onlink, n.Outer, n.OuterSource} }

func (h hop) object() rtnl.NextHop {
	return rtnl.NextHop{Gateway: h.gateway, Link: h.link, Onlink: h.onlink, Outer: h.outer, OuterSource: h.source}
}

// address is where the hop leads.
func (h hop) address() netip.Addr {
	if h.outer.IsValid() {
		return h.outer
	}
	return h.gateway
}

// fate is a set of planned routes that move together.
type fate struct {
	hops    []hop
	group   []uint32 // hops' numbers, sorted
	batches []*batch
	// key is what prefixes of this fate have in common; empty: not known.
	key string
	// ids are the groups in the kernel whose routes are mostly of this fate; a
	// route that comes joins the first.
	ids []uint32
	// fresh is a new group, 0 if there is no need of one.
	fresh uint32
}

// objects are the kernel's next-hop objects.
type objects struct {
	all   map[uint32]rtnl.NextHop
	hops  map[hop]uint32   // ours
	owner map[uint32]*fate // whom a group belongs to now
	// fates are the keys of those that groups were last given to: who comes later joins
	// them.
	fates map[uint32]string
	next  uint32
}

func readObjects(list []rtnl.NextHop) *objects {
	o := &objects{all: map[uint32]rtnl.NextHop{}, hops: map[hop]uint32{}, owner: map[uint32]*fate{}, fates: map[uint32]string{}, next: firstID}
	for _, n := range list {
		o.all[n.ID] = n
		h := hopOf(n)
		if id, ok := o.hops[h]; n.Protocol == layout.Protocol && len(n.Group) == 0 && !n.Blackhole && (!ok || n.ID < id) {
			o.hops[h] = n.ID
		}
	}
	return o
}

// same tells whether the kernel has what it had.
func (o *objects) same(was *objects) bool {
	return was != nil && maps.EqualFunc(o.all, was.all, func(a, b rtnl.NextHop) bool {
		return hopOf(a) == hopOf(b) && slices.Equal(a.Group, b.Group) && a.Weighted == b.Weighted && a.Blackhole == b.Blackhole && a.Protocol == b.Protocol
	})
}

// add gives a new object a number.
func (o *objects) add(n rtnl.NextHop) rtnl.NextHop {
	for taken := true; taken; o.next++ {
		n.ID = o.next
		_, taken = o.all[n.ID]
	}
	n.Protocol = layout.Protocol
	o.all[n.ID] = n
	return n
}

// remove forgets an object that is gone.
func (o *objects) remove(id uint32) {
	n := o.all[id]
	delete(o.all, id)
	delete(o.fates, id)
	if h := hopOf(n); o.hops[h] == id {
		delete(o.hops, h)
	}
}

// ourGroup tells whether id is a group of ours.
func (o *objects) ourGroup(id uint32) bool {
	n := o.all[id]
	return n.Protocol == layout.Protocol && len(n.Group) > 0
}

// leads tells whether a group is what a fate asks for.
func (o *objects) leads(id uint32, f *fate) bool {
	n := o.all[id]
	return o.ourGroup(id) && !n.Weighted && slices.Equal(n.Group, f.group)
}

// ways are those that an installed route may take.
func (o *objects) ways(r rtnl.Route) []hop {
	n, ok := o.all[r.NextHop]
	if !ok {
		return []hop{{gateway: r.Gateway, link: r.Link}}
	}
	ways := []hop{hopOf(n)}
	for _, id := range n.Group {
		ways = append(ways, hopOf(o.all[id]))
	}
	return ways
}

// makeHops adds the members that are not there. A fate loses those that the
// kernel refuses, which is an error; one that has none left fails with its routes.
func (r *round) makeHops() {
	o := r.objects
	var missing []rtnl.Change
	for _, f := range r.fates {
		if !f.wanted() {
			continue
		}
		for _, h := range f.hops {
			if _, ok := o.hops[h]; !ok {
				n := o.add(h.object())
				o.hops[h] = n.ID
				missing = append(missing, rtnl.Change{Do: rtnl.Add, NextHop: &n})
			}
		}
	}
	r.res.NextHops += len(missing)
	refused := map[uint32]error{}
	for i, err := range r.kernel.Write(missing) {
		if err != nil {
			refused[missing[i].NextHop.ID] = err
			delete(o.all, missing[i].NextHop.ID)
			r.res.NextHops--
			r.refused = true
		}
	}
	for _, f := range r.fates {
		var why error
		for _, h := range f.hops {
			if err := refused[o.hops[h]]; err != nil {
				why = err
			}
		}
		if o.resolve(f); len(f.group) > 0 && why != nil {
			r.errs = append(r.errs, fmt.Errorf("route %s%s goes without one of these: %w", r.name(f.batches[0]), f, why))
		}
		for _, b := range f.batches {
			if len(f.group) == 0 && !b.held {
				b.err = why
			}
		}
	}
}

// resolve finds the numbers of a fate's next hops, and tells whether each has one.
func (o *objects) resolve(f *fate) bool {
	all := true
	f.group = f.group[:0]
	for _, h := range f.hops {
		if _, there := o.all[o.hops[h]]; there {
			f.group = append(f.group, o.hops[h])
		} else {
			all = false
		}
	}
	slices.Sort(f.group)
	f.group = slices.Compact(f.group)
	return all
}

// wanted tells whether any route of the fate is to be made so now.
func (f *fate) wanted() bool {
	return slices.ContainsFunc(f.batches, (*batch).todo)
}

// claim gives each group in the kernel to the fate that most of its routes have.
// A pinned group has routes that must not move: it keeps what it says.
func (r *round) claim() {
	o := r.objects
	type share struct {
		f     *fate
		id    uint32
		count int
		leads bool
	}
	var shares []share
	counts := r.others()
	for _, f := range r.fates {
		if counts[f] == nil {
			counts[f] = map[uint32]int{}
		}
		for _, b := range f.batches {
			if b.todo() && o.ourGroup(b.was.NextHop) {
				counts[f][b.was.NextHop] += b.n
			}
		}
	}
	for f, groups := range counts {
		for id, n := range groups {
			shares = append(shares, share{f, id, n, o.leads(id, f)})
		}
	}
	slices.SortFunc(shares, func(a, b share) int {
		return cmp.Or(cmp.Compare(b.count, a.count), -cmp.Compare(number(a.leads), number(b.leads)),
			cmp.Compare(a.id, b.id), strings.Compare(a.f.String(), b.f.String()))
	})
	for _, s := range shares {
		if _, taken := o.owner[s.id]; taken || r.pinned[s.id] && !s.leads {
			continue
		}
		o.owner[s.id] = s.f
		s.f.ids = append(s.f.ids, s.id)
	}
}

// others counts by group the routes that this round does not look at. They count for the
// fate that the group was given to, which may be none of this round's.
func (r *round) others() map[*fate]map[uint32]int {
	all := map[*fate]map[uint32]int{}
	if r.whole {
		return all
	}
	for id, n := range r.objects.all {
		out := r.mirror.groups[id] - r.touched[id]
		if out <= 0 || !r.objects.ourGroup(id) {
			continue
		}
		f := r.byFate[r.objects.fates[id]]
		if f == nil {
			f = &fate{group: n.Group, key: r.objects.fates[id]}
		}
		if all[f] == nil {
			all[f] = map[uint32]int{}
		}
		all[f][id] = out
	}
	return all
}

// assign decides which group each route of a fate refers to. Who leaves a group
// that is about to move must go to one that is not, so that it can go before.
func (o *objects) assign(f *fate) (created *rtnl.NextHop) {
	for _, b := range f.batches {
		if !b.todo() {
			continue
		}
		if b.slot != 0 && slices.Contains(f.ids, b.was.NextHop) {
			b.want.NextHop = b.was.NextHop
			continue
		}
		leaves := b.slot != 0 && o.moves(b.was.NextHop)
		if len(f.ids) > 0 && (!leaves || o.leads(f.ids[0], f)) {
			b.want.NextHop = f.ids[0]
			continue
		}
		if f.fresh == 0 {
			f.fresh = o.idle(f)
		}
		if f.fresh == 0 {
			n := o.add(rtnl.NextHop{Group: f.group})
			created, f.fresh = &n, n.ID
		}
		o.owner[f.fresh] = f
		b.want.NextHop = f.fresh
	}
	return created
}

// idle finds a group that no fate owns and whose members are what this one wants: it was
// made for routes that the kernel then refused.
func (o *objects) idle(f *fate) (id uint32) {
	for other := range o.all {
		if o.owner[other] == nil && (id == 0 || other < id) && o.leads(other, f) {
			id = other
		}
	}
	return id
}

// moves tells whether a group is about to get other members.
func (o *objects) moves(id uint32) bool {
	f := o.owner[id]
	return f != nil && !o.leads(id, f)
}

// String is the fate's way in ip-route(8)'s words, with links as their indices.
func (f *fate) String() string {
	var b strings.Builder
	for i, h := range f.hops {
		if i > 0 {
			b.WriteString(" nexthop")
		}
		fmt.Fprintf(&b, " via %s dev #%d", h.address(), h.link)
		if h.onlink {
			b.WriteString(" onlink")
		}
	}
	return b.String()
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
