package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// checkNextHops reports IPv6 prefixes that no ToR can send back: over a session by IPv4
// their next hop is our IPv6 address on the same link. Without one GoBGP would say
// ::ffff:10.0.1.11, which switches drop, or take for a way.
func (r *reader) checkNextHops(f *rawFile) {
	const eg = `address = ["10.0.1.11/24", "2001:db8:1::11/64"]`
	origin := f.origin6()
	if origin == nil {
		return
	}
	var without []rawPeer
	tors := 0
	for _, p := range f.bgp.peers {
		if p.kind.v == TypeToR && (p.address.ok || p.link.ok) {
			tors++
			if p.address.ok && p.address.v.Is4() && !f.nextHop6(p) {
				without = append(without, p)
			}
		}
	}
	if len(without) > 0 && len(without) == tors && len(f.bgp.gateways)+len(f.bgp.ranges) == 0 {
		p := without[0]
		r.conflict(origin, "no ToR can be told of it: this gateway has no IPv6 address beside the IPv4 address that %s is reached from (%s), to be the next hop: expected one, e.g. %s", p.name.v, p.address.n, eg)
		return
	}
	for _, p := range without {
		r.add(isWarning, p.address.n, p.address.n.src, fmt.Sprintf(
			"it is not told %s (line %d): this gateway has no IPv6 address on its link to be the next hop; expected one, e.g. %s, unless that is what you want", origin.path, origin.line, eg))
	}
}

// origin6 is the first prefix of IPv6 that this gateway announces, or nil.
func (f *rawFile) origin6() *node {
	for _, p := range f.pools {
		if p.block.ok && p.block.v.Addr().Is6() {
			return p.block.n
		}
	}
	for _, a := range f.bgp.announces {
		if a.prefix.ok && a.prefix.v.Addr().Is6() {
			return a.prefix.n
		}
	}
	return nil
}

// nextHop6 tells whether a peer that is spoken to by IPv4 gets an IPv6 address with it:
// one that stands beside the address that we speak from.
func (f *rawFile) nextHop6(p rawPeer) bool {
	groups := [][]netip.Addr{usable(f.gateway.addresses)}
	leased := -1
	for _, u := range f.uplinks {
		var own []netip.Addr
		on := false
		for _, a := range usable(u.addresses) {
			own, on = append(own, a.Addr()), on || !p.source.ok && a.Contains(p.address.v)
		}
		if on {
			return slices.ContainsFunc(own, netip.Addr.Is6)
		}
		if u.dhcp.v {
			leased = len(groups)
		}
		groups = append(groups, own)
	}
	if leased > 0 && !p.source.ok { // On the leased subnet, as far as is known here.
		return slices.ContainsFunc(groups[leased], netip.Addr.Is6)
	}
	for _, own := range groups {
		if p.source.ok && slices.Contains(own, p.source.v) || !p.source.ok && slices.ContainsFunc(own, netip.Addr.Is4) {
			return slices.ContainsFunc(own, netip.Addr.Is6)
		}
	}
	return true // unknown: do not guess
}
