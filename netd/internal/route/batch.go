package route

import (
	"fmt"
	"net/netip"
	"slices"

	"netd/netd/internal/rtnl"
)

// batch is the planned routes that have one outcome and in whose place the kernel has
// the same. They are decided and counted together; one by one only those are looked at
// that must be written so.
type batch struct {
	batchKey
	was, want rtnl.Route // without prefix
	n         int
	rest      bool         // all routes of the slot that the delta does not name
	first     netip.Prefix // invalid in a rest
	fate      *fate        // nil for routes that need no next-hop object
	held      bool         // left alone for now
	err       error        // why they can not be made
	step      step
}

type batchKey struct {
	slot    uint32 // of the mirror; 0: nothing is there
	outcome *Outcome
}

// step is when a batch's routes are written.
type step int

const (
	never  step = iota
	before      // the groups that move
	after
)

// gather finds out what is to be done. It returns the prefixes to remove.
func (r *round) gather() []netip.Prefix {
	if r.whole {
		return r.gatherAll()
	}
	var gone []netip.Prefix
	named := map[uint32]int{}
	for _, d := range r.delta.prefixes {
		slot := r.mirror.at(d.Prefix)
		named[slot]++
		switch {
		case d.Outcome != nil && d.Route != nil:
			r.add(batchKey{slot, d.Outcome}, d.Prefix, 1)
		case slot != 0:
			gone = append(gone, d.Prefix)
		}
	}
	if len(r.delta.exchanged) == 0 {
		return gone
	}
	ends := map[uint32]bool{}
	for n, s := range r.mirror.slots {
		now := r.delta.exchanged[s.outcome]
		switch left := s.uses - named[uint32(n)]; {
		case now == nil || left == 0:
		case now.Route == nil:
			ends[uint32(n)] = true
		default:
			r.add(batchKey{uint32(n), now}, netip.Prefix{}, left).rest = true
		}
	}
	if len(ends) > 0 {
		gone = append(gone, r.rest(func(n uint32) bool { return ends[n] })...)
	}
	return gone
}

// gatherAll compares the whole plan with the whole mirror.
func (r *round) gatherAll() (gone []netip.Prefix) {
	there := 0
	r.planned(func(p netip.Prefix, o *Outcome) {
		slot := r.mirror.at(p)
		if r.add(batchKey{slot, o}, p, 1); slot != 0 {
			there++
		}
	})
	if there == r.mirror.len() {
		return nil
	}
	for _, p := range r.mirror.prefixes(func(uint32) bool { return true }) {
		if d := r.delta.now.routed(p); d.Outcome == nil || d.Route == nil {
			gone = append(gone, p)
		}
	}
	return gone
}

// planned goes through all prefixes that are to have a route.
func (r *round) planned(do func(p netip.Prefix, o *Outcome)) {
	var last netip.Prefix
	for d := range r.delta.now.All() {
		if d.Route != nil && d.Prefix != last {
			last = d.Prefix
			do(d.Prefix, d.Outcome)
		}
	}
}

// rest are the prefixes of slots that the delta does not name.
func (r *round) rest(wanted func(slot uint32) bool) []netip.Prefix {
	return slices.DeleteFunc(r.mirror.prefixes(wanted), func(p netip.Prefix) bool {
		_, named := slices.BinarySearchFunc(r.delta.prefixes, p, func(d Decision, p netip.Prefix) int { return comparePrefix(d.Prefix, p) })
		return named
	})
}

// add counts routes to their batch.
func (r *round) add(key batchKey, first netip.Prefix, n int) *batch {
	b := r.last // Neighbours are mostly alike.
	if b == nil || b.batchKey != key {
		b = r.byKey[key]
	}
	if b == nil {
		b = &batch{batchKey: key, first: first}
		if key.slot != 0 {
			b.was = r.mirror.slots[key.slot].route
		}
		var hops []hop
		if b.want, hops, b.err = r.kernelRoute(key.outcome.Route); b.err == nil && len(hops) > 0 {
			b.fate = r.fateOf(key.outcome, hops, key.outcome.alike.v4 || first.IsValid() && first.Addr().Is4())
			b.fate.batches = append(b.fate.batches, b)
		}
		r.byKey[key] = b
		r.batches = append(r.batches, b)
	}
	r.last = b
	b.n += n
	return b
}

// walk goes through the routes of the batches that are wanted.
func (r *round) walk(wanted func(b *batch) bool, do func(p netip.Prefix, b *batch)) {
	if !slices.ContainsFunc(r.batches, wanted) {
		return
	}
	one := func(p netip.Prefix, o *Outcome) {
		if b := r.byKey[batchKey{r.mirror.at(p), o}]; b != nil && !b.rest && wanted(b) {
			do(p, b)
		}
	}
	if r.whole {
		r.planned(one)
		return
	}
	for _, d := range r.delta.prefixes {
		if d.Outcome != nil {
			one(d.Prefix, d.Outcome)
		}
	}
	rests := map[uint32]*batch{}
	for _, b := range r.batches {
		if b.rest && wanted(b) {
			rests[b.slot] = b
		}
	}
	if len(rests) == 0 {
		return
	}
	for _, p := range r.rest(func(n uint32) bool { return rests[n] != nil }) {
		do(p, rests[r.mirror.at(p)])
	}
}

// name is the prefix of one of a batch's routes.
func (r *round) name(b *batch) netip.Prefix {
	if b.first.IsValid() {
		return b.first
	}
	for _, p := range r.rest(func(n uint32) bool { return n == b.slot }) {
		return p
	}
	return netip.Prefix{}
}

// namedRefusals is how many routes the error of one reason names.
const namedRefusals = 10

// refuse reports routes that could not even be tried. Those of one batch have one reason:
// the first of them are named, and the rest is counted.
func (r *round) refuse() {
	seen := map[any]int{}
	reason := func(b *batch) any {
		if b.fate != nil {
			return b.fate
		}
		return b
	}
	r.walk(func(b *batch) bool { return b.err != nil }, func(p netip.Prefix, b *batch) {
		seen[reason(b)]++
		switch {
		case seen[reason(b)] > namedRefusals:
		case b.fate != nil:
			r.errs = append(r.errs, fmt.Errorf("replace route %s%s: %w", p, b.fate, b.err))
		default:
			r.errs = append(r.errs, fmt.Errorf("route %s %w", p, b.err))
		}
	})
	for _, b := range r.batches {
		if n := seen[reason(b)]; n > namedRefusals {
			r.errs = append(r.errs, fmt.Errorf("and %d more routes: %w", n-namedRefusals, b.err))
			delete(seen, reason(b))
		}
	}
}
