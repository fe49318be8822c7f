package route

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sort"
)

// Decisions are those for all prefixes at one moment, in their order. They are never
// changed: newer ones share with them what is the same, so that keeping some costs
// little, and any goroutine may read them.
type Decisions struct {
	chunks [][]Decision // each of 1 to chunkMost
	length int
	kinds  map[Kind]int
}

const (
	// A change copies one chunk, and the list of chunks: both are short at 100,000 prefixes.
	chunkMost = 512
	chunkNew  = 256
)

// Len is how many there are.
func (a *Decisions) Len() int { return a.length }

// Kinds counts the prefixes that have a route, by its kind.
func (a *Decisions) Kinds() map[Kind]int { return maps.Clone(a.kinds) }

// All goes through them in order of prefixes. Of one prefix there may be two: this
// gateway's own, and then that of what it has learned.
func (a *Decisions) All() iter.Seq[Decision] { return a.from(0, 0) }

// from begins at a place.
func (a *Decisions) from(chunk, at int) iter.Seq[Decision] {
	return func(yield func(Decision) bool) {
		for ; chunk < len(a.chunks); chunk, at = chunk+1, 0 {
			for _, d := range a.chunks[chunk][at:] {
				if !yield(d) {
					return
				}
			}
		}
	}
}

// at has all decisions of one prefix.
func (a *Decisions) at(p netip.Prefix) iter.Seq[Decision] {
	return func(yield func(Decision) bool) {
		chunk := max(sort.Search(len(a.chunks), func(i int) bool { return comparePrefix(a.chunks[i][0].Prefix, p) >= 0 })-1, 0)
		if chunk == len(a.chunks) {
			return
		}
		list := a.chunks[chunk]
		at := sort.Search(len(list), func(i int) bool { return comparePrefix(list[i].Prefix, p) >= 0 })
		for d := range a.from(chunk, at) {
			if d.Prefix != p || !yield(d) {
				return
			}
		}
	}
}

// routed is, of the decisions for one prefix, the one that counts: the first with a
// route, else the last. Its Outcome is nil if there is no decision.
func (a *Decisions) routed(p netip.Prefix) Decision {
	best := Decision{Prefix: p}
	for d := range a.at(p) {
		if best = d; d.Route != nil {
			break
		}
	}
	return best
}

// learned is what was decided on what is learned of a prefix; nil if nothing is.
func (a *Decisions) learned(p netip.Prefix) *Outcome {
	for d := range a.at(p) {
		if d.layer == learnedLayer {
			return d.Outcome
		}
	}
	return nil
}

// Covering returns the decision of the longest prefix that contains p, or nil.
func Covering(all *Decisions, p netip.Prefix) *Decision {
	for bits := p.Bits(); bits >= 0; bits-- {
		wider, err := p.Addr().Prefix(bits)
		if err != nil {
			return nil
		}
		if d := all.routed(wider); d.Outcome != nil {
			return &d
		}
	}
	return nil
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// edit is what a prefix's decision in one layer is to be; a nil Outcome is none.
type edit struct {
	prefix netip.Prefix
	layer  layer
	now    *Outcome
}

func compareEdits(a, b edit) int {
	return cmp.Or(comparePrefix(a.prefix, b.prefix), cmp.Compare(a.layer, b.layer))
}

// edited are the decisions after edits. These are in order, at most one for a prefix and
// layer; note is called with each that makes a difference.
func (a *Decisions) edited(edits []edit, note func(p netip.Prefix, was, now *Outcome)) *Decisions {
	b := &Decisions{length: a.length, kinds: maps.Clone(a.kinds)}
	tell := func(p netip.Prefix, was, now *Outcome) {
		if was == now {
			return
		}
		b.count(was, -1)
		b.count(now, 1)
		note(p, was, now)
	}
	chunk := 0
	for len(edits) > 0 {
		// The last chunk that begins before the edit, or at it, is the one to change.
		after := chunk + sort.Search(len(a.chunks)-chunk, func(i int) bool {
			first := a.chunks[chunk+i][0]
			return compareEdits(edit{first.Prefix, first.layer, nil}, edits[0]) > 0
		})
		at := max(after-1, chunk)
		b.chunks = append(b.chunks, a.chunks[chunk:at]...)
		var list []Decision
		n := len(edits)
		if len(a.chunks) == 0 {
			n = min(n, chunkNew)
		}
		if at < len(a.chunks) {
			list = a.chunks[at]
			if at+1 < len(a.chunks) {
				next := a.chunks[at+1][0]
				n = sort.Search(n, func(i int) bool { return compareEdits(edits[i], edit{next.Prefix, next.layer, nil}) >= 0 })
			}
		}
		b.add(merged(list, edits[:n], tell))
		edits, chunk = edits[n:], min(at+1, len(a.chunks))
	}
	b.chunks = append(b.chunks, a.chunks[chunk:]...)
	return b
}

// count notes that a prefix has come or gone.
func (a *Decisions) count(o *Outcome, by int) {
	if o == nil {
		return
	}
	if a.length += by; o.Route != nil {
		a.kinds[o.Route.Kind] += by
	}
	if o.Route != nil && a.kinds[o.Route.Kind] == 0 {
		delete(a.kinds, o.Route.Kind)
	}
}

// add appends a list as chunks.
func (a *Decisions) add(list []Decision) {
	if last := len(a.chunks) - 1; last >= 0 && len(a.chunks[last])+len(list) <= chunkNew {
		a.chunks[last] = slices.Concat(a.chunks[last], list)
		return
	}
	for len(list) > chunkMost {
		a.chunks = append(a.chunks, slices.Clone(list[:chunkNew]))
		list = list[chunkNew:]
	}
	if len(list) == 0 {
		return
	}
	if cap(list) > len(list)+len(list)/muchOf { // It would keep what was made for more.
		list = slices.Clone(list)
	}
	a.chunks = append(a.chunks, list[:len(list):len(list)])
}

// merged is a list after edits.
func merged(list []Decision, edits []edit, note func(p netip.Prefix, was, now *Outcome)) []Decision {
	out := make([]Decision, 0, len(list)+len(edits))
	for _, e := range edits {
		for len(list) > 0 && compareEdits(edit{list[0].Prefix, list[0].layer, nil}, e) < 0 {
			out, list = append(out, list[0]), list[1:]
		}
		var was *Outcome
		if len(list) > 0 && list[0].Prefix == e.prefix && list[0].layer == e.layer {
			was, list = list[0].Outcome, list[1:]
		}
		if note(e.prefix, was, e.now); e.now != nil {
			out = append(out, Decision{e.prefix, e.now})
		}
	}
	return append(out, list...)
}

// exchanged are the decisions with new outcomes in the place of old ones, everywhere.
// note is called with each prefix that had no route and now has one.
func (a *Decisions) exchanged(outcomes map[*Outcome]*Outcome, note func(p netip.Prefix, now *Outcome)) *Decisions {
	b := &Decisions{chunks: slices.Clone(a.chunks), length: a.length, kinds: maps.Clone(a.kinds)}
	for was, now := range outcomes {
		b.count(was, -was.uses)
		b.count(now, was.uses)
	}
	for i, list := range a.chunks {
		var own []Decision
		var was, now *Outcome // Neighbours are mostly alike.
		for k, d := range list {
			if d.Outcome != was {
				was, now = d.Outcome, outcomes[d.Outcome]
			}
			if now == nil {
				continue
			}
			if own == nil {
				own = slices.Clone(list)
			}
			if own[k].Outcome = now; was.Route == nil && now.Route != nil {
				note(d.Prefix, now)
			}
		}
		if own != nil {
			b.chunks[i] = own
		}
	}
	return b
}

func sortPrefixes(list []netip.Prefix) { slices.SortFunc(list, comparePrefix) }
