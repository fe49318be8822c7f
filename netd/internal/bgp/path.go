package bgp

import (
	"net/netip"
	"slices"

	"github.com/osrg/gobgp/v4/api"

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

func meritOf(p *api.Path) merit {
	m := merit{localPref: 100, external: p.GetIsFromExternal(), stale: isStale(p)}
	for _, a := range p.GetPattrs() {
		switch {
		case a.GetLocalPref() != nil:
			m.localPref = a.GetLocalPref().GetLocalPref()
		case a.GetOrigin() != nil:
			m.origin = a.GetOrigin().GetOrigin()
		case a.GetMultiExitDisc() != nil:
			m.med = a.GetMultiExitDisc().GetMed()
		case a.GetAsPath() != nil:
			for i, seg := range a.GetAsPath().GetSegments() {
				switch seg.GetType() {
				case api.AsSegment_TYPE_AS_SET:
					m.hops++
				default:
					m.hops += uint32(len(seg.GetNumbers()))
					if i == 0 && len(seg.GetNumbers()) > 0 {
						m.neighbourAS = seg.GetNumbers()[0]
					}
				}
			}
		}
	}
	return m
}

func isStale(p *api.Path) bool {
	return p.GetStale() || slices.ContainsFunc(p.GetPattrs(), func(a *api.Attribute) bool {
		return slices.Contains(a.GetCommunities().GetCommunities(), llgrStale)
	})
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

// source is the peer that a path is from.
type source struct {
	name    string
	address netip.Addr
}

// learned turns one destination into paths, in BGP's order; our own are left out.
func learned(d *api.Destination, from func(neighbour string) (source, bool)) []Path {
	prefix, err := netip.ParsePrefix(d.GetPrefix())
	if err != nil {
		return nil
	}
	var paths []Path
	var equals []merit // of the paths that have the last one's rank
	for _, p := range d.GetPaths() {
		from, ok := from(p.GetNeighborIp())
		if !ok {
			continue
		}
		path := Path{Prefix: prefix, Peer: from.name, Rank: len(paths), Stale: isStale(p), NextHop: nextHop(p, from.address)}
		if !path.NextHop.IsValid() {
			continue
		}
		for _, a := range p.GetPattrs() {
			for _, seg := range a.GetAsPath().GetSegments() {
				path.ASPath = append(path.ASPath, seg.GetNumbers()...)
			}
		}
		m := meritOf(p)
		if len(paths) > 0 && !slices.ContainsFunc(equals, func(o merit) bool { return !m.as(o) }) {
			path.Rank = paths[len(paths)-1].Rank
		} else {
			equals = equals[:0]
		}
		paths, equals = append(paths, path), append(equals, m)
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
func nextHop(p *api.Path, from netip.Addr) netip.Addr {
	var texts []string
	for _, a := range p.GetPattrs() {
		if a.GetNextHop() != nil {
			texts = append(texts, a.GetNextHop().GetNextHop())
		}
		texts = append(texts, a.GetMpReach().GetNextHops()...)
	}
	var hop netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		a = a.Unmap()
		if from.Zone() != "" && (p.GetIsFromExternal() || a == netip.IPv6Unspecified()) {
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
