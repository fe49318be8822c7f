package route

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/rib"
)

// Routes that are known without BGP come before what is learned, also when they can not be
// at the moment; and go with what has given them.
func TestStatics(t *testing.T) {
	g := lab()
	router, beyond, dark := Static{Uplink: "uplink0", Prefix: pfx("192.0.2.1/32")},
		Static{Uplink: "uplink0", Prefix: pfx("198.51.100.0/24"), Router: ip("192.0.2.1")},
		Static{Uplink: "uplink1", Prefix: pfx("203.0.113.0/24"), Router: ip("192.0.2.9"), Why: "the router 192.0.2.9 is not reached on uplink1"}
	table := NewTable()
	table.Learn(rib.Update{Entries: []rib.Entry{
		{Prefix: beyond.Prefix, Paths: &rib.Paths{Rule: rib.ByFilter, List: []rib.Path{{NextHop: ip("10.0.1.1"), Peer: "tor1"}}}},
	}})
	plan := func(statics ...Static) string {
		f := g.facts()
		f.Statics = statics
		table.Plan(f)
		got := ""
		for _, s := range []Static{router, beyond, dark} {
			d := table.Decisions().routed(s.Prefix)
			got += s.Prefix.String() + ":"
			if d.Outcome != nil && d.Route != nil {
				got += fmt.Sprintf(" %s %s %s", d.Route.Kind, d.Route.NextHop, d.Route.Link)
			}
			if d.Outcome != nil {
				got += " (" + d.Reason + ")"
			}
			got += "\n"
		}
		return got
	}
	all := `192.0.2.1/32: onlink invalid IP uplink0 (on the link of uplink0, though in no subnet of its)
198.51.100.0/24: native 192.0.2.1 uplink0 (what DHCP gave to uplink0 names the router for it)
203.0.113.0/24: (no route: the router 192.0.2.9 is not reached on uplink1)
`
	for range 2 { // The second time nothing changes.
		if diff := cmp.Diff(all, plan(router, beyond, dark)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	none := `192.0.2.1/32:
198.51.100.0/24: native 10.0.1.1 uplink0 (tor1 routes it: next hop 10.0.1.1 is on the subnet of uplink0)
203.0.113.0/24:
`
	if diff := cmp.Diff(none, plan()); diff != "" {
		t.Errorf("without them (-want +got):\n%s", diff)
	}
}
