package route

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

// Metric of all our routes. It keeps them apart from what others add with
// theirs (a person's ip route add has 0, the kernel's connected routes too).
const Metric = 120

// Kernel is what a FIB needs of it, as rtnl.Conn has it.
type Kernel interface {
	Reader
	Writer
}

// Reader reads the kernel's links, and its FIB.
type Reader interface {
	Links() ([]rtnl.Link, error)
	LinkByName(name string) (rtnl.Link, error)
	EachRoute(protocol int, begin func(), each func(rtnl.Route)) error
	NextHops() ([]rtnl.NextHop, error)
}

// Writer changes the kernel's FIB.
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

// FIB makes the kernel's routes of our protocol the planned ones. It remembers what it
// has put there, and reads the kernel only when that may not be so any more. One
// goroutine's.
type FIB struct {
	kernel  Kernel
	mirror  *mirror
	objects *objects
	links   map[string]int // index by name
	carrier map[int]bool   // by index
	at      *Decisions     // that the kernel has
	trusted bool           // what is remembered is so
	moved   bool           // links may have changed
	downs   []int          // links that were down, if only for a moment
	// behind: the last Apply has left something undone: what was held, or had no link.
	behind bool
	held   int
	opts   Options
	first  netip.Prefix // whose route the last Apply has written or removed first
}

// NewFIB returns one that knows nothing: its first Apply reads the kernel.
func NewFIB(k Kernel) *FIB { return &FIB{kernel: k} }

// Distrust says that somebody else has changed our routes, or that it is time: the next
// Apply reads them first.
func (f *FIB) Distrust() { f.trusted = false }

// LinksChanged says that links are not what they were, and which of them are or have
// been down: with these the kernel has dropped next hops and routes.
func (f *FIB) LinksChanged(down ...int) { f.moved, f.downs = true, append(f.downs, down...) }

// Has tells whether the kernel has a route of ours to a prefix that drops nothing, as far
// as is known.
func (f *FIB) Has(p netip.Prefix) bool {
	if f.mirror == nil {
		return false
	}
	n := f.mirror.at(p)
	return n != 0 && !f.mirror.slots[n].route.Blackhole
}

// First is the prefix whose route the last Apply has written or removed first, invalid if
// there was none.
func (f *FIB) First() netip.Prefix { return f.first }

// Stands tells whether all that d plans was in the kernel, as far as is known: what is to be
// done now somebody else has undone.
func (f *FIB) Stands(d Delta) bool { return f.at != nil && f.at == d.now && !f.behind }

// Apply makes the kernel's routes of our protocol the planned ones. A route that
// the kernel refuses is an error that names it and does not stop the others; if
// the kernel could not be read, nothing is changed.
//
// It does what d says where the plan before d is in the kernel and nothing of it was
// left undone. Otherwise it compares all, with what it remembers if that can be
// trusted, and else with what it reads.
//
// The order is such that no route is ever absent or leads where neither the old
// nor the new plan says: new next hops; the routes that go to a group that stays
// as it is; the groups that move, with all their routes; the routes that join
// these; then what is to be removed.
func (f *FIB) Apply(d Delta, o Options) (Result, error) {
	f.first = netip.Prefix{}
	same := f.trusted && !f.moved && f.at == d.now
	if same && (!f.behind || f.held > 0 && f.opts.Hold == o.Hold && slices.Equal(f.opts.Lost, o.Lost)) {
		return Result{Held: f.held}, nil
	}
	whole := f.behind || f.at != d.was || d.much
	if !f.trusted || f.moved || whole {
		other, err := f.read()
		if err != nil {
			f.trusted = false
			return Result{}, err
		}
		whole = whole || other
	}
	r := &round{
		FIB: f, o: o, delta: d, whole: whole, byKey: map[batchKey]*batch{}, byFate: map[string]*fate{},
		pinned: map[uint32]bool{}, touched: map[uint32]int{},
	}
	r.run()
	f.mirror.tidy()
	f.at, f.opts, f.held = d.now, Options{o.Hold, slices.Clone(o.Lost)}, r.res.Held
	f.behind = r.res.Held > 0 || len(r.errs) > 0
	if len(r.errs) > 0 {
		f.moved = true
	}
	f.trusted = !r.unsure && !r.refused
	return r.res, errors.Join(r.errs...)
}

// read looks at links and next-hop objects, and if what is remembered is not trusted at
// the routes. It tells whether anything is not as it was.
func (f *FIB) read() (other bool, err error) {
	links, err := f.kernel.Links()
	if err != nil {
		return false, err
	}
	mirror := f.mirror
	if !f.trusted {
		if err := f.kernel.EachRoute(layout.Protocol, func() { mirror = newMirror() }, func(r rtnl.Route) { mirror.found(r) }); err != nil {
			return false, err
		}
	}
	hops, err := f.kernel.NextHops()
	if err != nil {
		return false, err
	}
	carrier := f.carrier
	f.links, f.carrier = make(map[string]int, len(links)), make(map[int]bool, len(links))
	up := make(map[int]bool, len(links))
	for _, l := range links {
		f.links[l.Name], f.carrier[l.Index], up[l.Index] = l.Index, l.Carrier, l.Up
	}
	objects := readObjects(hops)
	other = !f.trusted || !objects.same(f.objects) || f.held > 0 && !maps.Equal(carrier, f.carrier)
	if f.objects != nil {
		maps.Copy(objects.fates, f.objects.fates)
		maps.DeleteFunc(objects.fates, func(id uint32, _ string) bool { return !objects.ourGroup(id) })
	}
	f.objects = objects
	for _, l := range f.downs {
		up[l] = false
	}
	if f.trusted {
		gone := mirror.forget(func(r rtnl.Route) bool {
			_, there := objects.all[r.NextHop]
			return r.NextHop != 0 && !there || r.Link != 0 && !up[r.Link]
		})
		other = other || gone
	}
	f.mirror = mirror
	f.trusted, f.moved, f.downs = true, false, nil
	return other, nil
}

// link is the index of a link, 0 if there is none. One of a pod is looked up each time:
// its name is used again when it is made anew.
func (r *round) link(p *Route, name string) int {
	if p.index != 0 && name == p.Link {
		return p.index
	}
	if index, known := r.links[name]; known && (r.whole || p.Kind != Pod) {
		return index
	}
	l, err := r.kernel.LinkByName(name)
	if err != nil {
		return 0
	}
	r.links[name], r.carrier[l.Index] = l.Index, l.Carrier
	return l.Index
}

// kernelRoute is the planned route in the kernel's terms, without its prefix, and its
// next hops.
func (r *round) kernelRoute(p *Route) (rtnl.Route, []hop, error) {
	k := rtnl.Route{Blackhole: p.Kind == Blackhole, Source: p.Source, Protocol: layout.Protocol, Metric: Metric}
	if k.Blackhole {
		return k, nil, nil
	}
	hops := make([]hop, 0, 1+len(p.Equal))
	for _, w := range append([]Way{p.Way}, p.Equal...) {
		index := r.link(p, w.Link)
		if index == 0 {
			return k, nil, fmt.Errorf("via %s: there is no link %s", w.NextHop, w.Link)
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
