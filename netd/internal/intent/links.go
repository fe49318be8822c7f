package intent

import (
	"net"
	"net/netip"
	"slices"

	"netd/netd/config"
	"netd/netd/internal/link"
)

func (c compiler) box() Box {
	b := Box{Name: c.Gateway.Name, ConsolePassword: c.Management.ConsolePassword}
	if b.ConsolePassword == config.NoLogin {
		b.ConsolePassword, b.NoLogin = "", true
	}
	if b.NameServers = slices.Clone(c.DNS.Servers); len(b.NameServers) > 0 {
		return b
	}
	for _, u := range c.Config.Uplinks {
		b.NameServers = append(b.NameServers, c.Leases[u.Name].DNS...)
	}
	return b
}

// uplinks are the configuration's.
func (c compiler) uplinks() []Uplink {
	wanted := make([]Uplink, 0, len(c.Config.Uplinks))
	for _, u := range c.Config.Uplinks {
		w := c.wanted(u.Link)
		w.DHCP, w.Router, w.Router6 = u.DHCP, u.Router, u.Router6
		wanted = append(wanted, Uplink{w, c.prefixes(u), c.offSubnet(u)})
	}
	return wanted
}

// lans are the configuration's.
func (c compiler) lans() []link.Wanted {
	var wanted []link.Wanted
	for _, l := range c.Config.LANs {
		w := c.wanted(l.Link)
		w.LAN = true
		wanted = append(wanted, w)
	}
	return wanted
}

// wanted is a link of the configuration, with the board's labels made MAC addresses.
func (c compiler) wanted(l config.Link) link.Wanted {
	w := link.Wanted{Name: l.Name, MatchName: l.Match.Name, MatchMAC: c.matchMAC(l.Match), Addresses: l.Addresses, MTU: l.MTU, Forward6: c.forwards6()}
	if l.VLAN != nil {
		w.VLAN = &link.VLAN{ID: l.VLAN.ID, Parent: c.linkMatch(l.VLAN.Parent)}
	}
	if l.Bond != nil {
		w.Bond = &link.Bond{Mode: string(l.Bond.Mode), Members: c.members(l.Bond.Members)}
	}
	if l.Bridge != nil {
		w.Bridge = &link.Bridge{Members: c.members(l.Bridge.Members)}
	}
	return w
}

func (c compiler) members(names []string) []link.Match {
	var all []link.Match
	for _, m := range names {
		all = append(all, c.linkMatch(m))
	}
	return all
}

// linkMatch finds a link by its name in the kernel or on the board.
func (c compiler) linkMatch(name string) link.Match {
	return link.Match{Name: name, MAC: c.matchMAC(config.LinkMatch{Name: name})}
}

// matchMAC is the MAC address that a link is found by: its own match, or that of the
// link at the port that it names by its label. It is nil for one that is found by the
// kernel's name.
func (c compiler) matchMAC(m config.LinkMatch) net.HardwareAddr {
	if mac, ok := c.Ports[m.Name]; ok && m.MAC == nil {
		return mac
	}
	return m.MAC
}

// prefixes are the addresses of an uplink, as configured or leased.
func (c compiler) prefixes(u config.Uplink) []netip.Prefix {
	if lease := c.Leases[u.Name]; u.DHCP && lease.Address.IsValid() {
		return append([]netip.Prefix{lease.Address}, u.Addresses...)
	}
	return u.Addresses
}

// own are the gateway's addresses that are on no uplink.
func (c compiler) own() []netip.Prefix {
	var own []netip.Prefix
	for _, a := range c.Gateway.Addresses {
		own = append(own, netip.PrefixFrom(a, a.BitLen()))
	}
	return own
}

// addresses are the gateway's own, and then the uplinks', in their order: the first of a
// family is the one that others know it by.
func (c compiler) addresses() []netip.Prefix {
	all := c.own()
	for _, u := range c.Config.Uplinks {
		all = append(all, c.prefixes(u)...)
	}
	return all
}

// ownAddress is the gateway's own of a family, if it has one yet.
func (c compiler) ownAddress(family func(netip.Addr) bool) netip.Addr {
	for _, a := range c.addresses() {
		if family(a.Addr()) {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// UplinkOf is the index of the uplink on whose subnet an address is, whose router it is, or
// whose link is its zone; -1 if there is none.
func (i Intent) UplinkOf(a netip.Addr) int {
	return slices.IndexFunc(i.Uplinks, func(u Uplink) bool {
		on := func(p netip.Prefix) bool { return p.Contains(a) }
		return a.Zone() == u.Name || a.Zone() == "" && (slices.ContainsFunc(u.Prefixes, on) || slices.Contains(u.Routers, a))
	})
}

// onSubnet tells whether an uplink has an address in the peer's subnet, or the peer is its
// router.
func (c compiler) onSubnet(peer netip.Addr) bool {
	return slices.ContainsFunc(c.Facts.Uplinks, func(u link.State) bool {
		return u.Router == peer || u.Router6 == peer || slices.ContainsFunc(u.Addresses, func(a netip.Prefix) bool { return a.Contains(peer) })
	})
}

// localFor is the own address to talk to a peer from: the one on its subnet, or of the
// uplink whose router it is, or else the gateway's. It is fixed, so that no tunnel and no pod address is ever
// used by accident.
func (c compiler) localFor(peer netip.Addr) netip.Addr {
	if own, ok := c.Facts.LinkLocals[peer.Zone()]; ok && peer.Zone() != "" {
		return own.WithZone(peer.Zone())
	}
	for _, a := range c.addresses() {
		if a.Contains(peer) {
			return a.Addr()
		}
	}
	others := c.addresses()
	for _, u := range c.Config.Uplinks {
		if slices.Contains(c.offSubnet(u), peer) {
			others = append(slices.Clone(c.prefixes(u)), others...)
		}
	}
	for _, a := range others {
		if a.Addr().Is4() == peer.Is4() {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// otherFamily is an address of the other family on the link that has the local one, or
// beside it among the gateway's own; invalid if there is none.
func (c compiler) otherFamily(local netip.Addr) netip.Addr {
	for _, u := range append([]config.Uplink{{Link: config.Link{Addresses: c.own()}}}, c.Config.Uplinks...) {
		own := c.prefixes(u)
		if (local.Zone() == "" || u.Name != local.Zone()) && !slices.ContainsFunc(own, func(a netip.Prefix) bool { return a.Addr() == local }) {
			continue
		}
		for _, a := range own {
			if a.Addr().Is4() != local.Is4() {
				return a.Addr()
			}
		}
	}
	return netip.Addr{}
}

// uplinkMTU is the smallest of the uplinks', in octets. One by DHCP has what its
// link has: that is the lease's, or was left by the lease of an earlier life.
func (c compiler) uplinkMTU() int {
	mtu := 65535
	for i, u := range c.Config.Uplinks {
		if u.DHCP && i < len(c.Facts.Uplinks) && c.Facts.Uplinks[i].MTU > 0 {
			mtu = min(mtu, c.Facts.Uplinks[i].MTU)
		} else {
			mtu = min(mtu, u.MTU)
		}
	}
	return mtu
}

// neighbours is how many there may be: this gateway's pods, and hosts on the uplinks'
// and LANs' subnets. The pods of others are behind routers.
func (c compiler) neighbours() link.Neighbours {
	var n link.Neighbours
	// No more of a subnet is counted: a /64 of IPv6 is not full.
	const mostBits4, mostBits6 = 14, 12
	count := func(p netip.Prefix) {
		if bits := p.Addr().BitLen() - p.Bits(); p.Addr().Is4() {
			n.V4 += 1 << min(bits, mostBits4)
		} else {
			n.V6 += 1 << min(bits, mostBits6)
		}
	}
	for _, p := range c.Pools {
		if p.Block.IsValid() {
			count(p.Block)
		}
	}
	for _, u := range c.Config.Uplinks {
		for _, p := range c.prefixes(u) {
			count(p)
		}
	}
	for _, l := range c.Config.LANs {
		for _, p := range l.Addresses {
			count(p)
		}
	}
	return n
}

// heard are the links of unnumbered peers, and those whose own link-local address
// sessions need.
func (c compiler) heard() (links, linkLocals []string) {
	for _, p := range c.Config.BGP.Peers {
		if p.Interface != "" {
			links = append(links, p.Interface)
		}
	}
	linkLocals = slices.Clone(links)
	for _, p := range c.Config.BGP.Peers {
		if zone := p.Address.Zone(); zone != "" {
			linkLocals = append(linkLocals, zone)
		}
	}
	return links, linkLocals
}
