package route

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"netd/netd/internal/rib"
)

// Table knows what is learned and what was decided on it. It is pure, and one
// goroutine's. What it hands out is never changed.
//
// Prefixes that are alike (of which the same is told, of one family, admitted in the same
// way) share one Outcome. So a change of facts is judged once for each kind of prefix and
// not for each prefix, and a prefix costs its Decision.
type Table struct {
	judge    judge
	all      *Decisions
	own      []Decision // of all: this gateway's pods, blocks, announced prefixes
	outcomes map[alike]*Outcome
	unused   []*Outcome         // in this plan: those that no prefix had at some moment
	hops     map[netip.Addr]int // by next hop of outcomes: in how many it is
	due      time.Time          // no wait is over before; zero if none waits
	accepted map[string]Count   // by peer
	// news are what was learned since the last plan; with whole they are all there is.
	news  []rib.Entry
	whole bool
}

// NewTable returns one that knows nothing.
func NewTable() *Table {
	return &Table{
		judge: newJudge(Facts{}), all: &Decisions{kinds: map[Kind]int{}},
		outcomes: map[alike]*Outcome{}, hops: map[netip.Addr]int{}, accepted: map[string]Count{},
	}
}

// Count counts prefixes by their family.
type Count struct{ IPv4, IPv6 int }

// Accepted counts, by peer, the prefixes of which its filters have let a path in.
func (t *Table) Accepted() map[string]Count { return maps.Clone(t.accepted) }

// countPeers notes that a prefix with this outcome has come or gone.
func (t *Table) countPeers(o *Outcome, by int) {
	if o.alike.paths == nil {
		return
	}
	for _, p := range o.alike.paths.List {
		n := t.accepted[p.Peer]
		if o.alike.v4 {
			n.IPv4 += by
		} else {
			n.IPv6 += by
		}
		if t.accepted[p.Peer] = n; n == (Count{}) {
			delete(t.accepted, p.Peer)
		}
	}
}

// Delta is what a plan has changed. Each is applied after the one before it.
type Delta struct {
	was, now *Decisions
	// prefixes are those that have another decision, in order, but for exchanged: the
	// prefixes that had one outcome and now have another, all of them.
	prefixes  []Decision
	exchanged map[*Outcome]*Outcome
	// much says that prefixes are not told, being many: all is to be compared.
	much bool
}

// Empty tells whether nothing has changed.
func (d Delta) Empty() bool { return d.was == d.now }

// muchOf is the part of all prefixes from which on a delta is no shorter way.
const muchOf = 4

// Decisions are those of the last plan.
func (t *Table) Decisions() *Decisions { return t.all }

// Learn takes in news for the next plan. It keeps u, which is not changed any more.
func (t *Table) Learn(u rib.Update) {
	if u.Whole {
		t.whole, t.news = true, nil
	}
	if t.news == nil {
		t.news = slices.Clip(u.Entries)
		return
	}
	t.news = append(t.news, u.Entries...)
}

// NextHops are those of learned paths and of the routers that the coming facts have:
// all that must be looked up. There may be some more, of paths that have just gone.
func (t *Table) NextHops(routers []Router) []netip.Addr {
	all := slices.Collect(maps.Keys(t.hops))
	var last *rib.Paths
	for _, e := range t.news {
		if e.Paths == last || e.Paths == nil {
			continue
		}
		last = e.Paths
		for _, p := range e.Paths.List {
			if t.hops[p.NextHop] == 0 {
				all = append(all, p.NextHop)
			}
		}
	}
	for _, r := range routers {
		all = append(all, r.Address)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// Plan decides again what has changed since the last time: the prefixes of which
// something was learned, and all if the facts are others.
func (t *Table) Plan(f Facts) Delta {
	d := Delta{was: t.all, exchanged: map[*Outcome]*Outcome{}}
	admits, judges, owns := f.admitsAs(&t.judge.Facts), f.judgesAs(&t.judge.Facts), f.ownsAs(&t.judge.Facts)
	if !admits || !judges {
		t.judge = newJudge(f)
	}
	t.judge.Facts = f
	changed := changes{table: t}
	if over := t.overdue(f.Now); over || !judges {
		t.due = time.Time{}
		t.judgeAgain(&d, &changed, func(o *Outcome) bool { return !judges || !o.alike.since.IsZero() })
	}
	var edits []edit
	if !owns {
		edits = t.ownEdits()
	}
	if !admits {
		edits = append(edits, t.admitAgain()...)
	}
	if learned := t.learnedEdits(); len(edits) == 0 {
		edits = learned
	} else {
		edits = append(edits, learned...)
	}
	edits = append(edits, t.defaultEdits(edits)...)
	changed.most = max(chunkMost, (t.all.length+len(edits))/muchOf)
	if len(edits) > 0 {
		// Of two edits of one place the later counts.
		slices.SortStableFunc(edits, compareEdits)
		edits = lastOfEach(edits, func(a, b edit) bool { return compareEdits(a, b) == 0 })
		t.all = t.all.edited(edits, changed.note)
	}
	t.forget()
	t.news, t.whole = nil, false
	if len(changed.prefixes) == 0 && len(d.exchanged) == 0 {
		t.all = d.was // Nothing differs.
	}
	d.now = t.all
	if d.much = len(changed.prefixes) > changed.most; !d.much {
		d.prefixes = changed.decisions()
	}
	return d
}

// judgeAgain decides each outcome that is asked for anew, and puts those that are others in
// the place of the old.
func (t *Table) judgeAgain(d *Delta, changed *changes, asked func(*Outcome) bool) {
	moved := map[*Outcome]alike{} // whose prefixes begin to wait, or have waited
	for like, was := range t.outcomes {
		if !asked(was) || like.whole && like.paths == nil && len(t.judge.routersOf(like.v4)) == 0 {
			continue // Its prefix goes.
		}
		since := like.since
		like.since = time.Time{}
		now := t.judge.decide(like)
		if like.since = t.since(was, now); !like.since.Equal(since) {
			moved[was] = like
			continue
		}
		if !since.IsZero() {
			now = t.judge.decide(was.alike)
		}
		if !now.equal(was) {
			d.exchanged[was] = now
		}
	}
	if len(d.exchanged)+len(moved) == 0 {
		return
	}
	for was, now := range d.exchanged {
		now.uses = was.uses
		t.outcomes[now.alike] = now
	}
	for was := range moved {
		delete(t.outcomes, was.alike)
		t.countHops(was, -1)
	}
	for was, like := range moved {
		now := t.outcome(like)
		now.uses += was.uses
		d.exchanged[was] = now
	}
	t.all = t.all.exchanged(d.exchanged, func(p netip.Prefix, _ *Outcome) { changed.prefixes = append(changed.prefixes, p) })
}

// admitAgain asks of each learned prefix anew what it is like.
func (t *Table) admitAgain() (edits []edit) {
	for d := range t.all.All() {
		if d.layer != learnedLayer {
			continue
		}
		like := t.judge.like(d.Prefix, d.alike.paths)
		if like.since = d.alike.since; like != d.alike {
			edits = append(edits, edit{d.Prefix, learnedLayer, t.after(d.Outcome, like)})
		}
	}
	return edits
}

// learnedEdits are what the news make of the decisions.
func (t *Table) learnedEdits() (edits []edit) {
	if len(t.news) == 0 && !t.whole {
		return nil
	}
	news := ordered(t.news)
	edits = make([]edit, 0, len(news))
	for _, e := range news {
		now := edit{e.Prefix, learnedLayer, nil}
		if e.Paths != nil && len(e.Paths.List) > 0 {
			like := t.judge.like(e.Prefix, e.Paths)
			if now.now = t.outcome(like); now.now.leaves() && t.judge.LeaveDelay > 0 {
				now.now = t.after(t.all.learned(e.Prefix), like)
			}
		}
		edits = append(edits, now)
	}
	if !t.whole {
		return edits
	}
	for d := range t.all.All() {
		for len(news) > 0 && comparePrefix(news[0].Prefix, d.Prefix) < 0 {
			news = news[1:]
		}
		if d.layer == learnedLayer && (len(news) == 0 || news[0].Prefix != d.Prefix) {
			edits = append(edits, edit{d.Prefix, learnedLayer, nil})
		}
	}
	return edits
}

// ordered are entries in order of prefixes, the last of each.
func ordered(news []rib.Entry) []rib.Entry {
	order := func(a, b rib.Entry) int { return comparePrefix(a.Prefix, b.Prefix) }
	done := true
	for i := 1; i < len(news) && done; i++ {
		done = order(news[i-1], news[i]) < 0
	}
	if done {
		return news
	}
	news = slices.Clone(news)
	slices.SortStableFunc(news, order)
	return lastOfEach(news, func(a, b rib.Entry) bool { return a.Prefix == b.Prefix })
}

// defaultEdits add what no edit says of the default routes: that one is to be decided
// where there are routers and nothing is learned, and none where there is neither.
func (t *Table) defaultEdits(edits []edit) (more []edit) {
	for _, p := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		now := t.all.learned(p)
		for _, e := range edits {
			if e.prefix == p && e.layer == learnedLayer {
				now = e.now
			}
		}
		routers := len(t.judge.routersOf(p.Addr().Is4())) > 0
		switch {
		case now == nil && routers:
			more = append(more, edit{p, learnedLayer, t.outcome(t.judge.like(p, nil))})
		case now != nil && now.alike.paths == nil && !routers:
			more = append(more, edit{p, learnedLayer, nil})
		}
	}
	return more
}

// lastOfEach keeps the last of those that are the same in an ordered list.
func lastOfEach[T any](list []T, same func(a, b T) bool) []T {
	kept := list[:0]
	for i, e := range list {
		if i+1 == len(list) || !same(e, list[i+1]) {
			kept = append(kept, e)
		}
	}
	return kept
}

// outcome is that of all prefixes which are alike.
func (t *Table) outcome(like alike) *Outcome {
	o := t.outcomes[like]
	if o == nil {
		o = t.judge.decide(like)
		t.outcomes[like] = o
		t.countHops(o, 1)
		t.unused = append(t.unused, o)
	}
	return o
}

func (t *Table) countHops(o *Outcome, by int) {
	if o.alike.paths == nil {
		return
	}
	for _, p := range o.alike.paths.List {
		if t.hops[p.NextHop] += by; t.hops[p.NextHop] == 0 {
			delete(t.hops, p.NextHop)
		}
	}
}

// changes are the prefixes that a plan decides otherwise.
type changes struct {
	table    *Table
	prefixes []netip.Prefix
	most     int // more of them are not of interest
}

func (c *changes) note(p netip.Prefix, was, now *Outcome) {
	if len(c.prefixes) <= c.most {
		c.prefixes = append(c.prefixes, p)
	}
	if was != nil {
		c.table.countPeers(was, -1)
		if was.uses--; was.uses == 0 {
			c.table.unused = append(c.table.unused, was)
		}
	}
	if now != nil {
		c.table.countPeers(now, 1)
		now.uses++
	}
}

// forget drops the outcomes that no prefix has any more.
func (t *Table) forget() {
	for _, o := range t.unused {
		if o.layer == learnedLayer && o.uses == 0 && t.outcomes[o.alike] == o {
			delete(t.outcomes, o.alike)
			t.countHops(o, -1)
		}
	}
	t.unused = nil
}

// decisions are what counts of the changed prefixes now.
func (c *changes) decisions() []Decision {
	slices.SortFunc(c.prefixes, comparePrefix)
	c.prefixes = slices.Compact(c.prefixes)
	all := make([]Decision, 0, len(c.prefixes))
	for _, p := range c.prefixes {
		all = append(all, c.table.all.routed(p))
	}
	return all
}

// ownEdits are what has changed of this gateway's own prefixes.
func (t *Table) ownEdits() (edits []edit) {
	own, was := t.ownDecisions(), t.own
	t.own = own
	key := func(d Decision) edit { return edit{d.Prefix, d.layer, d.Outcome} }
	for len(own) > 0 || len(was) > 0 {
		order := 0
		switch {
		case len(was) == 0:
			order = -1
		case len(own) == 0:
			order = 1
		default:
			order = compareEdits(key(own[0]), key(was[0]))
		}
		switch {
		case order < 0:
			edits, own = append(edits, key(own[0])), own[1:]
		case order > 0:
			edits, was = append(edits, edit{was[0].Prefix, was[0].layer, nil}), was[1:]
		default:
			if own[0].Outcome != was[0].Outcome {
				edits = append(edits, key(own[0]))
			}
			own, was = own[1:], was[1:]
		}
	}
	return edits
}

// ownDecisions are those for this gateway's own prefixes, in order. What was decided
// before is taken again.
func (t *Table) ownDecisions() []Decision {
	f := &t.judge.Facts
	before := make(map[edit]*Outcome, len(t.own))
	for _, d := range t.own {
		before[edit{d.Prefix, d.layer, nil}] = d.Outcome
	}
	own := make([]Decision, 0, len(f.Pods)+len(f.Blocks)+len(f.Announced)+len(f.Statics))
	add := func(p netip.Prefix, o Outcome) {
		if old := before[edit{p, o.layer, nil}]; old != nil && old.equal(&o) {
			own = append(own, Decision{p, old})
			return
		}
		own = append(own, Decision{p, &o})
	}
	podAt := make(map[netip.Prefix]bool, len(f.Pods))
	for _, p := range f.Pods {
		prefix := netip.PrefixFrom(p.Address, p.Address.BitLen())
		podAt[prefix] = true
		add(prefix, Outcome{
			Route:  &Route{Kind: Pod, Way: Way{Link: p.Link}, index: p.Index},
			Reason: "pod " + p.Name + " of this gateway", layer: podLayer,
		})
	}
	drop := func(prefixes []netip.Prefix, reason string, at layer) {
		for _, p := range prefixes {
			if !podAt[p] { // A block of one address must not hide its own pod (calico #2624).
				add(p, Outcome{Route: &Route{Kind: Blackhole}, Reason: reason, layer: at})
			}
		}
	}
	drop(f.Blocks, "own block: what no pod uses is dropped, not sent back to the fabric", blockLayer)
	drop(f.Announced, "announced: what of it has no route of its own is dropped, not sent back to the fabric", announcedLayer)
	for _, s := range f.Statics {
		o := Outcome{Reason: "no route: " + s.Why, layer: staticLayer}
		switch way := (Way{NextHop: s.Router, Link: s.Uplink}); {
		case s.Why != "":
		case s.Router.IsValid():
			o.Route, o.Reason = &Route{Kind: Native, Way: way}, "what DHCP gave to "+s.Uplink+" names the router for it"
		default:
			o.Route, o.Reason = &Route{Kind: OnLink, Way: way}, "on the link of "+s.Uplink+", though in no subnet of its"
		}
		add(s.Prefix, o)
	}
	same := func(a, b Decision) bool { return a.Prefix == b.Prefix && a.layer == b.layer }
	slices.SortStableFunc(own, func(a, b Decision) int {
		return compareEdits(edit{a.Prefix, a.layer, nil}, edit{b.Prefix, b.layer, nil})
	})
	return lastOfEach(own, same)
}
