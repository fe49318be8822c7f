package config

import (
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
	// board's) name or by MAC address; exactly one is set.
	Match LinkMatch
	// Addresses are the static addresses with their prefix length. Empty if DHCP.
	Addresses []netip.Prefix
	// DHCP asks a DHCPv4 server (RFC 2131) for address, router and MTU.
	DHCP bool
	// Router is the static default route's next hop; invalid means none.
	Router netip.Addr
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
	mtu       val[int64]
}

func readUplink(t *table) rawUplink {
	defer t.done()
	u := rawUplink{
		n:         t.n,
		name:      required(t, "name", ownLinkName("uplink0")),
		addresses: elements(t, "address", interfaceAddr("10.0.1.11/24")),
		dhcp:      withDefault(t, "dhcp", boolean(), false),
		router:    optional(t, "router", ipv4("10.0.1.1")),
		mtu:       withDefault(t, "mtu", number(576, 9216, "1500"), 1500),
	}
	m := t.table("match")
	defer m.done()
	u.matchName = optional(m, "name", linkLabel())
	u.matchMAC = optional(m, "mac", hardwareAddr())
	if u.matchName.n == nil && u.matchMAC.n == nil && !m.quiet {
		t.missing("match", `expected which of the box's links it is, e.g. match = { name = "eth0" } or match = { mac = "52:54:00:01:00:0a" }`)
	}
	if u.addresses.n == nil && u.dhcp.ok && !u.dhcp.v {
		t.missing("address", `expected static addresses or DHCP, e.g. address = ["10.0.1.11/24"] or dhcp = true`)
	}
	return u
}

func (r *reader) checkUplinks(us []rawUplink) {
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
		r.checkUplinkAddresses(u)
	}
	for i, u := range us {
		for j, other := range us {
			if i != j && u.name.ok && other.matchName.ok && u.name.v == other.matchName.v {
				r.conflict(u.name.n, "another uplink's link has this name (%s): expected a name that no link has yet, e.g. \"uplink%d\"", other.matchName.n, i)
			}
		}
	}
	r.checkSubnets(us)
}

// checkUplinkAddresses checks one uplink's addresses, router and DHCP.
func (r *reader) checkUplinkAddresses(u rawUplink) {
	if u.dhcp.ok && u.dhcp.v {
		if u.addresses.ok && len(u.addresses.v) > 0 {
			r.conflict(u.addresses.n, "address and dhcp = true exclude each other: expected one of them")
		}
		if u.router.ok {
			r.conflict(u.router.n, "with dhcp = true the server names the router: expected no router")
		}
		return
	}
	if !u.addresses.ok {
		return
	}
	if u.dhcp.ok && len(u.addresses.v) == 0 {
		r.conflict(u.addresses.n, `without dhcp = true: expected at least one address, e.g. ["10.0.1.11/24"]`)
	}
	within, onlink := false, false
	var subnets []string
	for _, a := range u.addresses.v {
		if !a.ok {
			within = true // unknown: do not guess
			continue
		}
		subnets = append(subnets, a.v.Masked().String())
		onlink = onlink || a.v.Bits() == 32
		within = within || hostOf(a.v, u.router.v)
		if u.router.ok && a.v.Addr() == u.router.v {
			r.conflict(u.router.n, "this is the uplink's own address: expected the ToR's")
		}
		if a.v.Bits() == 32 {
			r.add(isWarning, a.n, a.n.src, "a /32 has no subnet, so every other gateway is in another one, and is reached through the router or the tunnel; expected the subnet's prefix length, unless that is what you want")
		}
	}
	if u.router.ok && !within && !onlink && len(subnets) > 0 {
		r.conflict(u.router.n, "not in the uplink's subnet: expected a host's address in %s", strings.Join(subnets, " or "))
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

// ownAddresses has the uplinks' static addresses.
func ownAddresses(us []rawUplink) map[netip.Addr]*node {
	own := make(map[netip.Addr]*node)
	for _, u := range us {
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
		if !u.dhcp.ok || u.dhcp.v || len(u.addresses.v) == 0 {
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
	for _, p := range f.bgp.peers {
		if p.onSubnet(f) && !connected(f.uplinks, p.address.v) {
			r.conflict(p.address.n, "not on a connected subnet: expected a host's address in %s, or multihop for a peer further away", strings.Join(subnets, " or "))
		}
	}
}

func connected(us []rawUplink, peer netip.Addr) bool {
	for _, u := range us {
		for _, a := range u.addresses.v {
			if hostOf(a.v, peer) || u.router.ok && u.router.v == peer {
				return true
			}
		}
	}
	return false
}

func (u rawUplink) config() Uplink {
	c := Uplink{
		Name:   u.name.v,
		Match:  LinkMatch{Name: u.matchName.v, MAC: u.matchMAC.v},
		DHCP:   u.dhcp.v,
		Router: u.router.v,
		MTU:    int(u.mtu.v),
	}
	if !c.DHCP {
		c.Addresses = usable(u.addresses)
	}
	return c
}

func printUplinks(p func(string, ...any), us []Uplink) {
	for _, u := range us {
		p("\n[[uplink]]\nname = %s", quote(u.Name))
		if u.Match.MAC != nil {
			p("match = { mac = %s }", quote(u.Match.MAC.String()))
		} else {
			p("match = { name = %s }", quote(u.Match.Name))
		}
		if u.DHCP {
			p("dhcp = true")
		} else {
			p("address = %s", quoteAll(u.Addresses, netip.Prefix.String))
		}
		if u.Router.IsValid() {
			p("router = %s", quote(u.Router.String()))
		}
		p("mtu = %d", u.MTU)
	}
}
