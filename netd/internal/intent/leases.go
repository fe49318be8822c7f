package intent

import (
	"maps"
	"net/netip"
	"slices"

	"netd/netd/config"
	"netd/netd/internal/dhcp"
	"netd/netd/internal/route"
)

// Lease is one that an uplink asks for.
type Lease struct {
	Match string // by what its link is found
	// Taken are the addresses that it may not have.
	Taken []dhcp.Taken
}

// refuseLeases takes those of the leases away that touch what the configuration, which may
// be newer, has elsewhere. Of two uplinks in one subnet the first has its lease.
func (c *compiler) refuseLeases() (wanted map[string]Lease) {
	given := c.Leases
	c.Leases = maps.Clone(given)
	for _, u := range c.Config.Uplinks {
		if u.DHCP {
			delete(c.Leases, u.Name)
		}
	}
	wanted = map[string]Lease{}
	for _, u := range c.Config.Uplinks {
		if !u.DHCP {
			continue
		}
		w := Lease{u.Match.Name + u.Match.MAC.String(), c.taken(u)}
		wanted[u.Name] = w
		lease, there := given[u.Name]
		if !there {
			continue
		}
		if lease.Address.IsValid() {
			if err := lease.Check(w.Taken); err != nil {
				lease = dhcp.Lease{Over: true, Problem: err.Error()}
			}
		}
		c.Leases[u.Name] = lease
	}
	return wanted
}

// taken are the addresses that an uplink's lease may not have: this gateway's other ones,
// pods', and those of whom it talks to.
func (c compiler) taken(uplink config.Uplink) []dhcp.Taken {
	var taken []dhcp.Taken
	for _, p := range c.Pools {
		taken = append(taken, dhcp.Taken{Prefix: p.Prefix, What: "the pool " + p.Name})
	}
	for _, p := range c.own() {
		taken = append(taken, dhcp.Taken{Prefix: p, What: "this gateway's own address"})
	}
	for _, u := range c.Config.Uplinks {
		for _, p := range c.prefixes(u) {
			if u.Name != uplink.Name {
				taken = append(taken, dhcp.Taken{Prefix: p.Masked(), What: "the subnet of " + u.Name})
			}
		}
	}
	for _, l := range c.Config.LANs {
		for _, p := range l.Addresses {
			taken = append(taken, dhcp.Taken{Prefix: p.Masked(), What: "the subnet of the LAN " + l.Name})
		}
	}
	for _, p := range slices.Concat(c.Config.BGP.Peers, c.Config.BGP.GatewayPeers) {
		for _, a := range []netip.Addr{p.Address, p.Other} {
			if a.IsValid() && a.Is4() {
				taken = append(taken, dhcp.Taken{Prefix: netip.PrefixFrom(a, a.BitLen()), What: "the peer " + p.Name, Peer: true})
			}
		}
	}
	return slices.DeleteFunc(taken, func(t dhcp.Taken) bool { return !t.Prefix.Addr().Is4() })
}

// routers are those that an uplink's routes lead to, as configured or leased.
func (c compiler) routers(u config.Uplink) []netip.Addr {
	routers := []netip.Addr{u.Router, u.Router6}
	if lease := c.Leases[u.Name]; u.DHCP && lease.Address.IsValid() {
		routers = append(routers, lease.Router)
		for _, r := range lease.Routes {
			routers = append(routers, r.Router)
		}
	}
	return slices.DeleteFunc(routers, func(a netip.Addr) bool { return !a.IsValid() })
}

// offSubnet are an uplink's routers that are in none of its subnets. Clouds have such, and
// give each host an address without a subnet: the router is on the link all the same.
func (c compiler) offSubnet(u config.Uplink) []netip.Addr {
	own := c.prefixes(u)
	return slices.DeleteFunc(c.routers(u), func(a netip.Addr) bool {
		return a.IsLinkLocalUnicast() || slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Contains(a) })
	})
}

// statics are the routes that are known without BGP, beside the default routes: to routers
// that are in no subnet, and those of leases.
func (c compiler) statics() []route.Static {
	var all []route.Static
	for _, u := range c.Config.Uplinks {
		add := func(p netip.Prefix, router netip.Addr) {
			if !slices.ContainsFunc(all, func(s route.Static) bool { return s.Prefix == p }) {
				all = append(all, route.Static{Uplink: u.Name, Prefix: p, Router: router})
			}
		}
		for _, a := range c.offSubnet(u) {
			add(netip.PrefixFrom(a, a.BitLen()), netip.Addr{})
		}
		if u.DHCP {
			for _, r := range c.Leases[u.Name].Routes {
				add(r.Prefix, r.Router)
			}
		}
	}
	return all
}
