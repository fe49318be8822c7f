package dhcp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Lease is what a DHCP server gave.
type Lease struct {
	// Address is invalid if there is no lease (any more).
	Address netip.Prefix
	// Router is the default route's next hop; invalid if there is none.
	Router netip.Addr
	// Routes are further ones.
	Routes []Route
	DNS    []netip.Addr
	// MTU in octets (RFC 2132 section 5.1); 0 if the server names none that can be.
	MTU int
	// Server gave it.
	Server netip.Addr
	// Over tells that there was one before, and that it has ended.
	Over bool
	// Problem is what is wrong with what servers give, for a person.
	Problem string
}

// Route is a route that a server gives.
type Route struct {
	Prefix netip.Prefix
	// Router is invalid for a prefix that is on the link.
	Router netip.Addr
}

// Equal tells whether two leases are the same in everything.
func (l Lease) Equal(o Lease) bool {
	return l.Address == o.Address && l.Router == o.Router && slices.Equal(l.Routes, o.Routes) && slices.Equal(l.DNS, o.DNS) &&
		l.MTU == o.MTU && l.Server == o.Server && l.Over == o.Over && l.Problem == o.Problem
}

const (
	// leastMTU and mostMTU are the configuration's own bounds.
	leastMTU, mostMTU = 576, 9216
	// mostRoutes are some ten times what clouds give.
	mostRoutes = 64
	// aNetwork is the length of the subnet that is taken where the server names no mask: what is
	// not in there is reached by the router.
	aNetwork = 24
	// unnamedTime is the lease's where the server names none.
	unnamedTime = time.Hour
)

// grant is a lease as a packet has it.
type grant struct {
	Lease
	// What the packet says anything of.
	mask, routed, dns, mtu bool
	timing
	// wrong are values that were left out of the lease, as the reasons say.
	wrong []refusal
}

// timing is for how long a lease is, from when it was asked for.
type timing struct{ whole, renew, rebind time.Duration }

// refusal is a value that a server gives and that can not be.
type refusal struct {
	server                     netip.Addr
	what, value, why, expected string
}

func (r refusal) Error() string {
	return fmt.Sprintf("the DHCP server %s gives the %s %s: %s; expected %s", named(r.server), r.what, r.value, r.why, r.expected)
}

// named is a server in words.
func named(server netip.Addr) string {
	if !server.IsValid() {
		return "(without a name)"
	}
	return server.String()
}

// read takes a packet apart. An error is a refusal of all of it.
func read(m *dhcpv4.DHCPv4) (grant, error) {
	g := grant{}
	if b := m.Options.Get(dhcpv4.OptionServerIdentifier); len(b) == net.IPv4len {
		g.Server = netip.AddrFrom4([4]byte(b))
	}
	var err error
	if g.Address, g.mask, err = readAddress(m, g.Server); err != nil {
		return g, err
	}
	if g.timing, err = readTiming(m, g.Server); err != nil {
		return g, err
	}
	if err := g.readRoutes(m); err != nil {
		return g, err
	}
	for _, a := range addresses(m.Options.Get(dhcpv4.OptionDomainNameServer)) {
		g.dns = true
		if why := notServer(a); why != "" {
			g.refuse("DNS server", a, why, "a host's address")
		} else {
			g.DNS = append(g.DNS, a)
		}
	}
	if b := m.Options.Get(dhcpv4.OptionInterfaceMTU); len(b) == 2 {
		g.mtu = true
		if mtu := int(binary.BigEndian.Uint16(b)); mtu < leastMTU || mtu > mostMTU {
			g.refuse("MTU", mtu, "no link has it", fmt.Sprintf("%d to %d octets", leastMTU, mostMTU))
		} else {
			g.MTU = mtu
		}
	}
	return g, nil
}

func (g *grant) refuse(what string, value any, why, expected string) {
	g.wrong = append(g.wrong, refusal{g.Server, what, fmt.Sprint(value), why, expected})
}

// readAddress is the address with its subnet; mask tells whether the server names one.
func readAddress(m *dhcpv4.DHCPv4, server netip.Addr) (p netip.Prefix, mask bool, err error) {
	a, _ := netip.AddrFromSlice(m.YourIPAddr.To4())
	b := m.Options.Get(dhcpv4.OptionSubnetMask)
	if b == nil {
		return netip.PrefixFrom(a, aNetwork), false, nil
	}
	if len(b) == net.IPv4len {
		if ones, bits := net.IPMask(b).Size(); bits == 8*net.IPv4len {
			return netip.PrefixFrom(a, ones), true, nil
		}
	}
	return p, true, refusal{server, "subnet mask", dotted(b), "its ones are not in one row", "a mask such as 255.255.255.0"}
}

func dotted(b []byte) string {
	if len(b) == net.IPv4len {
		return net.IP(b).String()
	}
	return fmt.Sprintf("of %d octets", len(b))
}

// readTiming are the times of a lease, with sane ones in the place of what can not be
// (RFC 2131 section 4.4.5).
func readTiming(m *dhcpv4.DHCPv4, server netip.Addr) (timing, error) {
	seconds := func(code dhcpv4.OptionCode) (time.Duration, bool) {
		b := m.Options.Get(code)
		if len(b) != 4 {
			return 0, false
		}
		return time.Duration(binary.BigEndian.Uint32(b)) * time.Second, true
	}
	var t timing
	var named bool
	if t.whole, named = seconds(dhcpv4.OptionIPAddressLeaseTime); !named {
		t.whole = unnamedTime
	}
	if t.whole == 0 {
		return t, refusal{server, "lease time", "0 s", "the lease is over when it is given", "some minutes or more"}
	}
	if t.renew, named = seconds(dhcpv4.OptionRenewTimeValue); !named || t.renew <= 0 || t.renew >= t.whole {
		t.renew = t.whole / 2
	}
	// However it is called: a server that has us ask each second for a day is not obeyed.
	t.renew = max(t.renew, min(leastRenew, t.whole/2))
	if t.rebind, named = seconds(dhcpv4.OptionRebindingTimeValue); !named || t.rebind < t.renew || t.rebind >= t.whole {
		t.rebind = t.renew + (t.whole-t.renew)*3/4
	}
	return t, nil
}

// leastRenew is the least time after which a lease of ten seconds and more is renewed.
const leastRenew = 5 * time.Second

// readRoutes takes the routers: of option 121 if there is one, which then has the default
// route too (RFC 3442), or else of option 3.
func (g *grant) readRoutes(m *dhcpv4.DHCPv4) error {
	b := m.Options.Get(dhcpv4.OptionClasslessStaticRoute)
	if b == nil {
		all := addresses(m.Options.Get(dhcpv4.OptionRouter))
		g.routed = len(all) > 0
		for _, a := range all {
			if !a.IsUnspecified() { // What some say who have none.
				g.Router = a
				break
			}
		}
		return nil
	}
	g.routed = true
	var list dhcpv4.Routes
	if err := list.FromBytes(b); err != nil {
		g.refuse("routes (option 121)", fmt.Sprintf("of %d octets", len(b)), err.Error(), "prefixes with their routers (RFC 3442)")
		return nil
	}
	for _, r := range list {
		ones, _ := r.Dest.Mask.Size()
		to, _ := netip.AddrFromSlice(r.Dest.IP.To4())
		via, _ := netip.AddrFromSlice(r.Router.To4())
		route := Route{netip.PrefixFrom(to, ones).Masked(), via}
		if via.IsUnspecified() {
			route.Router = netip.Addr{}
		}
		switch {
		case ones == 0 && !g.Router.IsValid():
			g.Router = route.Router
		case ones == 0:
		case len(g.Routes) == mostRoutes:
			g.refuse("routes (option 121)", len(list), "the rest of them is left out", fmt.Sprintf("at most %d", mostRoutes))
			return nil
		default:
			g.Routes = append(g.Routes, route)
		}
	}
	return nil
}

// addresses are those of an option.
func addresses(b []byte) []netip.Addr {
	var all []netip.Addr
	for ; len(b) >= net.IPv4len; b = b[net.IPv4len:] {
		all = append(all, netip.AddrFrom4([4]byte(b)))
	}
	return all
}

// keep puts what was known where a renewal says nothing.
func (g *grant) keep(known Lease) {
	if !g.mask {
		g.Address, g.mask = known.Address, true
	}
	if !g.routed {
		g.Router, g.Routes = known.Router, known.Routes
	}
	if !g.dns {
		g.DNS = known.DNS
	}
	if !g.mtu {
		g.MTU = known.MTU
	}
	if !g.Server.IsValid() {
		g.Server = known.Server
	}
}
