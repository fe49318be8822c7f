package bgp

import (
	"net/netip"
	"slices"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"netd/netd/internal/filter"
)

// llgrStale marks what its neighbour keeps long after its session has ended (RFC 9494).
const llgrStale = 0xffff0006

// merit is what BGP's order looks at before it takes to tie-breakers (RFC 4271,
// 9.1.2.2): paths of one merit may share the traffic.
type merit struct {
	localPref, hops, origin uint32
	external, stale         bool

	med, neighbourAS uint32
}

// as tells whether two paths are of one merit. MEDs are compared only among paths
// from one neighbouring AS.
func (m merit) as(o merit) bool {
	if m.neighbourAS != o.neighbourAS {
		m.neighbourAS, m.med = o.neighbourAS, o.med
	}
	return m == o
}

// report is what the speaker's process tells of a path: all but the prefix, which it
// shares with many.
type report struct {
	from, nextHop netip.Addr
	asPath        []uint32
	merit
}

func reportOf(p *apiutil.Path) report {
	r := report{from: p.PeerAddress, merit: merit{localPref: 100, external: p.IsFromExternal, stale: p.Stale}}
	var hops []netip.Addr
	for _, a := range p.Attrs {
		switch a := a.(type) {
		case *bgp.PathAttributeLocalPref:
			r.localPref = a.Value
		case *bgp.PathAttributeOrigin:
			r.origin = uint32(a.Value)
		case *bgp.PathAttributeMultiExitDisc:
			r.med = a.Value
		case *bgp.PathAttributeCommunities:
			r.stale = r.stale || slices.Contains(a.Value, llgrStale)
		case *bgp.PathAttributeNextHop:
			hops = append(hops, a.Value)
		case *bgp.PathAttributeMpReachNLRI:
			if hops = append(hops, a.Nexthop); a.LinkLocalNexthop.IsLinkLocalUnicast() {
				hops = append(hops, a.LinkLocalNexthop)
			}
		case *bgp.PathAttributeAsPath:
			r.follow(a)
		}
	}
	r.nextHop = nextHop(hops, p.IsFromExternal, r.from)
	return r
}

// follow takes in the AS path.
func (r *report) follow(path *bgp.PathAttributeAsPath) {
	for i, segment := range path.Value {
		numbers := segment.GetAS()
		r.asPath = append(r.asPath, numbers...)
		if segment.GetType() == bgp.BGP_ASPATH_ATTR_TYPE_SET {
			r.hops++
			continue
		}
		r.hops += uint32(len(numbers))
		if i == 0 && len(numbers) > 0 {
			r.neighbourAS = numbers[0]
		}
	}
}

// admits says what lets a prefix in.
func (c Config) admits(prefix netip.Prefix) string {
	switch {
	case slices.ContainsFunc(c.Pools, func(p netip.Prefix) bool { return p.Bits() <= prefix.Bits() && p.Contains(prefix.Addr()) }):
		return filter.Pools
	case prefix.Bits() == 0:
		return filter.Default
	}
	return ByFilter
}

// known is a report whose peer we know; the peer of one that is our own, or of a
// session that is not configured any more, has no name.
type known struct {
	report
	peer string
}

// learned turns what is told of a prefix into paths, in BGP's order; those that are no
// peer's, or lead nowhere, are left out.
func learned(prefix netip.Prefix, told []*known) []Path {
	paths := make([]Path, 0, len(told))
	equals := 0 // which of told is the first of the last one's rank
	for i, k := range told {
		if k.peer == "" || !k.nextHop.IsValid() {
			continue
		}
		path := Path{Prefix: prefix, Peer: k.peer, Rank: len(paths), Stale: k.stale, NextHop: k.nextHop, ASPath: k.asPath}
		if len(paths) > 0 && !slices.ContainsFunc(told[equals:i], func(o *known) bool {
			return o.peer != "" && o.nextHop.IsValid() && !k.as(o.merit)
		}) {
			path.Rank = paths[len(paths)-1].Rank
		} else {
			equals = i
		}
		paths = append(paths, path)
	}
	return paths
}

// unicast tells whether a next hop can be someone's address, and says whose link's it
// is. GoBGP looks at NEXT_HOP, not at MP_REACH_NLRI.
func unicast(a netip.Addr) bool {
	reserved := a.Is4() && a.As4()[0] >= 240 // RFC 1112 section 4, and the broadcast
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !reserved && (a.Is4() || !a.IsLinkLocalUnicast())
}

// nextHop is invalid if the path has none that can be read. GoBGP keeps the first of
// two IPv6 next hops only, which is not the link-local one, and may be "::". So a
// link-local peer's next hop is taken to be the peer itself, but for a path that it
// has only passed on (iBGP).
func nextHop(hops []netip.Addr, external bool, from netip.Addr) netip.Addr {
	var hop netip.Addr
	for _, a := range hops {
		if !a.IsValid() {
			continue
		}
		a = a.Unmap()
		if from.Zone() != "" && (external || a == netip.IPv6Unspecified()) {
			return from
		}
		if a.IsLinkLocalUnicast() && a.Is6() && from.Zone() != "" {
			return a.WithZone(from.Zone())
		}
		if !hop.IsValid() && unicast(a) {
			hop = a
		}
	}
	return hop
}
