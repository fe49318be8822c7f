package route

import (
	"fmt"
	"maps"
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

// equal tells whether two tunnels are the same.
func (t Tunnel) equal(o Tunnel) bool {
	return t.Kind == o.Kind && t.Link == o.Link && t.Inner == o.Inner && t.Outer == o.Outer && t.Local == o.Local &&
		(t.Keys == nil) == (o.Keys == nil) && maps.Equal(t.Keys, o.Keys)
}

// tunnel returns the one by which a path's next hop can be reached, or says why
// there is none.
func (f *Facts) tunnel(q question, gateway bool, hop Hop) (*Tunnel, string) {
	inner, outer := IPv6, FamilyOf(q.nextHop)
	if q.v4 {
		inner = IPv4
	}
	where := "next hop is in another subnet"
	switch {
	case !q.native():
		where = fmt.Sprintf("not possible: %s packets do not go to the %s next hop %s without a tunnel", inner, outer, q.nextHop)
	case !gateway:
		where = "next hop is not on a connected subnet"
	}
	switch {
	case hop.Error != "":
		return nil, "next hop unreachable: " + hop.Error
	case hop.LAN:
		return nil, fmt.Sprintf("next hop is on %s, which is a LAN: no route leads there", hop.Link)
	case !gateway:
		return nil, where + ", and it is no known gateway"
	case q.encapsulation == Never:
		return nil, where + ", and the pool's mode is never"
	case hop.Tunnel:
		return nil, "next hop would itself be reached through the tunnel"
	}
	for i, t := range f.Tunnels {
		if t.Inner != inner || t.Outer != outer {
			continue
		}
		if _, known := t.Keys[q.nextHop]; known || t.Keys == nil {
			return &f.Tunnels[i], ""
		}
	}
	return nil, fmt.Sprintf("%s, and there is no tunnel link for %s over %s to it", where, inner, outer)
}
