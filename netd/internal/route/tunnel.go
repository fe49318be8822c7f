package route

import (
	"fmt"
	"net/netip"
)

// Family is an IP version.
type Family int

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf is an address's.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// String is the family's name.
func (f Family) String() string { return fmt.Sprintf("IPv%d", int(f)) }

// Tunnel is a link that takes packets of one family to gateways whose addresses
// are of the same or the other.
type Tunnel struct {
	Kind         Kind // IPIP, SIT, IP6Tnl or VXLAN
	Link         string
	Inner, Outer Family
	// Keys are the gateways' addresses as the kernel's next hops on Link must write
	// them, and all that it can be used for; nil: as they are.
	Keys map[netip.Addr]netip.Addr
	// Local is the outer source address that the next hops say where the link does
	// not (IP6Tnl); invalid elsewhere.
	Local netip.Addr
}

// way is the tunnel's to a gateway.
func (t *Tunnel) way(gateway netip.Addr) Way {
	return Way{NextHop: gateway, Link: t.Link, Key: t.Keys[gateway], Local: t.Local}
}

// tunnel returns the one by which a path's next hop can be reached, or says why
// there is none.
func (f *Facts) tunnel(p Path, gateway bool, mode Mode, hop Hop) (*Tunnel, string) {
	inner, outer := FamilyOf(p.Prefix.Addr()), FamilyOf(p.NextHop)
	where := "next hop is in another subnet"
	switch {
	case !native(p):
		where = fmt.Sprintf("not possible: %s packets do not go to the %s next hop %s without a tunnel", inner, outer, p.NextHop)
	case !gateway:
		where = "next hop is not on a connected subnet"
	}
	switch {
	case hop.Error != "":
		return nil, "next hop unreachable: " + hop.Error
	case !gateway:
		return nil, where + ", and it is no known gateway"
	case mode == Never:
		return nil, where + ", and the pool's mode is never"
	case hop.Tunnel:
		return nil, "next hop would itself be reached through the tunnel"
	}
	for i, t := range f.Tunnels {
		if t.Inner != inner || t.Outer != outer {
			continue
		}
		if _, known := t.Keys[p.NextHop]; known || t.Keys == nil {
			return &f.Tunnels[i], ""
		}
	}
	return nil, fmt.Sprintf("%s, and there is no tunnel link for %s over %s to it", where, inner, outer)
}

// native tells whether a path's next hop can take its packets as they are. The
// kernel has no neighbours of IPv4 for IPv6 packets (the other way it has, RFC
// 8950).
func native(p Path) bool { return p.Prefix.Addr().Is4() || p.NextHop.Is6() }
