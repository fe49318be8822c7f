package route

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/rib"
	"netd/netd/internal/rtnl"
)

// world is one in which things happen, at random.
type world struct {
	*rand.Rand
	facts   Facts
	learned map[netip.Prefix]*rib.Paths
	stood   map[netip.Prefix]*Outcome // of learned prefixes, with the last plan
	waits   int                       // how many prefixes waited in their tunnel, over all plans
	told    []*rib.Paths              // that prefixes may have
	table   *Table
	kernel  *fakeFIB
	fib     *FIB
	opts    Options
}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 0)), facts: lab6().Facts, learned: map[netip.Prefix]*rib.Paths{}, stood: map[netip.Prefix]*Outcome{}, table: NewTable(), kernel: newFIB()}
	w.kernel.links = append(w.kernel.links, rtnl.Link{Index: 5, Name: "uplink1", Up: true, Carrier: true},
		rtnl.Link{Index: 6, Name: "netd-ip6tnl0", Up: true, Carrier: true}, rtnl.Link{Index: 7, Name: "netd-s0a00020e", Up: true, Carrier: true},
		rtnl.Link{Index: 8, Name: "netd-s0a00010c", Up: true, Carrier: true})
	w.fib = NewFIB(w.kernel)
	w.facts.Hops[ip("10.0.1.2")] = Hop{Connected: true, Link: "uplink0"}
	w.facts.Hops[ip("10.0.5.1")] = Hop{Connected: true, Link: "uplink1"}
	w.facts.Ranges = []Range{{"racks", pfx("10.0.5.0/24")}}
	hops := []string{"10.0.1.1", "10.0.1.2", "10.0.1.12", "10.0.2.13", "10.0.2.14", "10.0.5.1", "fe80::1%uplink0", "2001:db8:2::13"}
	for range 24 {
		p := &rib.Paths{Rule: []rib.Rule{rib.ByPool, rib.ByFilter}[w.IntN(5)/4]}
		for _, i := range w.Perm(len(hops))[:1+w.IntN(3)] {
			p.List = append(p.List, rib.Path{NextHop: ip(hops[i]), Peer: []string{"tor1", "gw-c", hops[i]}[w.IntN(3)], Rank: w.IntN(2), ASPath: []uint32{65001}[:w.IntN(2)]})
		}
		w.told = append(w.told, p)
	}
	for rank := range 8 { // A gateway's in another subnet, which ToRs offer or not.
		gateway := rib.Path{NextHop: ip("10.0.2.13"), Peer: "gw-c", Rank: 2}
		w.told = append(w.told, &rib.Paths{Rule: rib.ByPool, List: [][]rib.Path{
			{gateway},
			{{NextHop: ip("10.0.1.1"), Peer: "tor1", Rank: rank % 3}, gateway},
			{{NextHop: ip("10.0.1.1"), Peer: "tor1"}, {NextHop: ip("10.0.1.2"), Peer: "tor2", Rank: rank % 3}, gateway},
		}[rank%3]})
	}
	return w
}

// prefix is a random one: most are a pool's.
func (w *world) prefix() netip.Prefix {
	switch n := w.IntN(40); n {
	case 0:
		return pfx("0.0.0.0/0")
	case 1:
		return pfx("::/0")
	case 2:
		return pfx("10.64.1.4/32") // a pod's
	case 3, 4, 5, 6, 7, 8, 9:
		return pfx(fmt.Sprintf("2001:db8:64:%x::/64", w.IntN(20)))
	case 10:
		return pfx(fmt.Sprintf("192.0.2.%d/32", w.IntN(4)))
	default:
		return pfx(fmt.Sprintf("10.64.%d.0/26", w.IntN(60)))
	}
}

// learn has peers tell something.
func (w *world) learn() {
	u := rib.Update{Whole: w.IntN(5) == 0}
	if u.Whole {
		for p := range w.learned {
			if w.IntN(10) == 0 {
				delete(w.learned, p)
			}
		}
	}
	for range w.IntN(12) {
		e := rib.Entry{Prefix: w.prefix(), Paths: w.told[w.IntN(len(w.told))]}
		if w.IntN(4) == 0 {
			e.Paths = nil
		}
		if u.Entries = append(u.Entries, e); e.Paths == nil {
			delete(w.learned, e.Prefix)
		} else {
			w.learned[e.Prefix] = e.Paths
		}
	}
	if u.Whole {
		u = w.all()
	}
	w.table.Learn(u)
}

func (w *world) all() rib.Update {
	u := rib.Update{Whole: true}
	for p, paths := range w.learned {
		u.Entries = append(u.Entries, rib.Entry{Prefix: p, Paths: paths})
	}
	return u
}

// happen changes facts; what the last plan looked at stays as it was.
func (w *world) happen() {
	f := &w.facts
	switch w.IntN(10) {
	case 0:
		f.Down = nil
		if w.IntN(2) == 0 {
			f.Down = lost([]string{"tor1", "gw-c"}[w.IntN(2)], []string{"10.0.1.1", "10.0.2.13"}[w.IntN(2)])
			f.Down[0].Since = f.Down[0].Since.Add(time.Duration(w.IntN(3)) * time.Second)
		}
	case 1:
		hops := maps.Clone(f.Hops)
		hops[ip("10.0.1.2")] = []Hop{{Connected: true, Link: "uplink0"}, {Dark: "uplink0"}, {Error: "unreachable"}}[w.IntN(3)]
		f.Hops = hops
	case 2:
		f.Blocks = []netip.Prefix{pfx("10.64.1.0/26"), pfx("2001:db8:64:1::/64"), pfx("10.64.7.0/26")}[:1+w.IntN(3)]
	case 3:
		f.Announced = []netip.Prefix{pfx("10.64.9.0/26"), pfx("10.64.1.0/26")}[:w.IntN(3)]
	case 4:
		f.Routers = []Router{{"uplink0", ip("10.0.1.1")}, {"uplink1", ip("10.0.5.1")}, {"uplink0", ip("fe80::1%uplink0")}}[:w.IntN(4)]
	case 5:
		f.Source = []netip.Addr{ip("10.0.1.11"), ip("10.0.1.21")}[w.IntN(2)]
	case 6:
		f.Pools = slices.Clone(f.Pools)
		f.Pools[0].Encapsulation = Encapsulation(w.IntN(3))
	case 7:
		f.Peers = []netip.Addr{ip("10.0.1.1"), ip("10.0.2.13"), ip("10.0.5.1")}[:w.IntN(4)]
	case 8:
		f.Ranges = []Range{{"racks", pfx("10.0.5.0/24")}}[:w.IntN(2)]
	case 9:
		f.LeaveDelay = time.Duration(w.IntN(3)) * time.Second
	}
	if w.IntN(2) == 0 {
		f.Pods = nil
		for i := range w.IntN(4) {
			f.Pods = append(f.Pods, LocalPod{Name: fmt.Sprint("web-", i), Address: ip(fmt.Sprintf("10.64.1.%d", 3+i)), Link: "pod1"})
		}
	}
}

// meddle is what others do to the kernel.
func (w *world) meddle() {
	switch k := w.kernel; w.IntN(6) {
	case 0:
		if len(k.routes) > 0 {
			k.drop(k.routes[w.IntN(len(k.routes))])
			w.fib.Distrust()
		}
	case 1: // The uplink loses its carrier, for a moment: next hops and their routes go.
		k.loseLink(5)
		w.fib.LinksChanged(5)
	case 2: // So does a pod's.
		k.loseLink(4)
		w.fib.LinksChanged(4)
	case 3:
		w.fib.LinksChanged()
	}
}

// loseLink does what the kernel does when a link goes down.
func (k *fakeFIB) loseLink(link int) {
	gone := map[uint32]bool{}
	for id, n := range k.hops {
		if n.Link == link {
			gone[id] = true
			delete(k.hops, id)
		}
	}
	for id, n := range k.hops {
		if len(n.Group) == 0 {
			continue
		}
		n.Group = slices.DeleteFunc(slices.Clone(n.Group), func(m uint32) bool { return gone[m] })
		if k.hops[id] = n; len(n.Group) == 0 {
			gone[id] = true
			delete(k.hops, id)
		}
	}
	k.routes = slices.DeleteFunc(k.routes, func(r rtnl.Route) bool { return r.Link == link || gone[r.NextHop] })
}

// explained is a plan with all that is said of it.
func explained(all *Decisions) string {
	var b strings.Builder
	for d := range all.All() {
		fmt.Fprintf(&b, "%s %s %v\n", d.Prefix, d.Reason, d.Route)
		for _, c := range d.Candidates {
			fmt.Fprintf(&b, "    %s via %s: %s chosen:%v %s\n", c.Peer, c.NextHop, c.Kind, c.Chosen, c.Reason)
		}
	}
	return b.String()
}

// check compares what the table has come to with one that plans all of it at once.
func (w *world) check(t *testing.T) {
	t.Helper()
	fresh := NewTable()
	fresh.Learn(w.all())
	fresh.Plan(w.facts)
	w.wait(fresh)
	if diff := cmp.Diff(explained(fresh.Decisions()), explained(w.table.Decisions())); diff != "" {
		t.Fatalf("plan (-at once +by deltas):\n%s", diff)
	}
	if a, b := fresh.Decisions(), w.table.Decisions(); a.Len() != b.Len() || !cmp.Equal(a.Kinds(), b.Kinds()) {
		t.Fatalf("%d decisions %v, want %d %v", b.Len(), b.Kinds(), a.Len(), a.Kinds())
	}
	accepted := map[string]Count{}
	for p, paths := range w.learned {
		for _, path := range paths.List {
			n := accepted[path.Peer]
			if p.Addr().Is4() {
				n.IPv4++
			} else {
				n.IPv6++
			}
			accepted[path.Peer] = n
		}
	}
	if diff := cmp.Diff(accepted, w.table.Accepted()); diff != "" {
		t.Fatalf("accepted (-want +got):\n%s", diff)
	}
	if len(fresh.outcomes) != len(w.table.outcomes) || !cmp.Equal(fresh.hops, w.table.hops, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Fatalf("%d outcomes, %d next hops, want %d and %d", len(w.table.outcomes), len(w.table.hops), len(fresh.outcomes), len(fresh.hops))
	}
}

// Whatever happens, the table comes to what one would that plans all at once, and the
// kernel to what an agent would make of it that has just started; each time no prefix
// leads anywhere but where the old plan or the new one says, and the second time nothing
// is done.
func TestDeltas(t *testing.T) {
	waits := 0
	for seed := range uint64(60) {
		w := newWorld(seed)
		w.facts.LeaveDelay, w.facts.Now = 2*time.Second, time.Date(2026, 11, 29, 3, 40, 0, 0, time.UTC)
		for range 25 {
			for range w.IntN(3) {
				w.learn()
			}
			if w.IntN(2) == 0 {
				w.happen()
			}
			w.meddle()
			if w.opts = (Options{Hold: w.IntN(4) == 0}); w.opts.Hold && w.IntN(2) == 0 {
				w.opts.Lost = []netip.Addr{ip("10.0.1.1")}
			}
			w.facts.Now = w.facts.Now.Add(time.Duration(w.IntN(4)) * 500 * time.Millisecond)
			last := w.table.Decisions()
			text := explained(last)
			d := w.table.Plan(w.facts)
			w.check(t)
			if diff := cmp.Diff(text, explained(last)); diff != "" {
				t.Fatalf("the decisions of before were changed:\n%s", diff)
			}
			if w.apply(t, d); t.Failed() {
				t.Fatalf("seed %d\n%s", seed, strings.Join(w.kernel.log, "\n"))
			}
			w.quiet(t)
		}
		waits += w.waits
	}
	if t.Logf("%d prefixes waited in their tunnel", waits); waits < 100 {
		t.Error("too few for a test")
	}
}

// apply applies a delta to the kernel, and the whole plan to a copy of it.
func (w *world) apply(t *testing.T, d Delta) {
	t.Helper()
	before, fresh := w.kernel.leads(), &fakeFIB{routes: slices.Clone(w.kernel.routes), hops: maps.Clone(w.kernel.hops), links: w.kernel.links}
	res, err := Apply(fresh, w.table.Decisions(), w.opts)
	if err != nil {
		t.Fatal(err)
	}
	want := fresh.leads()
	w.kernel.log = nil
	w.kernel.changed = func() {
		for p, way := range w.kernel.leads() {
			// A prefix that is to be removed may follow its next hop until then.
			if now, planned := want[p]; planned && way != now && way != before[p] {
				t.Errorf("%s leads to %q, was %q, planned %q", p, way, before[p], now)
			}
		}
	}
	got, err := w.fib.Apply(d, w.opts)
	if w.kernel.changed = nil; err != nil || got.Held != res.Held {
		t.Errorf("by delta %+v, %v, at once %+v", got, err, res)
	}
	if diff := cmp.Diff(want, w.kernel.leads(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-at once +by deltas):\n%s", diff)
	}
}

// quiet checks that what is done stays done, without a look at the kernel; and that the
// mirror is what one would be that is filled from the kernel.
func (w *world) quiet(t *testing.T) {
	t.Helper()
	w.kernel.log, w.kernel.dumps, w.kernel.read = nil, 0, 0
	d := w.table.Plan(w.facts)
	if res, err := w.fib.Apply(d, w.opts); !d.Empty() || err != nil || res != (Result{Held: res.Held}) || w.kernel.log != nil || w.kernel.dumps+w.kernel.read > 0 {
		t.Fatalf("again: empty: %v, %+v, %v, %d dumps, %d looks\n%s", d.Empty(), res, err, w.kernel.dumps, w.kernel.read, strings.Join(w.kernel.log, "\n"))
	}
	if len(w.kernel.routes) != w.fib.mirror.len() {
		t.Fatalf("%d routes remembered, the kernel has %d", w.fib.mirror.len(), len(w.kernel.routes))
	}
	for _, r := range w.kernel.routes {
		p := r.Prefix
		r.Prefix = netip.Prefix{}
		if slot := w.fib.mirror.slots[w.fib.mirror.at(p)]; slot.route != r {
			t.Fatalf("%s is remembered as %s, and is %s", p, slot.route, r)
		}
	}
	if !w.fib.objects.same(readObjects(slices.Collect(maps.Values(w.kernel.hops)))) {
		t.Fatalf("next hops are remembered as %v, and are %v", w.fib.objects.all, w.kernel.hops)
	}
}

// many is a table of n prefixes by tor1, of which each gateway's have its tunnel, too.
func many(n int) (*Table, Facts) {
	f := lab().Facts
	f.Gateways[ip("10.0.2.14")], f.Hops[ip("10.0.2.14")] = "gw-d", f.Hops[ip("10.0.2.13")]
	f.Pools[0].Prefix = pfx("10.0.0.0/8")
	kinds := []*rib.Paths{}
	for _, gateway := range []string{"10.0.2.13", "10.0.2.14"} {
		kinds = append(kinds, &rib.Paths{Rule: rib.ByPool, List: []rib.Path{{NextHop: ip("10.0.1.1"), Peer: "tor1", ASPath: []uint32{65001}}, {NextHop: ip(gateway), Peer: f.Gateways[ip(gateway)], Rank: 1}}})
	}
	u := rib.Update{Whole: true}
	for i := range n {
		u.Entries = append(u.Entries, rib.Entry{Prefix: nth(i), Paths: kinds[i%2]})
	}
	t := NewTable()
	t.Learn(u)
	return t, f
}

func nth(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(128 + i>>16), byte(i >> 8), byte(i)}), 32)
}

// With 10,000 prefixes: what one pod, one prefix, one ToR costs the kernel.
func TestWhatChangesCost(t *testing.T) {
	const n = 10_000
	table, f := many(n)
	k := newFIB()
	fib := NewFIB(k)
	for _, step := range []struct {
		what string
		do   func()
		want Result
		log  []string
		read int
	}{
		{"the first time", func() {}, Result{Added: n + 1, NextHops: 3}, nil, 3},
		{
			"a pod", func() { f.Pods = []LocalPod{{Name: "web-0", Address: ip("10.64.1.3"), Link: "pod1"}} },
			Result{Added: 1},
			[]string{"replace route 10.64.1.3/32 dev #4"},
			1,
		},
		{
			"its link made anew", func() {
				k.links[2].Index = 9
				f.Pods = []LocalPod{{Name: "web-0", Address: ip("10.64.1.3"), Link: "pod1", Index: 9}}
			},
			Result{Replaced: 1},
			[]string{"replace route 10.64.1.3/32 dev #9"},
			0,
		},
		{
			"a prefix of a kind that is there", func() {
				table.Learn(rib.Update{Entries: []rib.Entry{{Prefix: nth(n), Paths: table.all.learned(nth(0)).alike.paths}}})
			},
			Result{Added: 1},
			[]string{"replace route 10.128.39.16/32 nhid 120002"},
			0,
		},
		{"the ToR is lost", func() { f.Down = lost("tor1", "10.0.1.1") }, Result{Moved: n + 1, NextHops: 5}, []string{
			"add next hop id 120004 via 10.0.2.13 dev #3 onlink", "add next hop id 120005 via 10.0.2.14 dev #3 onlink",
			"replace next hop id 120002 group 120004", "replace next hop id 120003 group 120005", "delete next hop id 120001 via 10.0.1.1 dev #2",
		}, 0},
		{
			"a prefix moves on", func() {
				table.Learn(rib.Update{Entries: []rib.Entry{{Prefix: nth(0), Paths: table.all.learned(nth(1)).alike.paths}}})
			},
			Result{Replaced: 1},
			[]string{"replace route 10.128.0.0/32 nhid 120003"},
			0,
		},
		{"links change", func() { fib.LinksChanged() }, Result{}, nil, 2},
		{
			"two prefixes go", func() { table.Learn(rib.Update{Entries: []rib.Entry{{Prefix: nth(5)}, {Prefix: nth(6)}}}) },
			Result{Deleted: 2},
			[]string{"delete route 10.128.0.5/32 nhid 120003", "delete route 10.128.0.6/32 nhid 120002"},
			0,
		},
	} {
		step.do()
		k.log, k.dumps, k.read = nil, 0, 0
		res, err := fib.Apply(table.Plan(f), Options{})
		if err != nil || res != step.want || k.dumps+k.read != step.read {
			t.Errorf("%s: %+v, %v, %d looks, want %+v and %d", step.what, res, err, k.dumps+k.read, step.want, step.read)
		}
		if diff := cmp.Diff(step.log, k.log); step.what != "the first time" && diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.what, diff)
		}
	}
}

// What the kernel refuses once is there the next time, as is what others took away.
func TestDistrust(t *testing.T) {
	table, f := many(100)
	k := newFIB()
	fib := NewFIB(k)
	k.refused = nth(7)
	if res, err := fib.Apply(table.Plan(f), Options{}); err == nil || res.Refused != 1 {
		t.Errorf("%+v, %v, want one refused", res, err)
	}
	k.refused = netip.Prefix{}
	if res, err := fib.Apply(table.Plan(f), Options{}); err != nil || res != (Result{Added: 1}) {
		t.Errorf("after a refusal: %+v, %v, want it added", res, err)
	}
	k.drop(rtnl.Route{Prefix: nth(8), Metric: Metric})
	if res, err := fib.Apply(table.Plan(f), Options{}); err != nil || res != (Result{}) {
		t.Errorf("nobody said anything: %+v, %v", res, err)
	}
	fib.Distrust()
	if res, err := fib.Apply(table.Plan(f), Options{}); err != nil || res != (Result{Added: 1}) {
		t.Errorf("distrusted: %+v, %v, want one added", res, err)
	}
	f.Pods = []LocalPod{{Name: "web-0", Address: ip("10.64.1.3"), Link: "pod2"}}
	if _, err := fib.Apply(table.Plan(f), Options{}); err == nil || fib.Has(pfx("10.64.1.3/32")) {
		t.Errorf("a pod without its link: %v", err)
	}
	k.links = append(k.links, rtnl.Link{Index: 17, Name: "pod2", Up: true, Carrier: true})
	if res, err := fib.Apply(table.Plan(f), Options{}); err != nil || res != (Result{Added: 1}) || !fib.Has(pfx("10.64.1.3/32")) {
		t.Errorf("once it is there: %+v, %v", res, err)
	}
	table.Plan(Facts{}) // A plan that is not applied.
	if res, err := fib.Apply(table.Plan(f), Options{}); err != nil || res != (Result{}) {
		t.Errorf("a plan was missed: %+v, %v", res, err)
	}
}

// Decisions by their parts, against a list.
func TestDecisions(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 0))
	kinds := []*Outcome{{layer: learnedLayer}, {layer: learnedLayer, Route: &Route{Kind: Native}}, {layer: learnedLayer, Route: &Route{Kind: IPIP}}, nil}
	all, want := &Decisions{kinds: map[Kind]int{}}, map[netip.Prefix]*Outcome{}
	var snapshots []*Decisions
	var texts []string
	for round := range 60 {
		edits := map[netip.Prefix]*Outcome{}
		for range []int{1, 30, 4000}[rnd.IntN(3)] {
			edits[nth(rnd.IntN(6000))] = kinds[min(rnd.IntN(5+round/8), 3)]
		}
		var list []edit
		changed := 0
		for p, o := range edits {
			list = append(list, edit{p, learnedLayer, o})
			if want[p] != o {
				changed++
			}
			if want[p] = o; o == nil {
				delete(want, p)
			}
		}
		slices.SortFunc(list, compareEdits)
		all = all.edited(list, func(netip.Prefix, *Outcome, *Outcome) { changed-- })
		snapshots, texts = append(snapshots, all), append(texts, explained(all))
		got := map[netip.Prefix]*Outcome{}
		var last netip.Prefix
		for d := range all.All() {
			if got[d.Prefix] = d.Outcome; last.IsValid() && comparePrefix(last, d.Prefix) >= 0 {
				t.Fatalf("%s after %s", d.Prefix, last)
			}
			last = d.Prefix
		}
		if !maps.Equal(got, want) || all.Len() != len(want) || changed != 0 {
			t.Fatalf("round %d: %d decisions, Len %d, want %d; %d changes not told", round, len(got), all.Len(), len(want), changed)
		}
		for range 100 {
			p := nth(rnd.IntN(6000))
			if d := all.routed(p); d.Outcome != want[p] {
				t.Fatalf("%s: %v, want %v", p, d.Outcome, want[p])
			}
		}
	}
	for i, s := range snapshots {
		if explained(s) != texts[i] {
			t.Fatalf("snapshot %d was changed later", i)
		}
	}
}

// The next hops to look up: those of what is known and of what is new, and the routers'.
func TestNextHops(t *testing.T) {
	table, f := many(10)
	text := func(routers ...Router) string { return fmt.Sprint(table.NextHops(routers)) }
	if got, want := text(Router{"uplink0", ip("10.0.1.254")}), "[10.0.1.1 10.0.1.254 10.0.2.13 10.0.2.14]"; got != want {
		t.Errorf("before a plan: %s, want %s", got, want)
	}
	table.Plan(f)
	if got, want := text(), "[10.0.1.1 10.0.2.13 10.0.2.14]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	table.Learn(rib.Update{Whole: true, Entries: []rib.Entry{{Prefix: nth(1), Paths: table.all.learned(nth(1)).alike.paths}}})
	table.Plan(f)
	if got, want := text(), "[10.0.1.1 10.0.2.14]"; got != want {
		t.Errorf("after gw-c's prefixes are gone: %s, want %s", got, want)
	}
}
