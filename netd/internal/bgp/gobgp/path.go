package gobgp

import (
	"net/netip"
	"slices"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"netd/netd/internal/bgp/wire"
)

// LLGRStale marks what its neighbour keeps long after its session has ended (RFC 9494).
const LLGRStale = 0xffff0006

// WirePath is what the agent is told of a path.
func WirePath(p *apiutil.Path) wire.Path {
	r := wire.Path{From: p.PeerAddress, Merit: wire.Merit{LocalPref: 100, External: p.IsFromExternal, Stale: p.Stale}}
	var hops []netip.Addr
	for _, a := range p.Attrs {
		switch a := a.(type) {
		case *bgp.PathAttributeLocalPref:
			r.LocalPref = a.Value
		case *bgp.PathAttributeOrigin:
			r.Origin = uint32(a.Value)
		case *bgp.PathAttributeMultiExitDisc:
			r.MED = a.Value
		case *bgp.PathAttributeCommunities:
			r.Stale = r.Stale || slices.Contains(a.Value, LLGRStale)
		case *bgp.PathAttributeNextHop:
			hops = append(hops, a.Value)
		case *bgp.PathAttributeMpReachNLRI:
			if hops = append(hops, a.Nexthop); a.LinkLocalNexthop.IsLinkLocalUnicast() {
				hops = append(hops, a.LinkLocalNexthop)
			}
		case *bgp.PathAttributeAsPath:
			follow(&r, a)
		}
	}
	r.NextHop = NextHop(hops, p.IsFromExternal, r.From)
	return r
}

// follow takes in the AS path.
func follow(r *wire.Path, path *bgp.PathAttributeAsPath) {
	for i, segment := range path.Value {
		numbers := segment.GetAS()
		r.ASPath = append(r.ASPath, numbers...)
		if segment.GetType() == bgp.BGP_ASPATH_ATTR_TYPE_SET {
			r.Hops++
			continue
		}
		r.Hops += uint32(len(numbers))
		if i == 0 && len(numbers) > 0 {
			r.NeighbourAS = numbers[0]
		}
	}
}

// Unicast tells whether a next hop can be someone's address, and says whose link's it
// is. GoBGP looks at NEXT_HOP, not at MP_REACH_NLRI.
func Unicast(a netip.Addr) bool {
	reserved := a.Is4() && a.As4()[0] >= 240 // RFC 1112 section 4, and the broadcast
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !reserved && (a.Is4() || !a.IsLinkLocalUnicast())
}

// NextHop is invalid if the path has none that can be read. GoBGP keeps the first of
// two IPv6 next hops only, which is not the link-local one, and may be "::". So a
// link-local peer's next hop is taken to be the peer itself, but for a path that it
// has only passed on (iBGP).
func NextHop(hops []netip.Addr, external bool, from netip.Addr) netip.Addr {
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
		if !hop.IsValid() && Unicast(a) {
			hop = a
		}
	}
	return hop
}

// Hops are the next hops that a path names.
func Hops(p *api.Path) []netip.Addr {
	var all []netip.Addr
	for _, a := range p.GetPattrs() {
		for _, text := range append(a.GetMpReach().GetNextHops(), a.GetNextHop().GetNextHop()) {
			if hop, err := netip.ParseAddr(text); err == nil {
				all = append(all, hop)
			}
		}
	}
	return all
}
