package daemon

import (
	"net/netip"

	"netd/netd/config"
	"netd/netd/internal/link"
)

// wantedUplinks are the configuration's, with the board's labels made MAC addresses.
func (d *Daemon) wantedUplinks() []link.Uplink {
	wanted := make([]link.Uplink, 0, len(d.config.Uplinks))
	for _, u := range d.config.Uplinks {
		w := link.Uplink{
			Name: u.Name, MatchName: u.Match.Name, MatchMAC: d.matchMAC(u.Match), Addresses: u.Addresses,
			DHCP: u.DHCP, Router: u.Router, Router6: u.Router6, MTU: u.MTU,
		}
		if u.VLAN != nil {
			w.VLAN = &link.VLAN{ID: u.VLAN.ID, Parent: d.linkMatch(u.VLAN.Parent)}
		}
		if u.Bond != nil {
			w.Bond = &link.Bond{Mode: string(u.Bond.Mode)}
			for _, m := range u.Bond.Members {
				w.Bond.Members = append(w.Bond.Members, d.linkMatch(m))
			}
		}
		wanted = append(wanted, w)
	}
	return wanted
}

// linkMatch finds a link by its name in the kernel or on the board.
func (d *Daemon) linkMatch(name string) link.Match {
	return link.Match{Name: name, MAC: d.matchMAC(config.LinkMatch{Name: name})}
}

// addresses are the gateway's own, and then the uplinks', as configured or leased, in
// their order: the first of a family is the one that others know it by. What the
// kernel has at the moment may be less, while a link is being mended, and that must
// not move sessions and tunnels.
func (d *Daemon) addresses() []netip.Prefix {
	own := d.gatewayAddresses()
	for _, u := range d.config.Uplinks {
		own = append(own, d.addressesOf(u)...)
	}
	return own
}

// gatewayAddresses are those that are on no uplink.
func (d *Daemon) gatewayAddresses() []netip.Prefix {
	var own []netip.Prefix
	for _, a := range d.config.Gateway.Addresses {
		own = append(own, netip.PrefixFrom(a, a.BitLen()))
	}
	return own
}

func (d *Daemon) addressesOf(u config.Uplink) []netip.Prefix {
	own := u.Addresses
	if lease := d.leases[u.Name]; u.DHCP && lease.Address.IsValid() {
		own = append([]netip.Prefix{lease.Address}, own...)
	}
	return own
}

// ownAddress is the gateway's own of a family, if it has one yet.
func (d *Daemon) ownAddress(family func(netip.Addr) bool) netip.Addr {
	for _, a := range d.addresses() {
		if family(a.Addr()) {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// uplinkMTU is the smallest of the uplinks', in octets. One by DHCP has what its
// link has: that is the lease's, or was left by the lease of an earlier life.
func (d *Daemon) uplinkMTU() int {
	mtu := 65535
	for i, u := range d.config.Uplinks {
		if u.DHCP && i < len(d.uplinks) && d.uplinks[i].MTU > 0 {
			mtu = min(mtu, d.uplinks[i].MTU)
		} else {
			mtu = min(mtu, u.MTU)
		}
	}
	return mtu
}
