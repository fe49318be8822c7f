package rtnl

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is one IPv4 route of the main table.
type Route struct {
	Prefix netip.Prefix
	// Blackhole drops what matches; Gateway, Link and Source are then empty.
	Blackhole bool
	// Gateway is the next hop; invalid means that the prefix is on the link.
	Gateway netip.Addr
	// Onlink says that Gateway is reached through Link whatever the other routes say.
	Onlink bool
	// Link is the interface index.
	Link int
	// Source is the preferred source address; invalid leaves it to the kernel.
	Source netip.Addr
	// Protocol says who owns the route (rtnetlink(7), rtm_protocol).
	Protocol int
	// Metric orders routes to one prefix: the lowest wins.
	Metric int
}

// String is the route as ip-route(8) writes it, with the link as its index.
func (r Route) String() string {
	var b strings.Builder
	if r.Blackhole {
		b.WriteString("blackhole ")
	}
	b.WriteString(r.Prefix.String())
	if r.Gateway.IsValid() {
		fmt.Fprintf(&b, " via %s", r.Gateway)
	}
	if r.Link != 0 {
		fmt.Fprintf(&b, " dev #%d", r.Link)
	}
	if r.Onlink {
		b.WriteString(" onlink")
	}
	return b.String()
}

// Routes lists the main table's IPv4 unicast and blackhole routes of one protocol.
func (c *Conn) Routes(protocol int) ([]Route, error) {
	list, err := dump("routes", func() ([]netlink.Route, error) {
		return c.h.RouteListFiltered(unix.AF_INET,
			&netlink.Route{Table: unix.RT_TABLE_MAIN, Protocol: netlink.RouteProtocol(protocol)},
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return nil, err
	}
	routes := make([]Route, 0, len(list))
	for _, r := range list {
		prefix := fromIPNet(r.Dst)
		if !prefix.IsValid() {
			prefix = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		route := Route{
			Prefix: prefix, Blackhole: r.Type == unix.RTN_BLACKHOLE,
			Gateway: fromIP(r.Gw), Onlink: r.Flags&int(netlink.FLAG_ONLINK) != 0,
			Source: fromIP(r.Src), Protocol: int(r.Protocol), Metric: r.Priority,
		}
		if !route.Blackhole { // The kernel reports the loopback index for some of these.
			route.Link = r.LinkIndex
		}
		routes = append(routes, route)
	}
	return routes, nil
}

// ReplaceRoute adds the route, or puts it in the place of the one with the same
// prefix and metric, without a moment in which there is none.
func (c *Conn) ReplaceRoute(r Route) error {
	if err := c.h.RouteReplace(r.kernel()); err != nil {
		return fmt.Errorf("replace route %s: %w", r, err)
	}
	return nil
}

// DeleteRoute removes the route; it is no error if it is gone already.
func (c *Conn) DeleteRoute(r Route) error {
	if err := c.h.RouteDel(r.kernel()); err != nil && !IsNotExist(err) {
		return fmt.Errorf("delete route %s: %w", r, err)
	}
	return nil
}

func (r Route) kernel() *netlink.Route {
	k := &netlink.Route{
		Dst: toIPNet(r.Prefix), Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST,
		Protocol: netlink.RouteProtocol(r.Protocol), Priority: r.Metric,
		LinkIndex: r.Link, Gw: toIP(r.Gateway), Src: toIP(r.Source),
	}
	switch {
	case r.Blackhole:
		k.Type = unix.RTN_BLACKHOLE
	case !r.Gateway.IsValid():
		k.Scope = netlink.SCOPE_LINK
	case r.Onlink:
		k.Flags = int(netlink.FLAG_ONLINK)
	}
	return k
}

// Hop is the kernel's answer to "how would a packet for this address leave?".
type Hop struct {
	// Link is the index of the link that it leaves by.
	Link int
	// Gateway is invalid if the address is on the link itself.
	Gateway netip.Addr
	// Source is the address that the kernel would send from.
	Source netip.Addr
}

// Lookup asks the FIB for the way to an address (ip route get).
func (c *Conn) Lookup(a netip.Addr) (Hop, error) {
	routes, err := c.h.RouteGet(toIP(a))
	if err != nil {
		return Hop{}, fmt.Errorf("look up route to %s: %w", a, err)
	}
	if len(routes) == 0 {
		return Hop{}, fmt.Errorf("look up route to %s: no answer", a)
	}
	r := routes[0]
	return Hop{Link: r.LinkIndex, Gateway: fromIP(r.Gw), Source: fromIP(r.Src)}, nil
}
