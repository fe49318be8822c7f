package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Route is one route of the main table, of either family.
type Route struct {
	Prefix netip.Prefix
	// Blackhole drops what matches; Gateway, Link and Source are then empty.
	Blackhole bool
	// Gateway is the next hop; invalid means that the prefix is on the link. An IPv4
	// prefix may have an IPv6 one (RFC 8950).
	Gateway netip.Addr
	// Onlink says that Gateway is reached through Link whatever the other routes say.
	Onlink bool
	// Link is the interface index.
	Link int
	// NextHop is the number of the next-hop object that says the way; Gateway,
	// Link and Onlink are then empty.
	NextHop uint32
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
	if r.NextHop != 0 {
		fmt.Fprintf(&b, " nhid %d", r.NextHop)
	}
	if r.Link != 0 {
		fmt.Fprintf(&b, " dev #%d", r.Link)
	}
	if r.Onlink {
		b.WriteString(" onlink")
	}
	return b.String()
}

// Routes lists the main table's unicast and blackhole routes of one protocol, of
// both families.
func (c *Conn) Routes(protocol int) ([]Route, error) {
	var routes []Route
	err := c.EachRoute(protocol, func() { routes = nil }, func(r Route) { routes = append(routes, r) })
	if err != nil {
		return nil, err
	}
	return routes, nil
}

// EachRoute calls each with every route that Routes would list: a list of 100,000 is 13
// MB. It calls begin before the first one, and again if the table has changed meanwhile
// and all is told anew. After an error what was told is not all.
func (c *Conn) EachRoute(protocol int, begin func(), each func(Route)) error {
	_, err := dump("routes", func() ([]struct{}, error) {
		begin()
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			if err := c.familyRoutes(family, protocol, each); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	return err
}

func (c *Conn) familyRoutes(family byte, protocol int, each func(Route)) error {
	request := make([]byte, unix.SizeofRtMsg)
	request[0], request[4], request[5] = family, unix.RT_TABLE_MAIN, byte(protocol)
	_, err := dumpAll(c.fib, unix.RTM_GETROUTE, attr32(request, unix.RTA_TABLE, unix.RT_TABLE_MAIN), func(b []byte) (struct{}, error) {
		r, err := decodeRoute(b)
		// A kernel without strict checks tells of all routes, one without IPv6 of the
		// other family's.
		if err == nil && r.Protocol == protocol && r.family == family && r.table == unix.RT_TABLE_MAIN && (r.kind == unix.RTN_UNICAST || r.kind == unix.RTN_BLACKHOLE) {
			each(r.Route)
		}
		return struct{}{}, err
	})
	return err
}

// ReplaceRoute adds the route, or puts it in the place of the one with the same
// prefix and metric, without a moment in which there is none.
func (c *Conn) ReplaceRoute(r Route) error {
	return c.note(errors.Join(c.Write([]Change{{Do: Replace, Route: &r}})...), "route %s", r)
}

// DeleteRoute removes the route; it is no error if it is gone already.
func (c *Conn) DeleteRoute(r Route) error {
	return errors.Join(c.Write([]Change{{Do: Delete, Route: &r}})...)
}

// encode appends struct rtmsg and its attributes (rtnetlink(7)).
func (r Route) encode(b []byte) []byte {
	kind, scope, flags := byte(unix.RTN_UNICAST), byte(unix.RT_SCOPE_UNIVERSE), uint32(0)
	switch {
	case r.Blackhole:
		kind = unix.RTN_BLACKHOLE
	case r.NextHop == 0 && !r.Gateway.IsValid():
		scope = unix.RT_SCOPE_LINK
	}
	if r.Onlink {
		flags = unix.RTNH_F_ONLINK
	}
	b = append(b, familyOf(r.Prefix.Addr()), byte(r.Prefix.Bits()), 0, 0, unix.RT_TABLE_MAIN, byte(r.Protocol), scope, kind)
	b = binary.NativeEndian.AppendUint32(b, flags)
	if r.Prefix.Bits() > 0 {
		b = attr(b, unix.RTA_DST, r.Prefix.Addr().AsSlice())
	}
	b = attr32(b, unix.RTA_PRIORITY, uint32(r.Metric))
	if r.Source.IsValid() {
		b = attr(b, unix.RTA_PREFSRC, r.Source.AsSlice())
	}
	if r.NextHop != 0 {
		b = attr32(b, rtaNextHopID, r.NextHop)
	}
	switch {
	case !r.Gateway.IsValid():
	case familyOf(r.Gateway) == familyOf(r.Prefix.Addr()):
		b = attr(b, unix.RTA_GATEWAY, r.Gateway.AsSlice())
	default:
		b = attr(b, unix.RTA_VIA, append(binary.NativeEndian.AppendUint16(nil, uint16(familyOf(r.Gateway))), r.Gateway.AsSlice()...))
	}
	if r.Link != 0 {
		b = attr32(b, unix.RTA_OIF, uint32(r.Link))
	}
	return b
}

// rtaNextHopID is RTA_NH_ID of linux/rtnetlink.h, which x/sys has not.
const rtaNextHopID = 30

// sizeofFamily is struct rtvia's rtvia_family.
const sizeofFamily = 2

// familyOf is an address's number in the kernel.
func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// listed is a route as it is dumped.
type listed struct {
	Route
	table  int
	family byte
	kind   byte
	// gateway and link are the way, also that of a next-hop object.
	gateway netip.Addr
	link    int
}

func decodeRoute(b []byte) (listed, error) {
	if len(b) < unix.SizeofRtMsg {
		return listed{}, errShort
	}
	r := listed{table: int(b[4]), family: b[0], kind: b[7]}
	r.Protocol, r.Blackhole = int(b[5]), b[7] == unix.RTN_BLACKHOLE
	r.Onlink = binary.NativeEndian.Uint32(b[8:])&unix.RTNH_F_ONLINK != 0
	r.Prefix = netip.PrefixFrom(netip.IPv4Unspecified(), int(b[1]))
	if r.family == unix.AF_INET6 {
		r.Prefix = netip.PrefixFrom(netip.IPv6Unspecified(), int(b[1]))
	}
	err := eachAttr(b[unix.SizeofRtMsg:], func(kind uint16, v []byte) error {
		switch kind {
		case unix.RTA_DST:
			a, _ := netip.AddrFromSlice(v)
			r.Prefix = netip.PrefixFrom(a, int(b[1]))
		case unix.RTA_TABLE:
			return intOf(v, &r.table)
		case unix.RTA_PRIORITY:
			return intOf(v, &r.Metric)
		case unix.RTA_PREFSRC:
			r.Source, _ = netip.AddrFromSlice(v)
		case unix.RTA_GATEWAY:
			r.Gateway, _ = netip.AddrFromSlice(v)
		case unix.RTA_VIA:
			if len(v) > sizeofFamily {
				r.Gateway, _ = netip.AddrFromSlice(v[sizeofFamily:])
			}
		case unix.RTA_OIF:
			return intOf(v, &r.Link)
		case rtaNextHopID:
			return uint32Of(v, &r.NextHop)
		}
		return nil
	})
	r.gateway, r.link = r.Gateway, r.Link
	// With a next-hop object its gateway and link are told again, for old tools;
	// and the kernel reports the loopback's index for some blackholes.
	if r.NextHop != 0 {
		r.Gateway, r.Onlink = netip.Addr{}, false
	}
	if r.NextHop != 0 || r.Blackhole {
		r.Link = 0
	}
	return r, err
}
