package daemon

import (
	"net/netip"

	"netd/netd/config"
	"netd/netd/internal/link"
	"netd/netd/internal/route"
)

// applyTunnels makes the links to other gateways that the pools, the underlay and the
// configuration ask for.
func (d *Daemon) applyTunnels() error {
	if !d.source.IsValid() && !d.source6.IsValid() {
		return nil // No lease yet: what tunnels there are stay.
	}
	d.tunnels = d.tunnelNeed().Tunnels()
	return link.ApplyTunnels(d.kernel, d.tunnels)
}

// sweepTunnels removes those of another configuration, once no route is held any
// more that may lead there.
func (d *Daemon) sweepTunnels() error {
	if !d.source.IsValid() && !d.source6.IsValid() || d.holding() {
		return nil
	}
	return link.SweepTunnels(d.kernel, d.tunnels)
}

// tunnelNeed is what tunnels are to be there for.
func (d *Daemon) tunnelNeed() link.Need {
	n := link.Need{Local4: d.source, Local6: d.source6, MTU: d.uplinkMTU()}
	for _, p := range d.config.Pools {
		if p.Encapsulation != config.EncapsulateNever {
			n.Inner4 = n.Inner4 || p.Prefix.Addr().Is4()
			n.Inner6 = n.Inner6 || p.Prefix.Addr().Is6()
		}
	}
	n.Gateways = append(d.knownGateways(), d.metGateways()...)
	for _, r := range d.gatewayRanges() {
		n.Ranges = append(n.Ranges, r.Prefix)
	}
	if t := d.config.Tunnel; t.Type == config.TunnelVXLAN {
		n.VXLAN = &link.VXLAN{VNI: t.VNI, Port: int(t.Port)}
	}
	return n
}

// knownGateways are the others' addresses, of both families, in the file's order.
func (d *Daemon) knownGateways() []netip.Addr {
	var all []netip.Addr
	for _, g := range d.config.BGP.GatewayPeers {
		if all = append(all, g.Address); g.Other.IsValid() {
			all = append(all, g.Other)
		}
	}
	return all
}

// routeTunnels are the tunnels as the plan sees them.
func (d *Daemon) routeTunnels() []route.Tunnel {
	var all []route.Tunnel
	for _, t := range d.tunnels {
		outer := route.IPv4
		if t.Outer6 {
			outer = route.IPv6
		}
		for _, family := range []route.Family{route.IPv4, route.IPv6} {
			if family == route.IPv4 && !t.Inner4 || family == route.IPv6 && !t.Inner6 {
				continue
			}
			r := route.Tunnel{Kind: route.Kind(t.Kind), Link: t.Name, Inner: family, Outer: outer, Keys: t.Keys}
			if r.Kind == route.IP6Tnl {
				r.Local = t.Source
			}
			all = append(all, r)
		}
	}
	return all
}

// lostHops are the next hops of lost peers, as routes write them.
func (d *Daemon) lostHops(down []route.Lost) []netip.Addr {
	var all []netip.Addr
	for _, l := range down {
		all = append(all, l.Address)
		for _, t := range d.tunnels {
			if key, ok := t.Keys[l.Address]; ok {
				all = append(all, key)
			}
		}
	}
	return all
}

// holding tells whether learned routes in the kernel are left alone for now.
func (d *Daemon) holding() bool { return !d.settled && d.config.BGP.AS != 0 }
