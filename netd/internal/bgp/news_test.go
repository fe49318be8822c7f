package bgp

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/rib"
)

// However news gather between two Takes, they make the table that a reading of
// everything makes.
func TestGathered(t *testing.T) {
	seed := rand.Uint64()
	d := dice{rand.New(rand.NewPCG(seed, 0))}
	t.Logf("seed %d", seed)
	lists := make([]*rib.Paths, 5) // the first is nil: none
	for i := range lists[1:] {
		lists[i+1] = &rib.Paths{Rule: rib.ByPool, List: []rib.Path{{Peer: string(rune('a' + i))}}}
	}
	prefix := func(n int) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 32) }
	g := gathered{news: News{Away: true}, problems: map[int]error{}}
	truth, table := map[netip.Prefix]*rib.Paths{}, map[netip.Prefix]*rib.Paths{}
	for step := range 5000 {
		var u rib.Update
		for range d.IntN(4) {
			e := rib.Entry{Prefix: prefix(d.IntN(20)), Paths: pick(d, lists...)}
			if truth[e.Prefix] = e.Paths; e.Paths == nil {
				delete(truth, e.Prefix)
			}
			// As the reader has it: what changes is named once in an update.
			u.Entries = append(u.Entries, e)
		}
		latest := map[netip.Prefix]*rib.Paths{}
		for _, e := range u.Entries {
			latest[e.Prefix] = e.Paths
		}
		u.Entries = nil
		if u.Whole = d.IntN(10) == 0; u.Whole {
			latest = maps.Clone(truth)
		}
		for p, paths := range latest {
			u.Entries = append(u.Entries, rib.Entry{Prefix: p, Paths: paths})
		}
		g.add(time.Time{}, nil, false, nil, u)
		if len(g.news.Paths.Entries) > 20 {
			t.Fatalf("step %d: %d entries of 20 prefixes wait", step, len(g.news.Paths.Entries))
		}
		if d.IntN(3) > 0 {
			continue
		}
		n := g.take()
		if n.Paths.Whole {
			clear(table)
		}
		for _, e := range n.Paths.Entries {
			if table[e.Prefix] = e.Paths; e.Paths == nil {
				delete(table, e.Prefix)
			}
		}
		if !maps.Equal(truth, table) {
			t.Fatalf("step %d (-want +got):\n%s", step, cmp.Diff(truth, table, addresses()))
		}
	}
}

// What there is to know of a life ends with it; what a person must know does not.
func TestNewsOfAnEnd(t *testing.T) {
	at := time.Unix(1767225600, 0)
	g := gathered{news: News{Away: true}, problems: map[int]error{}}
	g.add(at, []PeerState{}, true, nil, rib.Update{Whole: true, Entries: []rib.Entry{{Prefix: pfx("10.64.3.0/26"), Paths: &rib.Paths{}}}})
	if n := g.take(); n.Away || !n.Started.Equal(at) || n.Peers == nil || !n.Settled || len(n.Paths.Entries) != 1 {
		t.Errorf("a life: %+v", n)
	}
	if n := g.take(); n.Away || n.Peers != nil || n.Paths.Whole || !n.Settled {
		t.Errorf("nothing new: %+v", n)
	}
	g.note(silence, errors.New("it hangs"))
	g.note(reading, errors.New("it does not answer"))
	g.reset()
	if n := g.take(); !n.Away || !n.Started.Equal(at) || n.Settled || n.Problem == nil || n.Problem.Error() != "it hangs" {
		t.Errorf("after its end: %+v", n)
	}
}

// Equal paths are one, over readings, too; and those that nobody tells go.
func TestInterned(t *testing.T) {
	paths := func(as uint32, stale bool) rib.Paths {
		return rib.Paths{Rule: rib.ByPool, List: []rib.Path{{NextHop: ip("10.0.1.1"), Peer: "tor1", ASPath: []uint32{65001, as}, Stale: stale}}}
	}
	var in interned
	in.begin()
	a, b := in.one(paths(1, false)), in.one(paths(2, false))
	in.end(nil)
	if a == b || in.one(paths(1, false)) != a || in.one(paths(1, true)) == a {
		t.Error("not one for each content")
	}
	in.begin()
	if in.one(paths(1, false)) != a {
		t.Error("another one after a second reading")
	}
	in.end(errors.New("cut off"))
	if in.one(paths(2, false)) != b {
		t.Error("a reading that failed has forgotten what it did not come to")
	}
	in.begin()
	in.one(paths(1, false))
	in.end(nil)
	if len(in.now) != 1 {
		t.Errorf("%d are kept, of which one is told", len(in.now))
	}
	for as := range uint32(sparePaths + 10) {
		in.one(paths(as, false))
	}
	if !in.crowded() {
		t.Error("it grows without bound between two readings")
	}
}

func TestSilenceAllowed(t *testing.T) {
	hold := func(d time.Duration) Session { return Session{HoldTime: d} }
	for _, tt := range []struct {
		c            Config
		agreed, want time.Duration
	}{
		{Config{}, 0, mostSilence},
		{Config{Peers: []Peer{{Session: hold(90 * time.Second)}, {Session: hold(9 * time.Second)}}}, 0, 3 * time.Second},
		{Config{Peers: []Peer{{Session: hold(0)}}, Ranges: []Range{{Session: hold(3 * time.Second)}}}, 0, time.Second},
		{Config{Peers: []Peer{{Session: hold(time.Second)}}}, 0, leastSilence},
		{Config{Peers: []Peer{{Session: hold(90 * time.Second)}}}, 9 * time.Second, 3 * time.Second},
	} {
		if got := silenceAllowed(tt.c, tt.agreed); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.c, got, tt.want)
		}
	}
}
