package config

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"netd/netd/layout"
)

// Tunnel is how packets go to gateways that the fabric does not reach natively.
type Tunnel struct {
	Type TunnelType
	// VNI (1 to 16777215) and Port are VXLAN's; all gateways of a fleet have the same.
	VNI  int
	Port uint16
	// LeaveDelay (up to a minute) is for how long a ToR's way has to stand before a prefix
	// leaves the tunnel for it; 0 is at once.
	LeaveDelay time.Duration
}

// TunnelType is what goes around the packets.
type TunnelType string

const (
	// TunnelIPIP: the other gateway's IP header, by the families ipip, sit or ip6tnl
	// (the default).
	TunnelIPIP TunnelType = "ipip"
	// TunnelVXLAN: VXLAN (RFC 7348), for networks that drop protocols 4 and 41.
	TunnelVXLAN TunnelType = "vxlan"
)

const (
	defaultVNI = 4096
	// leaveDelay is long beside what was measured (netd/DESIGN.md).
	leaveDelay = time.Second
)

type rawTunnel struct {
	kind val[TunnelType]
	vni  val[int]
	port val[uint16]
}

func (u *Tunnel) keys(t *table) rawTunnel {
	defer t.done()
	r := rawTunnel{kind: withDefault(t, "type", &u.Type, oneOf(TunnelIPIP, TunnelVXLAN), TunnelIPIP)}
	withDefault(t, "leave-delay", &u.LeaveDelay, milliseconds(0, time.Minute, "1s"), leaveDelay)
	if t.out != nil && u.Type != TunnelVXLAN {
		return r
	}
	r.vni = withDefault(t, "vni", &u.VNI, number[int](1, 1<<24-1, "4096"), defaultVNI)
	r.port = withDefault(t, "port", &u.Port, number[uint16](1, 65535, strconv.Itoa(layout.VXLANPort)), layout.VXLANPort)
	if u.Type != TunnelVXLAN {
		u.VNI, u.Port = 0, 0
	}
	return r
}

func (r *reader) checkTunnel(t rawTunnel) {
	if !t.kind.ok || t.kind.v == TunnelVXLAN {
		return
	}
	const text = `this is VXLAN's: expected type = "vxlan" beside it`
	if t.vni.n != nil && t.vni.ok && t.vni.v != defaultVNI {
		r.conflict(t.vni.n, text)
	}
	if t.port.n != nil && t.port.ok && t.port.v != layout.VXLANPort {
		r.conflict(t.port.n, text)
	}
}

// checkTunnelMTU reports uplinks that are too narrow for the tunnels: on a link of less
// than 1280 octets the kernel has no IPv6 (RFC 8200 section 5), which all but IPv4 in
// IPv4 need, VXLAN for its next hops.
func (r *reader) checkTunnelMTU(f *rawFile) {
	is6 := func(a val[netip.Addr]) bool { return a.ok && a.v.Is6() }
	over6 := slices.ContainsFunc(f.bgp.gateways, func(g rawPeer) bool { return is6(g.address) || is6(g.other) })
	inner6 := slices.ContainsFunc(f.pools, func(p rawPool) bool {
		return p.prefix.ok && p.prefix.v.Addr().Is6() && p.encapsulation.v != EncapsulateNever
	})
	overhead := 20
	if over6 {
		overhead = 40
	}
	vxlan := f.tunnel.kind.v == TunnelVXLAN
	if vxlan {
		overhead += 30
	}
	if !f.tunnelled() || !vxlan && !over6 && !inner6 {
		return
	}
	for _, u := range f.uplinks {
		if least := 1280 + overhead; u.mtu.ok && u.mtu.n != nil && u.mtu.v < least {
			r.conflict(u.mtu.n, "the tunnels add %d octets and need 1280 inside: expected at least %d", overhead, least)
		}
	}
}

// checkSameTunnel reports a device whose tunnels no other one's would understand.
func (r *reader) checkSameTunnel(earlier pass, f *rawFile) {
	e, t := earlier.raw.tunnel, f.tunnel
	if !e.kind.ok || !t.kind.ok || !e.vni.ok || !t.vni.ok || !e.port.ok || !t.port.ok || e.kind.v == t.kind.v && earlier.raw.c.Tunnel.VNI == f.c.Tunnel.VNI && earlier.raw.c.Tunnel.Port == f.c.Tunnel.Port {
		return
	}
	for _, n := range []*node{t.kind.n, t.vni.n, t.port.n, e.kind.n, e.vni.n, e.port.n} {
		if n != nil {
			r.conflict(n, "device %s has another tunnel: expected the same for all gateways", earlier.label)
			return
		}
	}
}
