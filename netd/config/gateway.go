package config

import (
	"hash/fnv"
	"net/netip"
	"slices"
)

// checkGateway reports own addresses that do not fit.
func (r *reader) checkGateway(f *rawFile) {
	families := map[bool]*node{}
	for _, a := range f.gateway.addresses.v {
		if !a.ok {
			continue
		}
		if first := families[a.v.Is4()]; first != nil {
			r.conflict(a.n, "a second one of its family (%s): expected one of each", first)
		}
		families[a.v.Is4()] = a.n
		for _, u := range f.uplinks {
			for _, s := range u.addresses.v {
				if s.ok && s.v.Contains(a.v) {
					r.conflict(a.n, "in the subnet %s (%s): expected an address apart from the uplinks'", s.v.Masked(), s.n)
				}
			}
		}
	}
}

// checkOther reports a gateway's second address that does not fit.
func (r *reader) checkOther(p rawPeer, own map[netip.Addr]*node) {
	if p.address.ok && p.address.v.Is4() == p.other.v.Is4() {
		r.conflict(p.other.n, "of the same family as %s: expected the gateway's address of the other", p.address.v)
	}
	if a := own[p.other.v]; a != nil {
		r.conflict(p.other.n, "this gateway's own address (%s): expected the peer's", a)
	}
}

// known is the address by which others know the gateway in a's family.
func (f *rawFile) known(a netip.Addr) netip.Addr {
	for _, g := range f.gateway.addresses.v {
		if g.ok && g.v.Is4() == a.Is4() {
			return g.v
		}
	}
	for _, u := range f.uplinks {
		for _, s := range u.addresses.v {
			if s.ok && s.v.Addr().Is4() == a.Is4() {
				return s.v.Addr()
			}
		}
	}
	return netip.Addr{}
}

// tunnelled tells whether any pool's pods may be reached through a tunnel.
func (f *rawFile) tunnelled() bool {
	return slices.ContainsFunc(f.pools, func(p rawPool) bool { return p.encapsulation.v != EncapsulateNever })
}

// checkRouterID reports that there is nothing that could be the router-id.
func (r *reader) checkRouterID(f *rawFile) {
	if f.bgp.routerID.n == nil && f.bgp.as.ok && allStatic(f.uplinks) && len(f.ownAddresses()) > 0 && !f.defaultRouterID().IsValid() {
		r.conflict(f.bgp.as.n, `no IPv4 address to be the router-id: expected a number in that form beside it, e.g. router-id = "10.0.1.11"`)
	}
}

// defaultRouterID is what BGP is called by if the file does not say: the gateway's own IPv4
// address, or else an uplink's, or else the first of a block, or else a number made of its name. It is never
// a lease's: another router id is another speaker, and each session would end with an address
// that only one of them uses.
func (f *rawFile) defaultRouterID() netip.Addr {
	for _, a := range f.gateway.addresses.v {
		if a.ok && a.v.Is4() {
			return a.v
		}
	}
	for _, u := range f.uplinks {
		for _, a := range u.addresses.v {
			if a.ok && a.v.Addr().Is4() {
				return a.v.Addr()
			}
		}
	}
	for _, p := range f.pools {
		if p.block.ok && p.block.v.Addr().Is4() {
			return p.block.v.Masked().Addr() // A block is nobody else's.
		}
	}
	if allStatic(f.uplinks) {
		return netip.Addr{}
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(f.gateway.name.v))
	return netip.AddrFrom4([4]byte(h.Sum(nil)))
}
