package config

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
)

// Link is what every link has that netd sets up, whatever it is for.
type Link struct {
	// Name is what the link is called in this file, in logs and in the kernel
	// (at most 15 octets): the matched link is renamed to it.
	Name string
	// Match says which of the box's links it is: by the kernel's (or the
	// board's) name or by MAC address; exactly one is set, unless it is a VLAN, a Bond or
	// a Bridge, which netd makes.
	Match  LinkMatch
	VLAN   *VLAN
	Bond   *Bond
	Bridge *Bridge // of LANs alone
	// Addresses are the static addresses with their prefix length.
	Addresses []netip.Prefix
	// MTU in octets, 576 to 9216 (default 1500).
	MTU int
}

// LinkMatch finds one of the box's links.
type LinkMatch struct {
	Name string
	MAC  net.HardwareAddr
}

type rawLink struct {
	n         *node
	stem      string // of names like it
	name      val[string]
	matchName val[string]
	matchMAC  val[net.HardwareAddr]
	addresses val[[]val[netip.Prefix]]
	vlan      rawVLAN
	bond      rawMembers
	bridge    rawMembers
	mtu       val[int]
}

// purpose is what a link is for: what such links are called by number, an example of an
// address, and whether it may be a bridge.
type purpose struct {
	stem, address string
	bridge        bool
}

// keys are those that all links have.
func (l *Link) keys(t *table, p purpose) rawLink {
	r := rawLink{n: t.n, stem: p.stem, name: required(t, "name", &l.Name, ownLinkName(p.stem+"0"))}
	m := t.inline("match")
	defer m.done()
	r.matchName = optional(m, "name", &l.Match.Name, linkLabel())
	r.matchMAC = optional(m, "mac", &l.Match.MAC, hardwareAddr())
	r.vlan = l.vlanKeys(t)
	r.bond = l.bondKeys(t)
	if p.bridge {
		r.bridge = l.bridgeKeys(t)
	}
	r.addresses = elements(t, "address", &l.Addresses, interfaceAddr(p.address))
	r.mtu = withDefault(t, "mtu", &l.MTU, number[int](576, 9216, "1500"), 1500)
	if len(m.n.table) == 0 && r.made() == nil && !m.quiet {
		t.missing("match", `expected which of the box's links it is, e.g. match = { name = "eth0" } or match = { mac = "52:54:00:01:00:0a" }`)
	}
	return r
}

// made is the node that says how netd makes the link, or nil.
func (l rawLink) made() *node {
	return cmp.Or(l.vlan.n, l.bond.n, l.bridge.n)
}

// links are all that netd sets up.
func (f *rawFile) links() []rawLink {
	var all []rawLink
	for _, u := range f.uplinks {
		all = append(all, u.rawLink)
	}
	for _, l := range f.lans {
		all = append(all, l.rawLink)
	}
	return all
}

// checkLinks reports links that are given twice, and those that can not be found or made
// so.
func (r *reader) checkLinks(ls []rawLink) {
	names, links, macs := map[string]*node{}, map[string]*node{}, map[string]*node{}
	for _, l := range ls {
		if l.name.ok {
			unique(r, names, l.name.v, l.name.n)
		}
		if l.matchName.ok {
			unique(r, links, l.matchName.v, l.matchName.n)
		}
		if l.matchMAC.ok {
			unique(r, macs, l.matchMAC.v.String(), l.matchMAC.n)
		}
		r.checkKind(l)
	}
	for i, l := range ls {
		for j, other := range ls {
			if i != j && l.name.ok && other.matchName.ok && l.name.v == other.matchName.v {
				r.conflict(l.name.n, "another link of this file has this name (%s): expected a name that no link has yet, e.g. \"%s%d\"", other.matchName.n, l.stem, i)
			}
		}
	}
	r.checkMembers(ls)
	r.checkVLANs(ls)
}

// checkSubnets reports subnets of different links that overlap: the kernel would
// send to all of both by one of the links.
func (r *reader) checkSubnets(ls []rawLink) {
	var seen []val[netip.Prefix]
	for _, l := range ls {
		var own []val[netip.Prefix]
		for _, a := range l.addresses.v {
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
					r.conflict(a.n, "overlaps %s (%s): expected one link for a subnet", s.v.Masked(), s.n)
				}
			}
			own = append(own, a)
		}
		seen = append(seen, own...)
	}
}

// checkMTU6 reports links that are to carry IPv6 and are too narrow: on one of less than
// 1280 octets the kernel has none (RFC 8200 section 5).
func (r *reader) checkMTU6(f *rawFile) {
	for _, l := range f.links() {
		if l.mtu.n == nil || !l.mtu.ok || l.mtu.v >= 1280 || r.told(l.mtu.n) {
			continue
		}
		if n := f.wants6(l); n != nil {
			r.conflict(l.mtu.n, "too narrow for IPv6 (%s): expected at least 1280 (RFC 8200)", n)
		}
	}
}

// wants6 is what is to run by IPv6 on a link, or nil.
func (f *rawFile) wants6(l rawLink) *node {
	for _, a := range l.addresses.v {
		if a.ok && a.v.Addr().Is6() {
			return a.n
		}
	}
	i := slices.IndexFunc(f.uplinks, func(u rawUplink) bool { return u.n == l.n })
	if i < 0 {
		return nil // pods and peers are not by a LAN
	}
	if router := f.uplinks[i].router6; router.ok {
		return router.n
	}
	for _, p := range slices.Concat(f.bgp.peers, f.bgp.gateways) {
		switch {
		case !l.name.ok:
		case p.link.ok && p.link.v == l.name.v:
			return p.link.n
		case p.address.ok && p.address.v.Zone() == l.name.v:
			return p.address.n
		}
	}
	for _, p := range f.pools {
		if p.prefix.ok && p.prefix.v.Addr().Is6() {
			return p.prefix.n
		}
	}
	return nil
}
