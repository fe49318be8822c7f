package config

import (
	"fmt"
	"net/netip"

	"netd/netd/layout"
)

// takenUDP are the ports that VXLAN can not have beside it: the kernel gives a port to one
// socket for all addresses.
func takenUDP() map[uint16]string {
	return map[uint16]string{
		67: "DHCP", 68: "DHCP", 546: "DHCPv6", 547: "DHCPv6",
		layout.BFDPort: "BFD", layout.BFDMultihopPort: "BFD",
	}
}

// checkPorts reports ports that two would listen on, and an address that nobody can be
// reached by.
func (r *reader) checkPorts(f *rawFile) {
	if p := f.tunnel.port; p.ok && p.n != nil && f.tunnel.kind.v == TunnelVXLAN && takenUDP()[p.v] != "" {
		r.conflict(p.n, "this is %s's port: expected another, usually %d", takenUDP()[p.v], layout.VXLANPort)
	}
	m, bgp := f.management.metrics, f.bgp.port
	switch {
	case !m.ok:
	case bgp.ok && bgp.v == m.v.Port():
		where := "its default"
		if bgp.n != nil {
			where = fmt.Sprint(bgp.n)
		}
		other := uint16(9179)
		if bgp.v == other {
			other++
		}
		r.conflict(m.n, "BGP listens on this port of all addresses (%s): expected another, e.g. %q", where, netip.AddrPortFrom(m.v.Addr(), other).String())
	case !m.v.Addr().IsUnspecified() && !m.v.Addr().IsLoopback() && allStatic(f.uplinks) && f.ownAddresses()[m.v.Addr()] == nil && !f.lanAddress(m.v.Addr()):
		r.add(isWarning, m.n, m.n.src, "no link of this gateway has the address, so nothing will listen there; expected one of its own, or 0.0.0.0 or [::] for all")
	}
}
