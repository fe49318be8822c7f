package bgp

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/bgp/wire"
	"netd/netd/internal/rib"
)

func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }
func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addresses() cmp.Options {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
}

func via(s string) bgp.PathAttributeInterface { return &bgp.PathAttributeNextHop{Value: ip(s)} }

func asPath(segments ...[]uint32) bgp.PathAttributeInterface {
	a := &bgp.PathAttributeAsPath{}
	for _, s := range segments {
		a.Value = append(a.Value, bgp.NewAs4PathParam(bgp.BGP_ASPATH_ATTR_TYPE_SEQ, s))
	}
	return a
}

func med(n uint32) bgp.PathAttributeInterface { return bgp.NewPathAttributeMultiExitDisc(n) }

func community(n uint32) bgp.PathAttributeInterface {
	return bgp.NewPathAttributeCommunities([]uint32{n})
}

func mpReach(hop string, linkLocal ...string) bgp.PathAttributeInterface {
	a := &bgp.PathAttributeMpReachNLRI{Nexthop: ip(hop)}
	for _, hop := range linkLocal {
		a.LinkLocalNexthop = ip(hop)
	}
	return a
}

// relayed is what the agent understands of what the speaker says about paths.
func relayed(prefix netip.Prefix, paths []*apiutil.Path, names map[netip.Addr]string) (list []rib.Path, err error) {
	var r wire.Reader
	err = r.Read(answerOf(map[netip.Prefix][]*apiutil.Path{prefix: paths}), func(e wire.Entry) {
		list = append(list, learned(e.Paths, func(a netip.Addr) string { return names[a] })...)
	})
	return list, err
}

// answerOf is what the speaker says about paths.
func answerOf(table map[netip.Prefix][]*apiutil.Path) (octets []byte) {
	w := wire.NewWriter(func(chunk []byte) error {
		octets = append(octets, chunk...)
		return nil
	})
	for prefix, paths := range table {
		var told []wire.Path
		for _, p := range paths {
			told = append(told, gobgp.WirePath(p))
		}
		w.Prefix(prefix, told...)
	}
	_ = w.Flush() // It can not fail here.
	return octets
}

func TestLearned(t *testing.T) {
	names := map[netip.Addr]string{ip("10.0.1.1"): "tor1", ip("10.0.2.13"): "gw-c", ip("fe80::1%uplink0"): "tor2"}
	tests := []struct {
		name   string
		prefix string
		paths  []*apiutil.Path
		want   []rib.Path
	}{
		{"BGP's order, without our own path", "10.64.3.0/26", []*apiutil.Path{
			{PeerAddress: ip("10.0.2.13"), Attrs: []bgp.PathAttributeInterface{via("10.0.2.13"), asPath([]uint32{65103})}},
			{Attrs: []bgp.PathAttributeInterface{via("0.0.0.0")}},
			{PeerAddress: ip("10.0.1.1"), Stale: true, Attrs: []bgp.PathAttributeInterface{via("10.0.1.1"), asPath([]uint32{65001, 65002}, []uint32{65103})}},
		}, []rib.Path{
			{NextHop: ip("10.0.2.13"), Peer: "gw-c", ASPath: []uint32{65103}},
			{NextHop: ip("10.0.1.1"), Peer: "tor1", Rank: 1, ASPath: []uint32{65001, 65002, 65103}, Stale: true},
		}},
		{"a multiprotocol next hop", "0.0.0.0/0", []*apiutil.Path{
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{mpReach("10.0.1.1", "fe80::1")}},
		}, []rib.Path{{NextHop: ip("10.0.1.1"), Peer: "tor1"}}},
		{"a path that can not be used does not spoil the next", "10.64.3.0/26", []*apiutil.Path{
			{PeerAddress: ip("10.0.2.13"), Attrs: []bgp.PathAttributeInterface{&bgp.PathAttributeNextHop{}}},
			{PeerAddress: ip("10.0.2.13")},
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{via("10.0.1.1")}},
		}, []rib.Path{{NextHop: ip("10.0.1.1"), Peer: "tor1"}}},
		{"two paths of one merit, a longer one, one with another MED", "10.64.3.0/26", []*apiutil.Path{
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{via("10.0.1.1"), asPath([]uint32{65001})}},
			{PeerAddress: ip("10.0.2.13"), Attrs: []bgp.PathAttributeInterface{via("10.0.2.13"), asPath([]uint32{65103})}},
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{via("10.0.1.1"), asPath([]uint32{65001, 65001})}},
			{PeerAddress: ip("10.0.2.13"), Attrs: []bgp.PathAttributeInterface{via("10.0.2.13"), asPath([]uint32{65103, 65103}), med(7)}},
		}, []rib.Path{
			{NextHop: ip("10.0.1.1"), Peer: "tor1", ASPath: []uint32{65001}},
			{NextHop: ip("10.0.2.13"), Peer: "gw-c", ASPath: []uint32{65103}},
			{NextHop: ip("10.0.1.1"), Peer: "tor1", Rank: 2, ASPath: []uint32{65001, 65001}},
			{NextHop: ip("10.0.2.13"), Peer: "gw-c", Rank: 2, ASPath: []uint32{65103, 65103}},
		}},
		{"MEDs count among paths from one AS only", "10.64.3.0/26", []*apiutil.Path{
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{via("10.0.1.1"), asPath([]uint32{65001}), med(1)}},
			{PeerAddress: ip("10.0.2.13"), Attrs: []bgp.PathAttributeInterface{via("10.0.2.13"), asPath([]uint32{65103}), med(5)}},
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{via("10.0.1.2"), asPath([]uint32{65001}), med(7)}},
		}, []rib.Path{
			{NextHop: ip("10.0.1.1"), Peer: "tor1", ASPath: []uint32{65001}},
			{NextHop: ip("10.0.2.13"), Peer: "gw-c", ASPath: []uint32{65103}},
			{NextHop: ip("10.0.1.2"), Peer: "tor1", Rank: 2, ASPath: []uint32{65001}},
		}},
		{"eBGP before iBGP, and what is long stale last", "10.64.3.0/26", []*apiutil.Path{
			{PeerAddress: ip("10.0.1.1"), IsFromExternal: true, Attrs: []bgp.PathAttributeInterface{via("10.0.1.1"), asPath([]uint32{65001})}},
			{PeerAddress: ip("10.0.2.13"), Attrs: []bgp.PathAttributeInterface{via("10.0.2.13"), asPath([]uint32{65103})}},
			{PeerAddress: ip("10.0.1.1"), IsFromExternal: true, Attrs: []bgp.PathAttributeInterface{via("10.0.1.2"), asPath([]uint32{65001}), community(gobgp.LLGRStale)}},
		}, []rib.Path{
			{NextHop: ip("10.0.1.1"), Peer: "tor1", ASPath: []uint32{65001}},
			{NextHop: ip("10.0.2.13"), Peer: "gw-c", Rank: 1, ASPath: []uint32{65103}},
			{NextHop: ip("10.0.1.2"), Peer: "tor1", Rank: 2, ASPath: []uint32{65001}, Stale: true},
		}},
		{"IPv6, with an IPv4 next hop in IPv6's form", "2001:db8:64::/64", []*apiutil.Path{
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{mpReach("::ffff:10.0.1.1")}},
			{PeerAddress: ip("10.0.2.13"), Attrs: []bgp.PathAttributeInterface{mpReach("2001:db8::13", "fe80::13")}},
		}, []rib.Path{
			{NextHop: ip("10.0.1.1"), Peer: "tor1"},
			{NextHop: ip("2001:db8::13"), Peer: "gw-c"},
		}},
		{"an unnumbered peer's next hop is on its link", "10.64.3.0/26", []*apiutil.Path{
			{PeerAddress: ip("fe80::1%uplink0"), IsFromExternal: true, Attrs: []bgp.PathAttributeInterface{mpReach("2001:db8::1")}},
			{PeerAddress: ip("fe80::1%uplink0"), Attrs: []bgp.PathAttributeInterface{mpReach("fe80::1")}},
			{PeerAddress: ip("fe80::1%uplink0"), Attrs: []bgp.PathAttributeInterface{mpReach("::")}},
			{PeerAddress: ip("fe80::1%uplink0"), Attrs: []bgp.PathAttributeInterface{mpReach("2001:db8::1")}},
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{mpReach("::")}},
		}, []rib.Path{
			{NextHop: ip("fe80::1%uplink0"), Peer: "tor2"},
			{NextHop: ip("fe80::1%uplink0"), Peer: "tor2", Rank: 1},
			{NextHop: ip("fe80::1%uplink0"), Peer: "tor2", Rank: 1},
			{NextHop: ip("2001:db8::1"), Peer: "tor2", Rank: 1},
		}},
		{"next hops that are no one's", "10.64.3.0/26", []*apiutil.Path{
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{mpReach("127.0.0.1")}},
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{mpReach("224.0.0.5")}},
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{mpReach("255.255.255.255")}},
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{mpReach("::")}},
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{mpReach("::1")}},
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{mpReach("ff02::1")}},
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{mpReach("fe80::1")}}, // of which link?
			{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{mpReach("::ffff:127.0.0.1")}},
		}, nil},
		{"a session that is not configured (any more)", "10.64.3.0/26", []*apiutil.Path{
			{PeerAddress: ip("192.0.2.1"), Attrs: []bgp.PathAttributeInterface{via("192.0.2.1")}},
		}, nil},
		{"nothing", "10.64.3.0/26", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := relayed(pfx(tt.prefix), tt.paths, names)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, addresses(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
		})
	}
}
