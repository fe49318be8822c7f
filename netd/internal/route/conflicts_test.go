package route

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/rib"
)

func TestConflicts(t *testing.T) {
	origin := Origin{
		Gateway: func(a netip.Addr) string {
			return map[netip.Addr]string{ip("10.0.1.12"): "gw-b", ip("10.0.2.13"): "gw-c"}[a]
		},
		ByAS: map[uint32]string{65102: "gw-b", 65103: "gw-c"},
		Peer: func(name string) (PeerKind, uint32) {
			switch name {
			case "gw-b", "gw-c", "rack-7[10.0.7.1]":
				return GatewayPeer, 65102
			case "rr":
				return ReflectorPeer, 65101
			case "tor2":
				return ToRPeer, 65002
			}
			return ToRPeer, 65001
		},
	}
	path := func(peer, hop string, as ...uint32) rib.Path {
		return rib.Path{Peer: peer, NextHop: ip(hop), ASPath: as}
	}
	b, c := path("gw-b", "10.0.1.12", 65102), path("gw-c", "10.0.2.13", 65103)
	stale := c
	stale.Stale = true
	const both = "10.64.2.0/26 is announced by gw-b and by gw-c: a block is one gateway's, and flows are spread over both"
	tests := []struct {
		name string
		told map[string][]rib.Path
		want []string
	}{
		{"one", map[string][]rib.Path{"10.64.2.0/26": {b}, "10.64.3.0/26": {c}}, nil},
		{"two sessions", map[string][]rib.Path{"10.64.2.0/26": {b, c}}, []string{both}},
		{"a session, and a ToR for another", map[string][]rib.Path{"10.64.2.0/26": {b, path("tor1", "10.0.1.1", 65001, 65002, 65103)}}, []string{both}},
		{"by two ToRs", map[string][]rib.Path{"10.64.2.0/26": {path("tor1", "10.0.1.1", 65001, 65102), path("tor2", "10.0.2.1", 65002, 65103)}}, []string{both}},
		{"of unknown gateways", map[string][]rib.Path{"10.64.2.0/26": {path("tor1", "10.0.1.1", 65001, 65111), path("tor2", "10.0.2.1", 65002, 65112)}}, []string{
			"10.64.2.0/26 is announced by AS 65111 and by AS 65112: a block is one gateway's, and flows are spread over both",
		}},
		{"by a reflector", map[string][]rib.Path{"10.64.2.0/26": {path("rr", "10.0.1.12"), path("gw-c", "10.0.2.13")}}, []string{both}},
		{"one of a range", map[string][]rib.Path{"10.64.2.0/26": {b, path("rack-7[10.0.7.1]", "10.0.7.1", 65102)}}, []string{
			"10.64.2.0/26 is announced by gw-b and by rack-7[10.0.7.1]: a block is one gateway's, and flows are spread over both",
		}},
		{"a part", map[string][]rib.Path{"10.64.2.0/26": {b}, "10.64.2.32/27": {c}, "10.64.3.0/26": {c}}, []string{
			"10.64.2.32/27 is announced by gw-c, and is a part of 10.64.2.0/26, which gw-b announces: blocks must not overlap",
		}},
		// What is no conflict.
		{"the same by several ToRs", map[string][]rib.Path{"10.64.2.0/26": {
			b, path("tor1", "10.0.1.1", 65001, 65102), path("tor2", "10.0.2.1", 65002, 65001, 65102),
		}}, nil},
		{"the same by a reflector", map[string][]rib.Path{"10.64.2.0/26": {b, path("rr", "10.0.1.12")}}, nil},
		{"the same by a gateway that reflects", map[string][]rib.Path{"10.64.2.0/26": {b, path("gw-c", "10.0.1.12")}}, nil},
		{"local-as to the ToR", map[string][]rib.Path{"10.64.2.0/26": {b, path("tor1", "10.0.1.1", 65001, 65202)}}, nil},
		{"ToRs that hide who it is from", map[string][]rib.Path{"10.64.2.0/26": {path("tor1", "10.0.1.1", 65001), path("tor2", "10.0.2.1", 65002), b}}, nil},
		{"a fabric's aggregate", map[string][]rib.Path{"10.64.0.0/16": {path("tor1", "10.0.1.1", 65001, 65500)}, "10.64.2.0/26": {b}}, nil},
		{"one that restarts elsewhere", map[string][]rib.Path{"10.64.2.0/26": {b, stale}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := NewTable()
			u := rib.Update{Whole: true}
			for prefix, list := range tt.told {
				u.Entries = append(u.Entries, rib.Entry{Prefix: pfx(prefix), Paths: &rib.Paths{Rule: rib.ByPool, List: list}})
			}
			table.Learn(u)
			table.Plan(lab6().Facts)
			if diff := cmp.Diff(tt.want, table.Decisions().Conflicts(origin)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	// A service that several gateways announce is in no pool.
	table := NewTable()
	table.Learn(rib.Update{Entries: []rib.Entry{{Prefix: pfx("192.0.2.1/32"), Paths: &rib.Paths{Rule: rib.ByFilter, List: []rib.Path{b, c}}}}})
	table.Plan(lab6().Facts)
	if got := table.Decisions().Conflicts(origin); got != nil {
		t.Errorf("a service: %v", got)
	}
}
