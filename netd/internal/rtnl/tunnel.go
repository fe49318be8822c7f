package rtnl

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Tunnel is a link that sends packets inside of others, to whatever next hop its
// routes name or to one remote address.
type Tunnel struct {
	Name string
	// Kind is ipip (RFC 2003), sit (RFC 4213), ip6tnl (RFC 2473) or vxlan (RFC 7348).
	Kind string
	// Local is the outer source address, but for ip6tnl, whose next hops say it.
	Local netip.Addr
	// Remote is for sit, which has one: with several, the kernel sends what is for one
	// by the route that it has cached for another (ipip6_tunnel_xmit, dst_cache).
	Remote netip.Addr
	MTU    int
	// VNI, Port and MAC are those of vxlan.
	VNI, Port int
	MAC       net.HardwareAddr
}

// tunnelTTL is one of its own: an inherited one would expire between the gateways,
// where the answer can not reach the pod that sent the packet.
const tunnelTTL = 64

// AddTunnel makes the link. Those that can do path MTU discovery do it: an inner
// packet that does not fit is answered with "fragmentation needed".
func (c *Conn) AddTunnel(t Tunnel) error {
	attrs := netlink.LinkAttrs{Name: t.Name, MTU: t.MTU, HardwareAddr: t.MAC}
	var l netlink.Link
	switch t.Kind {
	case "ipip":
		l = &netlink.Iptun{
			LinkAttrs: attrs, Local: toIP(t.Local), Remote: net.IPv4zero.To4(),
			Ttl: tunnelTTL, PMtuDisc: 1, Proto: unix.IPPROTO_IPIP,
		}
	case "sit":
		l = &netlink.Sittun{
			LinkAttrs: attrs, Local: toIP(t.Local), Remote: toIP(t.Remote),
			Ttl: tunnelTTL, PMtuDisc: 1, Proto: unix.IPPROTO_IPV6,
		}
	case "ip6tnl":
		// The other way, a tunnel to any remote, sends IPv4 only since Linux 6.0, and
		// takes no next hop that the main table reaches by an uplink.
		l = &netlink.Ip6tnl{LinkAttrs: attrs, FlowBased: true}
	case "vxlan":
		l = &netlink.Vxlan{LinkAttrs: attrs, VxlanId: t.VNI, SrcAddr: toIP(t.Local), Port: t.Port, Learning: false, TTL: tunnelTTL}
	}
	if err := c.h.LinkAdd(l); err != nil {
		return fmt.Errorf("add %s link %s local %s: %w", t.Kind, t.Name, t.Local, err)
	}
	return c.note(nil, "%s link %s local %s", t.Kind, t.Name, t.Local)
}

// readTunnel fills in what AddTunnel has said.
func readTunnel(l *Link, from netlink.Link) {
	switch t := from.(type) {
	case *netlink.Iptun:
		l.Local, l.Remote, l.PMTUDiscovery, l.TTL = fromIP(t.Local), fromIP(t.Remote), t.PMtuDisc == 1, int(t.Ttl)
	case *netlink.Sittun:
		l.Local, l.Remote, l.PMTUDiscovery, l.TTL = fromIP(t.Local), fromIP(t.Remote), t.PMtuDisc == 1, int(t.Ttl)
	case *netlink.Ip6tnl:
		l.External = t.FlowBased
	case *netlink.Vxlan:
		l.Local, l.VNI, l.Port, l.Learning = fromIP(t.SrcAddr), t.VxlanId, t.Port, t.Learning
	}
}
