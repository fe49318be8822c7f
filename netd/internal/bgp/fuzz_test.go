package bgp

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/bgp/wire"
	"netd/netd/internal/rib"
)

// checkLearned holds what is true of any paths.
func checkLearned(t *testing.T, paths []rib.Path) {
	t.Helper()
	last := 0
	for i, p := range paths {
		if !p.NextHop.IsValid() || p.NextHop.Is4In6() {
			t.Errorf("path %d: %+v", i, p)
		}
		if !gobgp.Unicast(p.NextHop) && p.NextHop.Zone() == "" {
			t.Errorf("path %d: next hop %s", i, p.NextHop)
		}
		if p.Rank < last || p.Rank > i {
			t.Errorf("path %d has rank %d after %d", i, p.Rank, last)
		}
		last = p.Rank
	}
}

// FuzzAnswer: whatever the speaker answers is understood or refused.
func FuzzAnswer(f *testing.F) {
	some := map[netip.Prefix][]*apiutil.Path{pfx("10.64.3.0/26"): {
		{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{via("10.0.1.1"), asPath([]uint32{65001}, []uint32{65101})}},
		{PeerAddress: ip("10.0.1.1"), Attrs: []bgp.PathAttributeInterface{mpReach("::ffff:10.0.1.1", "fe80::1"), med(7), community(gobgp.LLGRStale)}},
	}}
	f.Add(answerOf(some))
	some[pfx("2001:db8:64::/64")] = []*apiutil.Path{
		{PeerAddress: ip("fe80::1%uplink0"), Attrs: []bgp.PathAttributeInterface{mpReach("2001:db8::1", "fe80::1")}},
	}
	f.Add(answerOf(some))
	f.Add([]byte{2, 5, 10, 64, 3, 0, 26, 1, 7})
	f.Add([]byte{1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xf})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r wire.Reader
		_ = r.Read(b, func(e wire.Entry) {
			if learned(e.Paths, func(netip.Addr) string { return "tor1" }); !e.Prefix.IsValid() {
				t.Errorf("prefix %s", e.Prefix)
			}
		})
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
		attributes := m.Body.(*bgp.BGPUpdate).PathAttributes
		paths, err := relayed(pfx("10.64.3.0/26"), []*apiutil.Path{
			{PeerAddress: ip("10.0.1.1"), Attrs: attributes}, {PeerAddress: ip("fe80::1%uplink0"), Attrs: attributes},
		}, map[netip.Addr]string{ip("10.0.1.1"): "tor1", ip("fe80::1%uplink0"): "tor2"})
		if err != nil {
			t.Error(err)
		}
		checkLearned(t, paths)
	})
}
