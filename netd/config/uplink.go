package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"netd/netd/internal/address"
)

// Uplink is a link toward a ToR.
type Uplink struct {
	// Of Link's Addresses, those with DHCP are IPv6's only; none is for a link whose packets
	// have the gateway's own address. With DHCP the MTU holds unless the server names another.
	Link
	// DHCP asks a DHCPv4 server (RFC 2131) for address, router and MTU.
	DHCP bool
	// Router and Router6 are the static default routes' next hops; invalid means none.
	// Router6 may be link-local.
	Router, Router6 netip.Addr
}

type rawUplink struct {
	rawLink
	dhcp    val[bool]
	router  val[netip.Addr]
	router6 val[netip.Addr]
}

func (u *Uplink) keys(t *table) rawUplink {
	defer t.done()
	r := rawUplink{rawLink: u.Link.keys(t, purpose{stem: "uplink", address: "10.0.1.11/24"})}
	r.dhcp = withDefault(t, "dhcp", &u.DHCP, boolean(), false)
	r.router = optional(t, "router", &u.Router, ipv4("10.0.1.1"))
	r.router6 = optional(t, "router6", &u.Router6, ipv6("2001:db8:1::1"))
	if r.addresses.n == nil && r.dhcp.ok && !r.dhcp.v {
		t.missing("address", `expected static addresses or DHCP, e.g. address = ["10.0.1.11/24"] or dhcp = true`)
	}
	return r
}

func (r *reader) checkUplinks(f *rawFile) {
	links := f.links()
	r.checkLinks(links)
	for _, u := range f.uplinks {
		r.checkUplinkAddresses(u, f)
	}
	r.checkSubnets(links)
}

// checkUplinkAddresses checks one uplink's addresses, routers and DHCP.
func (r *reader) checkUplinkAddresses(u rawUplink, f *rawFile) {
	dhcp := u.dhcp.ok && u.dhcp.v
	for _, a := range u.addresses.v {
		if dhcp && a.ok && a.v.Addr().Is4() {
			r.conflict(a.n, "an IPv4 address and dhcp = true exclude each other: expected one of them")
		}
		if a.ok && a.v.IsSingleIP() {
			r.add(isWarning, a.n, a.n.src, fmt.Sprintf("a /%d has no subnet, so every other gateway is in another one, and is reached through the router or the tunnel; expected the subnet's prefix length, unless that is what you want", a.v.Bits()))
		}
	}
	if dhcp && u.router.ok {
		r.conflict(u.router.n, "with dhcp = true the server names the router: expected no router")
	}
	if u.dhcp.ok && !dhcp && u.addresses.ok && len(u.addresses.v) == 0 && !f.gateway.addresses.ok && !u.isParent(f.links()) {
		r.conflict(u.addresses.n, `without dhcp = true: expected at least one address, e.g. ["10.0.1.11/24"], or one in [gateway]`)
	}
	if !dhcp {
		r.checkRouter(u, u.router, f)
	}
	if u.router6.ok && !u.router6.v.IsLinkLocalUnicast() {
		r.checkRouter(u, u.router6, f)
	}
}

// checkRouter reports a router that can not be one. In no subnet of the uplink's it may be
// on the link all the same: clouds have such.
func (r *reader) checkRouter(u rawUplink, router val[netip.Addr], f *rawFile) {
	if !router.ok || !u.addresses.ok {
		return
	}
	var subnets, wide []string // wide are those that hold others
	for _, a := range u.addresses.v {
		switch {
		case !a.ok:
			return // unknown: do not guess
		case a.v.Addr() == router.v:
			r.conflict(router.n, "this is the uplink's own address: expected the ToR's")
			return
		case address.Holds(a.v, router.v):
			return
		case a.v.Contains(router.v):
			r.conflict(router.n, "the first and last address of %s are not a host's: expected another one", a.v.Masked())
			return
		case a.v.Addr().Is4() == router.v.Is4():
			subnets = append(subnets, a.v.Masked().String())
			if !a.v.IsSingleIP() {
				wide = append(wide, a.v.Masked().String())
			}
		}
	}
	switch elsewhere := f.elsewhere(u, router.v); {
	case len(subnets) == 0:
		r.conflict(router.n, "the uplink has no address of this family: expected one")
	case elsewhere != "":
		r.conflict(router.n, "%s: expected the router's on this uplink, e.g. in %s", elsewhere, strings.Join(subnets, " or "))
	case len(wide) > 0:
		r.add(isWarning, router.n, router.n.src, fmt.Sprintf("not in the uplink's subnet, so it is taken to be on its link all the same, as some clouds have it; expected a host's address in %s, unless that is what you want", strings.Join(wide, " or ")))
	}
}

// elsewhere says where else than on an uplink an address is; empty if that is not known.
func (f *rawFile) elsewhere(uplink rawUplink, a netip.Addr) string {
	for _, own := range f.gateway.addresses.v {
		if own.ok && own.v == a {
			return fmt.Sprintf("the gateway's own address (%s)", own.n)
		}
	}
	for _, u := range f.uplinks {
		for _, own := range u.addresses.v {
			if u.n != uplink.n && own.ok && own.v.Contains(a) {
				return fmt.Sprintf("in the subnet of another uplink (%s)", own.n)
			}
		}
	}
	return ""
}

// ownAddresses has the gateway's static addresses.
func (f *rawFile) ownAddresses() map[netip.Addr]*node {
	own := make(map[netip.Addr]*node)
	for _, a := range f.gateway.addresses.v {
		if a.ok {
			own[a.v] = a.n
		}
	}
	for _, u := range f.uplinks {
		for _, a := range u.addresses.v {
			if a.ok {
				own[a.v.Addr()] = a.n
			}
		}
	}
	return own
}

// allStatic says whether every address that the gateway will have is known.
func allStatic(us []rawUplink) bool {
	for _, u := range us {
		if !u.dhcp.ok || u.dhcp.v || !u.addresses.ok {
			return false
		}
		for _, a := range u.addresses.v {
			if !a.ok {
				return false
			}
		}
	}
	return len(us) > 0
}

// checkConnected reports ToRs that are not on a subnet of an uplink: they are
// spoken to directly (TTL 1). Behind a /32 only the router is.
func (r *reader) checkConnected(f *rawFile) {
	if !allStatic(f.uplinks) {
		return
	}
	if !slices.ContainsFunc(f.uplinks, func(u rawUplink) bool { return len(u.addresses.v) > 0 }) {
		return
	}
	for _, p := range f.bgp.peers {
		if p.onSubnet(f) && !connected(f.uplinks, p.address.v) && !r.told(p.address.n) {
			r.conflict(p.address.n, "not on a connected subnet%s, or multihop for a peer further away", connecting(f.uplinks, p.address.v))
		}
	}
}

// connecting says what would make a peer a connected one, and why it is none if that is
// not plain: nobody but the gateway itself is in a /32.
func connecting(us []rawUplink, peer netip.Addr) string {
	var subnets, singles []string
	for _, u := range us {
		for _, a := range u.addresses.v {
			switch {
			case a.v.Addr().Is4() != peer.Is4():
			case a.v.IsSingleIP():
				singles = append(singles, a.v.String())
			default:
				subnets = append(subnets, a.v.Masked().String())
			}
		}
	}
	said := ", as no uplink has an address of this family: expected one"
	switch {
	case len(subnets) > 0:
		said = ": expected a host's address in " + strings.Join(subnets, " or ")
	case len(singles) > 0:
		said = fmt.Sprintf(", as %s holds no other host: expected the subnet's prefix length there", strings.Join(singles, " or "))
	}
	if len(singles) > 0 {
		said += fmt.Sprintf(", or the uplink's router, which may be outside of its subnet (%s)", routerIs(peer))
	}
	return said
}

// routerIs is the line that makes an address the router's.
func routerIs(a netip.Addr) string {
	if a.Is6() {
		return fmt.Sprintf("router6 = %q", a)
	}
	return fmt.Sprintf("router = %q", a)
}

func connected(us []rawUplink, peer netip.Addr) bool {
	for _, u := range us {
		for _, a := range u.addresses.v {
			if address.Holds(a.v, peer) || u.router.ok && u.router.v == peer || u.router6.ok && u.router6.v == peer {
				return true
			}
		}
	}
	return false
}
