package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Uplink is a link toward a ToR.
type Uplink struct {
	// Name is what the link is called in this file, in logs and in the kernel
	// (at most 15 octets): the matched link is renamed to it.
	Name string
	// Match says which of the box's links it is: by the kernel's (or the
	// board's) name or by MAC address; exactly one is set, unless it is a VLAN or a Bond,
	// which netd makes.
	Match LinkMatch
	VLAN  *VLAN
	Bond  *Bond
	// Addresses are the static addresses with their prefix length. With DHCP they are
	// IPv6's only; none is for a link whose packets have the gateway's own address.
	Addresses []netip.Prefix
	// DHCP asks a DHCPv4 server (RFC 2131) for address, router and MTU.
	DHCP bool
	// Router and Router6 are the static default routes' next hops; invalid means none.
	// Router6 may be link-local.
	Router, Router6 netip.Addr
	// MTU in octets, 576 to 9216 (default 1500). With DHCP it holds unless the server
	// names another.
	MTU int
}

// LinkMatch finds one of the box's links.
type LinkMatch struct {
	Name string
	MAC  net.HardwareAddr
}

type rawUplink struct {
	n         *node
	name      val[string]
	matchName val[string]
	matchMAC  val[net.HardwareAddr]
	addresses val[[]val[netip.Prefix]]
	dhcp      val[bool]
	router    val[netip.Addr]
	router6   val[netip.Addr]
	vlan      rawVLAN
	bond      rawBond
	mtu       val[int]
}

func (u *Uplink) keys(t *table) rawUplink {
	defer t.done()
	r := rawUplink{n: t.n, name: required(t, "name", &u.Name, ownLinkName("uplink0"))}
	m := t.inline("match")
	defer m.done()
	r.matchName = optional(m, "name", &u.Match.Name, linkLabel())
	r.matchMAC = optional(m, "mac", &u.Match.MAC, hardwareAddr())
	r.vlan = u.vlanKeys(t)
	r.bond = u.bondKeys(t)
	r.dhcp = withDefault(t, "dhcp", &u.DHCP, boolean(), false)
	r.addresses = elements(t, "address", &u.Addresses, interfaceAddr("10.0.1.11/24"))
	r.router = optional(t, "router", &u.Router, ipv4("10.0.1.1"))
	r.router6 = optional(t, "router6", &u.Router6, ipv6("2001:db8:1::1"))
	r.mtu = withDefault(t, "mtu", &u.MTU, number[int](576, 9216, "1500"), 1500)
	if r.matchName.n == nil && r.matchMAC.n == nil && r.vlan.n == nil && r.bond.n == nil && !m.quiet {
		t.missing("match", `expected which of the box's links it is, e.g. match = { name = "eth0" } or match = { mac = "52:54:00:01:00:0a" }`)
	}
	if r.addresses.n == nil && r.dhcp.ok && !r.dhcp.v {
		t.missing("address", `expected static addresses or DHCP, e.g. address = ["10.0.1.11/24"] or dhcp = true`)
	}
	return r
}

func (r *reader) checkUplinks(f *rawFile) {
	us := f.uplinks
	names, links, macs := map[string]*node{}, map[string]*node{}, map[string]*node{}
	for _, u := range us {
		if u.name.ok {
			unique(r, names, u.name.v, u.name.n)
		}
		if u.matchName.ok {
			unique(r, links, u.matchName.v, u.matchName.n)
		}
		if u.matchMAC.ok {
			unique(r, macs, u.matchMAC.v.String(), u.matchMAC.n)
		}
		if u.matchName.n != nil && u.matchMAC.n != nil {
			r.conflict(u.n.table["match"], "name and mac exclude each other: expected one of them")
		}
		if u.vlan.n != nil && u.bond.n != nil {
			r.conflict(u.bond.n, "vlan and bond exclude each other: expected the bond as an uplink of its own, and its name as the VLAN's parent")
		} else if made := u.made(); made != nil && u.n.table["match"] != nil {
			r.conflict(made, "match is for a link that is there: expected one of match, vlan and bond")
		}
		r.checkUplinkAddresses(u, f)
	}
	r.checkVirtual(us)
	for i, u := range us {
		for j, other := range us {
			if i != j && u.name.ok && other.matchName.ok && u.name.v == other.matchName.v {
				r.conflict(u.name.n, "another uplink's link has this name (%s): expected a name that no link has yet, e.g. \"uplink%d\"", other.matchName.n, i)
			}
		}
	}
	r.checkSubnets(us)
}

// made is the node that says how netd makes the link, or nil.
func (u rawUplink) made() *node {
	if u.vlan.n != nil {
		return u.vlan.n
	}
	return u.bond.n
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
	if u.dhcp.ok && !dhcp && u.addresses.ok && len(u.addresses.v) == 0 && !f.gateway.addresses.ok && !u.parentOf(f.uplinks) {
		r.conflict(u.addresses.n, `without dhcp = true: expected at least one address, e.g. ["10.0.1.11/24"], or one in [gateway]`)
	}
	if !dhcp {
		r.checkRouter(u, u.router)
	}
	if u.router6.ok && !u.router6.v.IsLinkLocalUnicast() {
		r.checkRouter(u, u.router6)
	}
}

// checkRouter reports a router that is not on the uplink's subnet. Behind an address
// without a subnet it is.
func (r *reader) checkRouter(u rawUplink, router val[netip.Addr]) {
	var subnets []string
	within := !router.ok || !u.addresses.ok
	for _, a := range u.addresses.v {
		switch {
		case !a.ok:
			within = true // unknown: do not guess
		case a.v.Addr().Is4() != router.v.Is4():
		default:
			subnets = append(subnets, a.v.Masked().String())
			within = within || a.v.IsSingleIP() || hostOf(a.v, router.v)
		}
		if router.ok && a.ok && a.v.Addr() == router.v {
			r.conflict(router.n, "this is the uplink's own address: expected the ToR's")
		}
	}
	switch {
	case within:
	case len(subnets) == 0:
		r.conflict(router.n, "the uplink has no address of this family: expected one")
	default:
		r.conflict(router.n, "not in the uplink's subnet: expected a host's address in %s", strings.Join(subnets, " or "))
	}
}

// checkSubnets reports subnets of different uplinks that overlap: the kernel would
// send to all of both by one of the links.
func (r *reader) checkSubnets(us []rawUplink) {
	var seen []val[netip.Prefix]
	for _, u := range us {
		var own []val[netip.Prefix]
		for _, a := range u.addresses.v {
			if !a.ok {
				continue
			}
			for _, s := range own {
				if s.v.Addr() == a.v.Addr() {
					r.conflict(a.n, "given before in line %d: expected each one once", s.n.line)
				}
			}
			for _, s := range seen {
				if s.v.Overlaps(a.v) {
					r.conflict(a.n, "overlaps %s (%s): expected one uplink for a subnet", s.v.Masked(), s.n)
				}
			}
			own = append(own, a)
		}
		seen = append(seen, own...)
	}
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
	var subnets []string
	for _, u := range f.uplinks {
		for _, a := range u.addresses.v {
			subnets = append(subnets, a.v.Masked().String())
		}
	}
	if len(subnets) == 0 {
		return
	}
	for _, p := range f.bgp.peers {
		if p.onSubnet(f) && !connected(f.uplinks, p.address.v) {
			r.conflict(p.address.n, "not on a connected subnet: expected a host's address in %s, or multihop for a peer further away", strings.Join(subnets, " or "))
		}
	}
}

func connected(us []rawUplink, peer netip.Addr) bool {
	for _, u := range us {
		for _, a := range u.addresses.v {
			if hostOf(a.v, peer) || u.router.ok && u.router.v == peer || u.router6.ok && u.router6.v == peer {
				return true
			}
		}
	}
	return false
}
