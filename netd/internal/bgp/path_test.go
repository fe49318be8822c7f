package bgp

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/osrg/gobgp/v4/api"
)

func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }
func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addresses() cmp.Options {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
}

func via(s string) *api.Attribute {
	return &api.Attribute{Attr: &api.Attribute_NextHop{NextHop: &api.NextHopAttribute{NextHop: s}}}
}

func asPath(segments ...[]uint32) *api.Attribute {
	a := &api.AsPathAttribute{}
	for _, s := range segments {
		a.Segments = append(a.Segments, &api.AsSegment{Numbers: s})
	}
	return &api.Attribute{Attr: &api.Attribute_AsPath{AsPath: a}}
}

func med(n uint32) *api.Attribute {
	return &api.Attribute{Attr: &api.Attribute_MultiExitDisc{MultiExitDisc: &api.MultiExitDiscAttribute{Med: n}}}
}

func community(n uint32) *api.Attribute {
	return &api.Attribute{Attr: &api.Attribute_Communities{Communities: &api.CommunitiesAttribute{Communities: []uint32{n}}}}
}

func mpReach(hops ...string) *api.Attribute {
	return &api.Attribute{Attr: &api.Attribute_MpReach{MpReach: &api.MpReachNLRIAttribute{NextHops: hops}}}
}

func TestLearned(t *testing.T) {
	sources := map[string]source{
		"10.0.1.1": {"tor1", ip("10.0.1.1")}, "10.0.2.13": {"gw-c", ip("10.0.2.13")}, "fe80::1%uplink0": {"tor2", ip("fe80::1%uplink0")},
	}
	tests := []struct {
		name string
		d    *api.Destination
		want []Path
	}{
		{"BGP's order, without our own path", &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "10.0.2.13", Pattrs: []*api.Attribute{via("10.0.2.13"), asPath([]uint32{65103})}},
			{NeighborIp: "<nil>", Pattrs: []*api.Attribute{via("0.0.0.0")}},
			{NeighborIp: "10.0.1.1", Stale: true, Pattrs: []*api.Attribute{via("10.0.1.1"), asPath([]uint32{65001, 65002}, []uint32{65103})}},
		}}, []Path{
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.2.13"), Peer: "gw-c", ASPath: []uint32{65103}},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.1.1"), Peer: "tor1", Rank: 1, ASPath: []uint32{65001, 65002, 65103}, Stale: true},
		}},
		{"a multiprotocol next hop", &api.Destination{Prefix: "0.0.0.0/0", Paths: []*api.Path{
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("10.0.1.1", "fe80::1")}},
		}}, []Path{{Prefix: pfx("0.0.0.0/0"), NextHop: ip("10.0.1.1"), Peer: "tor1"}}},
		{"a path that can not be used does not spoil the next", &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "10.0.2.13", Pattrs: []*api.Attribute{via("nonsense")}},
			{NeighborIp: "10.0.2.13"},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{via("10.0.1.1")}},
		}}, []Path{{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.1.1"), Peer: "tor1"}}},
		{"two paths of one merit, a longer one, one with another MED", &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{via("10.0.1.1"), asPath([]uint32{65001})}},
			{NeighborIp: "10.0.2.13", Pattrs: []*api.Attribute{via("10.0.2.13"), asPath([]uint32{65103})}},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{via("10.0.1.1"), asPath([]uint32{65001, 65001})}},
			{NeighborIp: "10.0.2.13", Pattrs: []*api.Attribute{via("10.0.2.13"), asPath([]uint32{65103, 65103}), med(7)}},
		}}, []Path{
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.1.1"), Peer: "tor1", ASPath: []uint32{65001}},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.2.13"), Peer: "gw-c", ASPath: []uint32{65103}},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.1.1"), Peer: "tor1", Rank: 2, ASPath: []uint32{65001, 65001}},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.2.13"), Peer: "gw-c", Rank: 2, ASPath: []uint32{65103, 65103}},
		}},
		{"MEDs count among paths from one AS only", &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{via("10.0.1.1"), asPath([]uint32{65001}), med(1)}},
			{NeighborIp: "10.0.2.13", Pattrs: []*api.Attribute{via("10.0.2.13"), asPath([]uint32{65103}), med(5)}},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{via("10.0.1.2"), asPath([]uint32{65001}), med(7)}},
		}}, []Path{
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.1.1"), Peer: "tor1", ASPath: []uint32{65001}},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.2.13"), Peer: "gw-c", ASPath: []uint32{65103}},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.1.2"), Peer: "tor1", Rank: 2, ASPath: []uint32{65001}},
		}},
		{"eBGP before iBGP, and what is long stale last", &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "10.0.1.1", IsFromExternal: true, Pattrs: []*api.Attribute{via("10.0.1.1"), asPath([]uint32{65001})}},
			{NeighborIp: "10.0.2.13", Pattrs: []*api.Attribute{via("10.0.2.13"), asPath([]uint32{65103})}},
			{NeighborIp: "10.0.1.1", IsFromExternal: true, Pattrs: []*api.Attribute{via("10.0.1.2"), asPath([]uint32{65001}), community(llgrStale)}},
		}}, []Path{
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.1.1"), Peer: "tor1", ASPath: []uint32{65001}},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.2.13"), Peer: "gw-c", Rank: 1, ASPath: []uint32{65103}},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.1.2"), Peer: "tor1", Rank: 2, ASPath: []uint32{65001}, Stale: true},
		}},
		{"IPv6, with an IPv4 next hop in IPv6's form", &api.Destination{Prefix: "2001:db8:64::/64", Paths: []*api.Path{
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("::ffff:10.0.1.1")}},
			{NeighborIp: "10.0.2.13", Pattrs: []*api.Attribute{mpReach("2001:db8::13", "fe80::13")}},
		}}, []Path{
			{Prefix: pfx("2001:db8:64::/64"), NextHop: ip("10.0.1.1"), Peer: "tor1"},
			{Prefix: pfx("2001:db8:64::/64"), NextHop: ip("2001:db8::13"), Peer: "gw-c"},
		}},
		{"an unnumbered peer's next hop is on its link", &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "fe80::1%uplink0", IsFromExternal: true, Pattrs: []*api.Attribute{mpReach("2001:db8::1")}},
			{NeighborIp: "fe80::1%uplink0", Pattrs: []*api.Attribute{mpReach("fe80::1")}},
			{NeighborIp: "fe80::1%uplink0", Pattrs: []*api.Attribute{mpReach("::")}},
			{NeighborIp: "fe80::1%uplink0", Pattrs: []*api.Attribute{mpReach("2001:db8::1")}},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("::")}},
		}}, []Path{
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("fe80::1%uplink0"), Peer: "tor2"},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("fe80::1%uplink0"), Peer: "tor2", Rank: 1},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("fe80::1%uplink0"), Peer: "tor2", Rank: 1},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("2001:db8::1"), Peer: "tor2", Rank: 1},
		}},
		{"next hops that are no one's", &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("127.0.0.1")}},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("224.0.0.5")}},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("255.255.255.255")}},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("::")}},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("::1")}},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("ff02::1")}},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("fe80::1")}}, // of which link?
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("::ffff:127.0.0.1")}},
		}}, nil},
		{"a session that is not configured (any more)", &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "192.0.2.1", Pattrs: []*api.Attribute{via("192.0.2.1")}},
		}}, nil},
		{"no prefix", &api.Destination{Prefix: "10.64.3.0", Paths: []*api.Path{{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{via("10.0.1.1")}}}}, nil},
		{"nothing", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, learned(tt.d, func(n string) (source, bool) { from, ok := sources[n]; return from, ok }), addresses()); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
		})
	}
}
