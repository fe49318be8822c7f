package bgp

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"google.golang.org/protobuf/proto"
)

// checkLearned holds what is true of any paths.
func checkLearned(t *testing.T, d *api.Destination, sources map[string]source) {
	t.Helper()
	last := 0
	for i, p := range learned(d, func(n string) (source, bool) { from, ok := sources[n]; return from, ok }) {
		if !p.Prefix.IsValid() || !p.NextHop.IsValid() || p.NextHop.Is4In6() {
			t.Errorf("path %d: %+v", i, p)
		}
		if !unicast(p.NextHop) && p.NextHop.Zone() == "" {
			t.Errorf("path %d: next hop %s", i, p.NextHop)
		}
		if p.Rank < last || p.Rank > i {
			t.Errorf("path %d has rank %d after %d", i, p.Rank, last)
		}
		last = p.Rank
	}
}

func fuzzSources() map[string]source {
	return map[string]source{
		"10.0.1.1": {"tor1", ip("10.0.1.1")}, "fe80::1%uplink0": {"tor2", ip("fe80::1%uplink0")},
	}
}

// FuzzLearned: whatever the speaker answers is translated or left out.
func FuzzLearned(f *testing.F) {
	for _, d := range []*api.Destination{
		{},
		{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{via("10.0.1.1"), asPath([]uint32{65001}, []uint32{65101})}},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("::ffff:10.0.1.1", "fe80::1"), med(7), community(llgrStale)}},
			{NeighborIp: "fe80::1%uplink0", Pattrs: []*api.Attribute{mpReach("2001:db8::1", "fe80::1")}},
		}},
		{Prefix: "10.64.3.0/99", Paths: []*api.Path{nil, {Pattrs: []*api.Attribute{nil}}}},
	} {
		b, err := proto.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d api.Destination
		if proto.Unmarshal(b, &d) == nil {
			checkLearned(t, &d, fuzzSources())
		}
	})
}

// FuzzUpdate: the octets of an UPDATE, by GoBGP's parser and its translation to ours.
func FuzzUpdate(f *testing.F) {
	for _, dump := range []string{
		"0000 0000",
		"0000 0014 40010100 4002060201 0000fde9 400304 0a000101 1a 0a400300",
		"0000 0006 800e03000202",
		"0000 000b 40110102 400204ffffdead",
		"0000 0007 4003000a400300",
		"0000 001c 40010100 800e15 0001 01 10 20010db8000000000000000000000001 00",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(dump, " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := bgp.ParseBGPBody(&bgp.BGPHeader{Type: bgp.BGP_MSG_UPDATE, Len: uint16(19 + len(b))}, b)
		if err != nil || m == nil {
			return
		}
		attributes, err := apiutil.MarshalPathAttributes(m.Body.(*bgp.BGPUpdate).PathAttributes)
		if err != nil {
			return
		}
		checkLearned(t, &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "10.0.1.1", Pattrs: attributes}, {NeighborIp: "fe80::1%uplink0", Pattrs: attributes},
		}}, fuzzSources())
	})
}
