package route

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

// fakeFIB is a kernel of one table; net and vm tests use the real one.
type fakeFIB struct {
	routes  []rtnl.Route
	hops    map[uint32]rtnl.NextHop
	links   []rtnl.Link
	log     []string
	readErr error
	hopsErr error
	changed func() // called after each change, if not nil
	refused netip.Prefix
	dumps   int // lists that were read
	read    int // single things
}

func (k *fakeFIB) Links() ([]rtnl.Link, error) {
	k.dumps++
	return k.links, nil
}

func (k *fakeFIB) EachRoute(protocol int, begin func(), each func(rtnl.Route)) error {
	k.dumps++
	for range 2 { // The first time it is interrupted.
		begin()
		for _, r := range k.routes {
			if r.Protocol == protocol {
				each(r)
			}
		}
	}
	return k.readErr
}

func (k *fakeFIB) NextHops() ([]rtnl.NextHop, error) {
	k.dumps++
	return slices.SortedFunc(maps.Values(k.hops), func(a, b rtnl.NextHop) int { return int(a.ID) - int(b.ID) }), k.hopsErr
}

func (k *fakeFIB) MoveNextHops(changes []rtnl.Change) []error { return k.Write(changes) }

// Write is as strict as the kernel about next-hop objects.
func (k *fakeFIB) Write(changes []rtnl.Change) []error {
	errs := make([]error, len(changes))
	for i, c := range changes {
		if i > 0 && k.changed != nil {
			k.changed()
		}
		k.log = append(k.log, c.String())
		switch _, there := k.hops[hopID(c)]; {
		case c.Route != nil && c.Route.Prefix == k.refused:
			errs[i] = fmt.Errorf("%s: Invalid source address", c)
		case c.Route != nil:
			k.drop(*c.Route)
			if c.Do != rtnl.Delete {
				if _, known := k.hops[c.Route.NextHop]; !known && c.Route.NextHop != 0 {
					errs[i] = fmt.Errorf("%s: Nexthop id does not exist", c)
				}
				k.routes = append(k.routes, *c.Route)
			}
		case c.Do == rtnl.Delete:
			for _, r := range k.routes {
				if r.NextHop == c.NextHop.ID {
					errs[i] = fmt.Errorf("%s takes %s with it", c, r)
				}
			}
			delete(k.hops, c.NextHop.ID)
		case c.Do == rtnl.Add && there, c.Do == rtnl.Replace && !there:
			errs[i] = fmt.Errorf("%s: refused", c)
		case c.NextHop.Gateway == ip("203.0.113.1"):
			errs[i] = fmt.Errorf("%s: Nexthop has invalid gateway", c)
		default:
			k.hops[c.NextHop.ID] = *c.NextHop
		}
	}
	if k.changed != nil {
		k.changed()
	}
	return errs
}

// leads is where each prefix goes.
func (k *fakeFIB) leads() map[netip.Prefix]string {
	ways := map[netip.Prefix]string{}
	for _, r := range k.routes {
		way := fmt.Sprintf("blackhole:%v via %s dev %d", r.Blackhole, r.Gateway, r.Link)
		if r.NextHop != 0 {
			var members []string
			for _, id := range k.hops[r.NextHop].Group {
				members = append(members, fmt.Sprintf("via %s dev %d", k.hops[id].Gateway, k.hops[id].Link))
			}
			slices.Sort(members) // Numbers are in an order of their own.
			way = strings.Join(members, " ")
		}
		ways[r.Prefix] = way
	}
	return ways
}

func hopID(c rtnl.Change) uint32 {
	if c.NextHop == nil {
		return 0
	}
	return c.NextHop.ID
}

func (k *fakeFIB) drop(r rtnl.Route) {
	for i, old := range k.routes {
		if old.Prefix == r.Prefix && old.Metric == r.Metric {
			k.routes = append(k.routes[:i], k.routes[i+1:]...)
			return
		}
	}
}

func (k *fakeFIB) LinkByName(name string) (rtnl.Link, error) {
	k.read++
	for _, l := range k.links {
		if l.Name == name {
			return l, nil
		}
	}
	return rtnl.Link{}, fmt.Errorf("find link %s: no such device", name)
}

// Apply is that of an agent that has just started.
func Apply(k Kernel, plan *Decisions, o Options) (Result, error) {
	return NewFIB(k).Apply(All(plan), o)
}

func newFIB() *fakeFIB {
	return &fakeFIB{hops: map[uint32]rtnl.NextHop{}, links: []rtnl.Link{
		{Index: 2, Name: "uplink0", Up: true, Carrier: true}, {Index: 3, Name: "netd-ipip0", Up: true, Carrier: true}, {Index: 4, Name: "pod1", Up: true, Carrier: true},
	}}
}

func TestApplyTwice(t *testing.T) {
	f := lab()
	f.Pods = []LocalPod{{Name: "web-0", Address: ip("10.64.1.0"), Link: "pod1"}}
	f.Paths = []told{path("10.64.3.0/26", "10.0.2.13", "gw-c", 0)}
	fib := newFIB()
	alien := rtnl.Route{Prefix: pfx("192.0.2.0/24"), Link: 2, Protocol: 4}
	fib.routes = []rtnl.Route{alien}

	res, err := Apply(fib, Plan(f), Options{})
	if err != nil || res != (Result{Added: 3, NextHops: 2}) {
		t.Fatalf("first time: %+v, %v, want 3 added", res, err)
	}
	fib.log = nil
	res, err = Apply(fib, Plan(f), Options{})
	if err != nil || res.Changed() || fib.log != nil {
		t.Errorf("second time: %+v, %v, %q, want nothing done", res, err, fib.log)
	}

	// The ToR offers the prefix: the route moves, it is never absent.
	f.Paths = append(f.Paths, path("10.64.3.0/26", "10.0.1.1", "tor1", 1))
	fib.log = nil
	if _, err = Apply(fib, Plan(f), Options{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		"add next hop id 120003 via 10.0.1.1 dev #2", "replace next hop id 120002 group 120003", "delete next hop id 120001 via 10.0.2.13 dev #3 onlink",
	}, fib.log); diff != "" {
		t.Errorf("tunnel to native (-want +got):\n%s", diff)
	}

	f.Paths, f.Pods, f.Blocks = nil, nil, nil
	if res, err = Apply(fib, Plan(f), Options{}); err != nil || res.Deleted != 3 {
		t.Errorf("empty plan: %+v, %v, want 3 deleted", res, err)
	}
	if diff := cmp.Diff([]rtnl.Route{alien}, fib.routes, cmp.Comparer(func(a, b rtnl.Route) bool { return a == b })); diff != "" {
		t.Errorf("left in the kernel (-want +got):\n%s", diff)
	}
}

func TestApplyHold(t *testing.T) {
	f := lab()
	f.Paths = []told{path("10.64.3.0/26", "10.0.1.1", "tor1", 0), path("10.64.4.0/26", "10.0.1.1", "tor1", 0)}
	fib := newFIB()
	if _, err := Apply(fib, Plan(f), Options{}); err != nil {
		t.Fatal(err)
	}
	// After a restart only the gateway session is back: it knows one prefix by the tunnel.
	f.Paths = []told{path("10.64.3.0/26", "10.0.2.13", "gw-c", 0)}
	fib.log = nil
	res, err := Apply(fib, Plan(f), Options{Hold: true})
	if err != nil || res.Held != 2 || fib.log != nil {
		t.Errorf("held: %+v, %v, %q, want both routes left alone", res, err, fib.log)
	}
	// Without carrier there is nothing to hold on to.
	fib.links[0].Carrier = false
	res, err = Apply(fib, Plan(f), Options{Hold: true})
	if err != nil || res.Moved != 1 || res.Deleted != 1 {
		t.Errorf("no carrier: %+v, %v, want one moved and one deleted", res, err)
	}
}

func TestApplyNeverSweepsOnIgnorance(t *testing.T) {
	fib := newFIB()
	fib.readErr = errors.New("dump interrupted")
	res, err := Apply(fib, Plan(lab()), Options{})
	if err == nil || res.Changed() || fib.log != nil {
		t.Errorf("unreadable routes: %+v, %v, %q, want an error and nothing done", res, err, fib.log)
	}
	fib.readErr, fib.hopsErr = nil, errors.New("dump interrupted")
	res, err = Apply(fib, Plan(lab()), Options{})
	if err == nil || res.Changed() || fib.log != nil {
		t.Errorf("unreadable next hops: %+v, %v, %q, want an error and nothing done", res, err, fib.log)
	}
}

func TestApplyNamesTheRoute(t *testing.T) {
	f := lab()
	f.Pods = []LocalPod{{Name: "web-0", Address: ip("10.64.1.0"), Link: "gone"}}
	_, err := Apply(newFIB(), Plan(f), Options{})
	if err == nil || !strings.Contains(err.Error(), "10.64.1.0/32") || !strings.Contains(err.Error(), "gone") {
		t.Errorf("error %v, want it to name prefix and link", err)
	}
}

// Two ToRs offer the prefixes of gw-c and gw-d; both fall back to their tunnels,
// each in one operation, whatever the number of prefixes.
func TestApplyMovesByFate(t *testing.T) {
	f := lab()
	f.Gateways[ip("10.0.2.14")] = "gw-d"
	f.Hops[ip("10.0.2.14")] = f.Hops[ip("10.0.2.13")]
	f.Hops[ip("10.0.1.2")] = f.Hops[ip("10.0.1.1")]
	offer := func(tors ...string) {
		f.Paths = nil
		for i := range 40 {
			prefix, owner := fmt.Sprintf("10.64.%d.0/26", 2+i), []string{"10.0.2.13", "10.0.2.14"}[i%2]
			f.Paths = append(f.Paths, path(prefix, owner, "gw-"+owner, 0))
			for _, tor := range tors {
				f.Paths = append(f.Paths, path(prefix, tor, "tor-"+tor, 1))
			}
		}
	}
	fib := newFIB()
	for _, step := range []struct {
		what string
		tors []string
		want Result
	}{
		{"both ToRs", []string{"10.0.1.1", "10.0.1.2"}, Result{Added: 41, NextHops: 4}},
		{"one ToR", []string{"10.0.1.1"}, Result{Moved: 40, NextHops: 3}},
		{"no ToR", nil, Result{Moved: 40, NextHops: 5}},
		{"both again", []string{"10.0.1.1", "10.0.1.2"}, Result{Moved: 40, NextHops: 6}},
	} {
		offer(step.tors...)
		for again, want := range []Result{step.want, {}} {
			if res, err := Apply(fib, Plan(f), Options{}); err != nil || res != want {
				t.Errorf("%s (again: %d): %+v, %v, want %+v\n%s", step.what, again, res, err, want, strings.Join(fib.log, "\n"))
			}
			fib.log = nil
		}
	}
	// One prefix of gw-c is offered by one ToR only: it leaves, the others stay.
	f.Paths = slices.DeleteFunc(f.Paths, func(p told) bool { return p.Prefix == pfx("10.64.2.0/26") && p.NextHop == ip("10.0.1.2") })
	if res, err := Apply(fib, Plan(f), Options{}); err != nil || res != (Result{Replaced: 1, NextHops: 1}) {
		t.Errorf("a prefix that leaves: %+v, %v", res, err)
	}
}

// A next hop that the kernel refuses takes no other with it, and its routes stay.
func TestApplyRefusedHop(t *testing.T) {
	f := lab()
	f.Hops[ip("203.0.113.1")] = f.Hops[ip("10.0.1.1")]
	f.Paths = []told{path("10.64.3.0/26", "10.0.1.1", "tor1", 0), path("10.64.4.0/26", "10.0.1.1", "tor1", 0)}
	fib := newFIB()
	if _, err := Apply(fib, Plan(f), Options{}); err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(fib.routes)
	f.Paths[0].NextHop = ip("203.0.113.1")
	res, err := Apply(fib, Plan(f), Options{})
	if err == nil || !strings.Contains(err.Error(), "10.64.3.0/26 via 203.0.113.1") || strings.Contains(err.Error(), "10.64.4.0") ||
		res.Changed() || !slices.Equal(before, fib.routes) {
		t.Errorf("%+v, %v\n%v\n%v, want the refusal of one route and all as before", res, err, before, fib.routes)
	}
	// Of two equal next hops the good one is used.
	f.Paths[0].Rank = 0
	f.Paths = append(f.Paths, path("10.64.3.0/26", "10.0.1.1", "tor1", 0))
	for range 2 {
		res, err = Apply(fib, Plan(f), Options{})
		if err == nil || !strings.Contains(err.Error(), "10.64.3.0/26") {
			t.Errorf("a bad one of two: %+v, %v, want an error that names the route", res, err)
		}
	}
	i := slices.IndexFunc(fib.routes, func(r rtnl.Route) bool { return r.Prefix == pfx("10.64.3.0/26") })
	if group := fib.hops[fib.routes[i].NextHop].Group; res.Changed() || len(group) != 1 || fib.hops[group[0]].Gateway != ip("10.0.1.1") {
		t.Errorf("a bad one of two: %+v, %v, want the route with the good one", res, fib.hops)
	}
}

// A route that the kernel refuses again and again changes nothing each time, and uses
// up no next-hop objects; when the kernel takes it, it is there.
func TestApplyRefusedRoute(t *testing.T) {
	f, fib := lab(), newFIB()
	f.Paths = []told{path("10.64.3.0/26", "10.0.1.1", "tor1", 0)}
	fib.refused = pfx("10.64.3.0/26")
	for i, want := range []Result{{Added: 2, NextHops: 2, Refused: 1}, {Added: 1, Refused: 1}, {Added: 1, Refused: 1}} {
		res, err := Apply(fib, Plan(f), Options{})
		if err == nil || !strings.Contains(err.Error(), "10.64.3.0/26") || res != want || res.Changed() != (i == 0) {
			t.Errorf("round %d: %+v, %v, want %+v", i, res, err, want)
		}
	}
	fib.refused = netip.Prefix{}
	if res, err := Apply(fib, Plan(f), Options{}); err != nil || res != (Result{Added: 1}) || len(fib.hops) != 2 {
		t.Errorf("once it is taken: %+v, %v, %d objects, want one route and two objects", res, err, len(fib.hops))
	}
}

// Whatever the plans, every prefix leads at each moment where the old plan or the
// new one says, and the second time nothing is done.
func TestApplyNeverAstray(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		f, fib := lab(), newFIB()
		hops := []string{"10.0.1.1", "10.0.1.2", "10.0.1.12", "10.0.2.13", "10.0.2.14"}
		f.Gateways[ip("10.0.2.14")] = "gw-d"
		f.Hops[ip("10.0.2.14")], f.Hops[ip("10.0.1.2")] = f.Hops[ip("10.0.2.13")], f.Hops[ip("10.0.1.1")]
		for range 8 {
			f.Paths = nil
			for i := range 12 {
				for _, h := range hops {
					if rnd.IntN(3) == 0 {
						f.Paths = append(f.Paths, path(fmt.Sprintf("10.64.%d.0/26", 2+i), h, h, rnd.IntN(2)))
					}
				}
			}
			before := fib.leads()
			fresh := newFIB()
			if _, err := Apply(fresh, Plan(f), Options{}); err != nil {
				t.Fatal(err)
			}
			want := fresh.leads()
			fib.log = nil
			fib.changed = func() {
				for p, way := range fib.leads() {
					// A prefix that is to be removed may follow its next hop until then.
					if w, planned := want[p]; planned && way != w && way != before[p] {
						t.Errorf("seed %d: %s leads to %q, was %q, planned %q", seed, p, way, before[p], w)
					}
				}
			}
			if _, err := Apply(fib, Plan(f), Options{}); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			fib.changed = nil
			if diff := cmp.Diff(want, fib.leads(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Fatalf("seed %d (-want +got):\n%s\n%s", seed, diff, strings.Join(fib.log, "\n"))
			}
			if res, err := Apply(fib, Plan(f), Options{}); err != nil || res != (Result{}) {
				t.Fatalf("seed %d, again: %+v, %v", seed, res, err)
			}
			if t.Failed() {
				t.Fatal(strings.Join(fib.log, "\n"))
			}
		}
	}
}

// Routes of an earlier version, without next-hop objects, are replaced in place.
func TestApplyTakesOverPlainRoutes(t *testing.T) {
	f := lab()
	f.Blocks, f.Paths = nil, []told{path("10.64.3.0/26", "10.0.1.1", "tor1", 0)}
	fib := newFIB()
	fib.routes = []rtnl.Route{{Prefix: pfx("10.64.3.0/26"), Gateway: ip("10.0.1.1"), Link: 2, Source: f.Source, Protocol: layout.Protocol, Metric: Metric}}
	for _, want := range []Result{{Replaced: 1, NextHops: 2}, {}} {
		if res, err := Apply(fib, Plan(f), Options{}); err != nil || res != want {
			t.Errorf("%+v, %v, want %+v", res, err, want)
		}
	}
}
