package route

import (
	"fmt"
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
	told    []*rib.Paths // that prefixes may have
	table   *Table
	kernel  *fakeFIB
	fib     *FIB
	opts    Options
}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 0)), facts: lab6().Facts, learned: map[netip.Prefix]*rib.Paths{}, table: NewTable(), kernel: newFIB()}
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
	switch w.IntN(9) {
	case 0:
		f.Down = nil
		if w.IntN(2) == 0 {
			f.Down = lost([]string{"tor1", "gw-c"}[w.IntN(2)], []string{"10.0.1.1", "10.0.2.13"}[w.IntN(2)])
			f.Down[0].Since = f.Down[0].Since.Add(time.Duration(w.IntN(3)) * time.Second)
		}
	case 1:
		hops := map[netip.Addr]Hop{}
		for a, h := range f.Hops {
			hops[a] = h
		}
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
		f.Pools[0].Mode = Mode(w.IntN(3))
	case 7:
		f.Peers = []netip.Addr{ip("10.0.1.1"), ip("10.0.2.13"), ip("10.0.5.1")}[:w.IntN(4)]
	case 8:
		f.Ranges = []Range{{"racks", pfx("10.0.5.0/24")}}[:w.IntN(2)]
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
	if diff := cmp.Diff(explained(fresh.Decisions()), explained(w.table.Decisions())); diff != "" {
		t.Fatalf("plan (-at once +by deltas):\n%s", diff)
	}
	if a, b := fresh.Decisions(), w.table.Decisions(); a.Len() != b.Len() || !cmp.Equal(a.Kinds(), b.Kinds()) {
		t.Fatalf("%d decisions %v, want %d %v", b.Len(), b.Kinds(), a.Len(), a.Kinds())
	}
	if len(fresh.outcomes) != len(w.table.outcomes) || !cmp.Equal(fresh.hops, w.table.hops, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Fatalf("%d outcomes, %d next hops, want %d and %d", len(w.table.outcomes), len(w.table.hops), len(fresh.outcomes), len(fresh.hops))
	}
}

// Whatever happens, the table comes to what one would that plans all at once, and the
// kernel has what it would have had; each time no prefix leads anywhere but where the old
// plan or the new one says, and the second time nothing is done.
func TestDeltas(t *testing.T) {
	for seed := range uint64(60) {
		w := newWorld(seed)
		for range 25 {
			for range w.IntN(3) {
				w.learn()
			}
			if w.IntN(2) == 0 {
				w.happen()
			}
			w.meddle()
			before := w.kernel.leads()
			d := w.table.Plan(w.facts)
			w.check(t)
			fresh := newFIB()
			fresh.links = w.kernel.links
			if _, err := Apply(fresh, w.table.Decisions(), Options{}); err != nil {
				t.Fatal(err)
			}
			want := fresh.leads()
			w.kernel.log = nil
			w.kernel.changed = func() {
				for p, way := range w.kernel.leads() {
					if now, planned := want[p]; planned && way != now && way != before[p] {
						t.Fatalf("seed %d: %s leads to %q, was %q, planned %q\n%s", seed, p, way, before[p], now, strings.Join(w.kernel.log, "\n"))
					}
				}
			}
			if _, err := w.fib.Apply(d, Options{}); err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(w.kernel.log, "\n"))
			}
			w.kernel.changed = nil
			if diff := cmp.Diff(want, w.kernel.leads(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Fatalf("seed %d (-at once +by deltas):\n%s\n%s", seed, diff, strings.Join(w.kernel.log, "\n"))
			}
			w.quiet(t)
		}
	}
}

// quiet checks that what is done stays done, without a look at the kernel; and that the
// mirror is what one would be that is filled from the kernel.
func (w *world) quiet(t *testing.T) {
	t.Helper()
	w.kernel.log, w.kernel.dumps, w.kernel.read = nil, 0, 0
	d := w.table.Plan(w.facts)
	if res, err := w.fib.Apply(d, Options{}); !d.Empty() || err != nil || res != (Result{}) || w.kernel.log != nil || w.kernel.dumps+w.kernel.read > 0 {
		t.Fatalf("again: empty: %v, %+v, %v, %d dumps, %d looks\n%s", d.Empty(), res, err, w.kernel.dumps, w.kernel.read, strings.Join(w.kernel.log, "\n"))
	}
	routes, _ := w.kernel.Routes(Protocol)
	if len(routes) != w.fib.mirror.len() {
		t.Fatalf("%d routes remembered, the kernel has %d", w.fib.mirror.len(), len(routes))
	}
	for _, r := range routes {
		p := r.Prefix
		r.Prefix = netip.Prefix{}
		if slot := w.fib.mirror.slots[w.fib.mirror.at(p)]; slot.route != r {
			t.Fatalf("%s is remembered as %s, and is %s", p, slot.route, r)
		}
	}
	if !w.fib.objects.same(readObjects(slices.Collect(func(yield func(rtnl.NextHop) bool) {
		for _, n := range w.kernel.hops {
			if !yield(n) {
				return
			}
		}
	}))) {
		t.Fatalf("next hops are remembered as %v, and are %v", w.fib.objects.all, w.kernel.hops)
	}
}
