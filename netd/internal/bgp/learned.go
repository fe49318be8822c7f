package bgp

import (
	"net/netip"
	"slices"

	"netd/netd/internal/bgp/wire"
	"netd/netd/internal/rib"
)

// admits says what lets a prefix in.
func admits(pools []netip.Prefix, prefix netip.Prefix) rib.Rule {
	switch {
	case slices.ContainsFunc(pools, func(p netip.Prefix) bool { return p.Bits() <= prefix.Bits() && p.Contains(prefix.Addr()) }):
		return rib.ByPool
	case prefix.Bits() == 0:
		return rib.ByDefault
	}
	return rib.ByFilter
}

// learned turns what is told of a prefix into paths, in BGP's order; those that are no
// peer's, or lead nowhere, are left out. name is a peer's name; one that is our own, or
// of a session that is not configured any more, has none.
func learned(told []*wire.Path, name func(netip.Addr) string) []rib.Path {
	told = slices.DeleteFunc(slices.Clone(told), func(r *wire.Path) bool { return name(r.From) == "" || !r.NextHop.IsValid() })
	paths := make([]rib.Path, 0, len(told))
	equals := 0 // the first path that has the rank of the one before
	for i, r := range told {
		path := rib.Path{Peer: name(r.From), Rank: i, Stale: r.Stale, NextHop: r.NextHop, ASPath: r.ASPath}
		if i > 0 && !slices.ContainsFunc(told[equals:i], func(o *wire.Path) bool { return !r.As(o.Merit) }) {
			path.Rank = paths[i-1].Rank
		} else {
			equals = i
		}
		paths = append(paths, path)
	}
	return paths
}
