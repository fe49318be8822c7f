package route

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/rib"
)

// A prefix that goes by a tunnel leaves it for a ToR's way that has stood for the delay,
// and for nothing else does it wait.
func TestLeaveDelay(t *testing.T) {
	const delay = time.Second
	prefix, begin := pfx("10.64.3.0/26"), time.Date(2026, 11, 29, 3, 40, 0, 0, time.UTC)
	paths := func(peers ...string) *rib.Paths {
		p := &rib.Paths{Rule: rib.ByPool}
		for rank, peer := range peers {
			hop := map[string]string{"tor1": "10.0.1.1", "tor2": "10.0.1.2", "gw-c": "10.0.2.13"}[peer]
			p.List = append(p.List, rib.Path{NextHop: ip(hop), Peer: peer, Rank: rank})
		}
		return p
	}
	tunnel, fabric, two := paths("gw-c"), paths("tor1", "gw-c"), paths("tor2", "tor1", "gw-c")
	type step struct {
		at    time.Duration
		learn *rib.Paths
		facts func(f *Facts)
		want  string // the kind, its next hop, and when to plan again
	}
	const native1, ipip = "native 10.0.1.1", "ipip 10.0.2.13"
	down := func(peer, address string) func(*Facts) {
		return func(f *Facts) { f.Down = lost(peer, address) }
	}
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"in at once, out when the way has stood", []step{
			{0, fabric, nil, native1},
			{1, tunnel, nil, ipip},
			{2, fabric, nil, ipip + " 1.000000002s"},
			{delay + 1, nil, nil, ipip + " 1.000000002s"},
			{delay + 2, nil, nil, native1},
			{delay + 3, tunnel, nil, ipip},
		}},
		{"a break begins the wait anew", []step{
			{0, tunnel, nil, ipip},
			{1, fabric, nil, ipip + " 1.000000001s"},
			{2, tunnel, nil, ipip + " 1.000000001s"},
			{3, fabric, nil, ipip + " 1.000000001s"}, // That was when to look.
			{delay + 1, nil, nil, ipip + " 1.000000003s"},
			{delay + 3, nil, nil, native1},
		}},
		{"another ToR's way has to stand, too", []step{
			{0, tunnel, nil, ipip},
			{1, fabric, nil, ipip + " 1.000000001s"},
			{delay, two, nil, ipip + " 1.000000001s"},
			{delay + 1, nil, nil, ipip + " 2s"},
			{delay + 2, fabric, nil, ipip + " 2s"},
			{2 * delay, nil, nil, native1},
		}},
		{"a tunnel whose end is lost is left at once, for good", []step{
			{0, tunnel, nil, ipip},
			{1, fabric, nil, ipip + " 1.000000001s"},
			{2, nil, down("gw-c", "10.0.2.13"), native1},
			{3, nil, func(f *Facts) { f.Down = nil }, native1},
		}},
		{"a tunnel whose path goes is left at once", []step{
			{0, tunnel, nil, ipip},
			{1, paths("tor1"), nil, native1},
		}},
		{"a ToR that was lost has to stand again", []step{
			{0, fabric, nil, native1},
			{1, nil, down("tor1", "10.0.1.1"), ipip},
			{2, nil, func(f *Facts) { f.Down = nil }, ipip + " 1.000000002s"},
			{delay + 2, nil, nil, native1},
		}},
		{"a gateway that comes onto the subnet is no matter of the fabric", []step{
			{0, tunnel, nil, ipip},
			{1, nil, func(f *Facts) { f.Hops[ip("10.0.2.13")] = Hop{Connected: true, Link: "uplink0"} }, "native 10.0.2.13"},
		}},
		{"another mode, while the way stands", []step{
			{0, fabric, func(f *Facts) { f.Pools = []Pool{{pfx("10.64.0.0/16"), Always}} }, ipip},
			{1, nil, func(f *Facts) { f.Pools = []Pool{{pfx("10.64.0.0/16"), CrossSubnet}} }, native1},
		}},
		{"no delay", []step{
			{0, tunnel, func(f *Facts) { f.LeaveDelay = 0 }, ipip},
			{1, fabric, nil, native1},
		}},
		{"the delay is taken back, and made longer", []step{
			{0, tunnel, nil, ipip},
			{1, fabric, nil, ipip + " 1.000000001s"},
			{2, nil, func(f *Facts) { f.LeaveDelay = 2 * delay }, ipip + " 2.000000001s"},
			{3, nil, func(f *Facts) { f.LeaveDelay = 0 }, native1},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			table := NewTable()
			for _, s := range test.steps {
				if s.learn != nil {
					table.Learn(rib.Update{Entries: []rib.Entry{{Prefix: prefix, Paths: s.learn}}})
				}
				f := lab().Facts // Anew: a table keeps its own.
				f.LeaveDelay, f.Hops[ip("10.0.1.2")] = delay, f.Hops[ip("10.0.1.1")]
				if old := table.judge.Facts; old.Hops != nil {
					f.Pools, f.Down, f.LeaveDelay = old.Pools, old.Down, old.LeaveDelay
				}
				if s.facts != nil {
					s.facts(&f)
				}
				f.Now = begin.Add(s.at)
				table.Plan(f)
				d := table.Decisions().routed(prefix)
				got := string(d.Route.Kind) + " " + d.Route.NextHop.String()
				if due := table.Due(); !due.IsZero() {
					got += " " + due.Sub(begin).String()
				}
				if got != s.want {
					t.Errorf("at %s: %s, want %s\n%s", s.at, got, s.want, explained(table.Decisions()))
				}
			}
		})
	}
}

// What a person is told of a prefix that waits.
func TestLeaveDelayIsExplained(t *testing.T) {
	table, f := NewTable(), lab().Facts
	f.LeaveDelay, f.Now = time.Second, time.Date(2026, 11, 29, 3, 40, 0, 250e6, time.UTC)
	gateway := rib.Path{NextHop: ip("10.0.2.13"), Peer: "gw-c", Rank: 1}
	for _, list := range [][]rib.Path{{gateway}, {{NextHop: ip("10.0.1.1"), Peer: "tor1"}, gateway}} {
		table.Learn(rib.Update{Entries: []rib.Entry{{Prefix: pfx("10.64.3.0/26"), Paths: &rib.Paths{Rule: rib.ByPool, List: list}}}})
		table.Plan(f)
	}
	var waits strings.Builder
	d := table.Decisions().routed(pfx("10.64.3.0/26"))
	waits.WriteString(string(d.Route.Kind) + ": " + d.Reason + "\n")
	for _, c := range d.Candidates {
		waits.WriteString(string(c.Kind) + ": " + c.Reason + "\n")
	}
	const want = `ipip: in the tunnel until a ToR's way has stood for 1s: tor1 routes it since 03:40:00.250Z
native: tor1 routes it since 03:40:00.250Z: taken when that has stood for 1s
ipip: in the tunnel until a ToR's way has stood for 1s: tor1 routes it since 03:40:00.250Z
`
	if diff := cmp.Diff(want, waits.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// 10,000 prefixes of one kind begin to wait by what was learned of each, and leave their
// tunnel as one: one move of their group.
func TestLeaveTogether(t *testing.T) {
	const n = 10_000
	table, f := many(n)
	f.LeaveDelay, f.Now = time.Second, time.Date(2026, 11, 29, 3, 40, 0, 0, time.UTC)
	k := newFIB()
	fib := NewFIB(k)
	apply := func() Result {
		res, err := fib.Apply(table.Plan(f), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	apply()
	f.Down = lost("tor1", "10.0.1.1")
	if res := apply(); res.Moved != n {
		t.Errorf("into the tunnel: %+v", res)
	}
	f.Down = nil
	if res := apply(); res.Changed() {
		t.Errorf("tor1 is back: %+v", res)
	}
	f.Now = table.Due()
	if res := apply(); res.Moved != n || res.Replaced+res.Added > 0 {
		t.Errorf("out of the tunnel: %+v", res)
	}
}

// wait has the prefixes of a fresh table wait that are in their tunnel and have to stay:
// by what was last planned for each, one by one.
func (w *world) wait(fresh *Table) {
	var edits []edit
	stood := map[netip.Prefix]*Outcome{}
	for p, paths := range w.learned {
		like := fresh.judge.like(p, paths)
		now := fresh.judge.decide(like)
		if was := w.stood[p]; was != nil {
			// Facts first, and then what is learned.
			old := was.alike
			old.since = time.Time{}
			was = w.waiting(&fresh.judge, was, fresh.judge.decide(old))
			now = w.waiting(&fresh.judge, was, now)
		}
		if stood[p] = now; !now.alike.since.IsZero() {
			edits = append(edits, edit{p, learnedLayer, fresh.outcome(now.alike)})
			w.waits++
		}
	}
	w.stood = stood
	slices.SortFunc(edits, compareEdits)
	fresh.all = fresh.all.edited(edits, (&changes{table: fresh}).note)
	fresh.forget()
}

// waiting is what a prefix gets that had one outcome, and without a delay would have another.
func (w *world) waiting(j *judge, was, now *Outcome) *Outcome {
	ways := func(o *Outcome, class int) (ways []string) {
		for _, c := range o.Candidates {
			if c.class == class && c.Kind != "" {
				ways = append(ways, c.Peer+" "+c.NextHop.String())
			}
		}
		return ways
	}
	new := ways(now, byToR)
	native := now.Route != nil && now.Route.Kind == Native && len(ways(now, direct)) == 0 && len(new) > 0
	if was.Route == nil || !was.Route.Kind.tunnelled() || len(ways(was, byToR)) > 0 || !native || len(ways(now, byTunnel)) == 0 {
		return now
	}
	since := was.alike.since
	for _, way := range new {
		if !slices.Contains(ways(was, byYoungToR), way) {
			since = w.facts.Now
		}
	}
	if w.facts.Now.Sub(since) >= w.facts.LeaveDelay {
		return now
	}
	like := now.alike
	like.since = since
	return j.decide(like)
}
