package daemon

import (
	"fmt"
	"net/netip"
	"slices"

	"netd/netd/internal/link"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
)

// lookUpHops asks the kernel, not our own masks, how each next hop is reached:
// addresses with a /32 mask and odd DHCP servers broke that for others.
func (d *Daemon) lookUpHops(f *route.Facts) error {
	links, err := d.kernel.Links()
	if err != nil {
		return err
	}
	for _, a := range d.table.NextHops(f.Routers) {
		f.Hops[a] = d.lookUpHop(a, links, f.Tunnels)
	}
	return nil
}

func (d *Daemon) lookUpHop(a netip.Addr, links []rtnl.Link, tunnels []route.Tunnel) route.Hop {
	dark := ""
	if u := d.uplinkOf(a); u != nil && !u.Carrier {
		dark = u.Name
	}
	named := func(l rtnl.Link) bool { return l.Name == a.Zone() }
	var via netip.Addr
	if a.Zone() == "" {
		way, err := d.kernel.Lookup(a)
		if err != nil {
			return route.Hop{Dark: dark, Error: err.Error()}
		}
		via = way.Gateway
		named = func(l rtnl.Link) bool { return l.Index == way.Link }
	}
	i := slices.IndexFunc(links, named)
	if i < 0 {
		return route.Hop{Dark: dark, Error: fmt.Sprintf("there is no link for %s", a)}
	}
	l := links[i]
	uplink := slices.ContainsFunc(d.uplinks, func(u link.State) bool { return u.Index == l.Index })
	return route.Hop{
		Link: l.Name, Via: via, Dark: dark, Connected: uplink && !via.IsValid() && l.Carrier && l.Up,
		Tunnel: slices.ContainsFunc(tunnels, func(t route.Tunnel) bool { return t.Link == l.Name }),
	}
}

// uplinkOf is the uplink on whose subnet an address is, or whose link is its zone; nil
// if there is none.
func (d *Daemon) uplinkOf(a netip.Addr) *link.State {
	for i, u := range d.config.Uplinks {
		on := func(p netip.Prefix) bool { return p.Contains(a) }
		if i < len(d.uplinks) && (a.Zone() == u.Name || a.Zone() == "" && slices.ContainsFunc(d.addressesOf(u), on)) {
			return &d.uplinks[i]
		}
	}
	return nil
}
