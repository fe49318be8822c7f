package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"netd/netd/internal/address"
)

// Taken are addresses that are somebody's, so that no lease may have them.
type Taken struct {
	Prefix netip.Prefix
	What   string // the pool pods
	// Peer: it is a router's that may be the lease's, too.
	Peer bool
}

// aHost is what is expected of an address.
const aHost = "a host's address with its subnet's mask, that nobody else has"

// Check says why a lease can not be used, where these are taken; nil if it can.
func (l Lease) Check(taken []Taken) error {
	refused := func(why string) error {
		return refusal{l.Server, "address", l.Address.String(), why, aHost}
	}
	if why := address.NotOnLink(l.Address); why != "" {
		return refused(why)
	}
	switch own := l.Address.Addr(); own {
	case l.Router:
		return refused("it is the router's own")
	case l.Server:
		return refused("it is the server's own")
	}
	for _, t := range taken {
		if t.Prefix.IsSingleIP() && t.Prefix.Addr() == l.Address.Addr() {
			return refused("it is " + t.What + "'s")
		}
		if !t.Prefix.IsSingleIP() && t.Prefix.Overlaps(l.Address.Masked()) {
			return refused(fmt.Sprintf("its subnet overlaps %s (%s)", t.Prefix, t.What))
		}
	}
	return nil
}

// prune leaves out what can not be of a lease that can.
func (g *grant) prune(taken []Taken) {
	if g.Router.IsValid() {
		if why := g.notRouter(g.Router, taken); why != "" {
			g.refuse("router", g.Router, why, "a host's address")
			g.Router = netip.Addr{}
		}
	}
	g.Routes = slices.DeleteFunc(slices.Clone(g.Routes), func(r Route) bool {
		why := notRoute(r.Prefix, taken)
		if why == "" && r.Router.IsValid() {
			why = g.notRouter(r.Router, taken)
		}
		if why != "" {
			g.refuse("route", r, why, "a network beside this gateway's own, and a host's address as its router")
		}
		onLink := !r.Router.IsValid() && g.Address.Bits() <= r.Prefix.Bits() && g.Address.Contains(r.Prefix.Addr())
		return why != "" || onLink // The subnet's own route leads there.
	})
	if !g.mask {
		g.refuse("subnet mask", "(none)", "taken for "+g.Address.Masked().String(), "option 1")
	}
}

// String is the route as ip-route(8) writes it.
func (r Route) String() string {
	if !r.Router.IsValid() {
		return r.Prefix.String()
	}
	return fmt.Sprintf("%s via %s", r.Prefix, r.Router)
}

// notRouter says why an address can be no router of this lease.
func (g *grant) notRouter(a netip.Addr, taken []Taken) string {
	if why := address.NotHost(a); why != "" {
		return why
	}
	switch {
	case a == g.Address.Addr():
		return "it is the lease's own address"
	case g.Address.Contains(a) && !address.Holds(g.Address, a):
		return fmt.Sprintf("the first and last address of %s are not a host's", g.Address.Masked())
	}
	for _, t := range taken {
		if !t.Peer && t.Prefix.Contains(a) {
			return "it is " + t.What + "'s"
		}
	}
	return ""
}

// notRoute says why there can be no route to a prefix. Clouds have services on link-local
// addresses, which pods may ask.
func notRoute(p netip.Prefix, taken []Taken) string {
	linkLocal := netip.MustParsePrefix("169.254.0.0/16")
	if why := address.SpecialUse(p); why != "" && !linkLocal.Contains(p.Addr()) {
		return why
	}
	for _, t := range taken {
		if !t.Peer && t.Prefix.Bits() <= p.Bits() && t.Prefix.Contains(p.Addr()) {
			return "it is " + t.What + "'s"
		}
	}
	return ""
}

// notServer says why an address can be no DNS server's. Clouds have theirs on link-local
// addresses.
func notServer(a netip.Addr) string {
	if a.IsLinkLocalUnicast() && a != podRouter() {
		return ""
	}
	return address.NotHost(a)
}

// podRouter is what pods reach their gateway by.
func podRouter() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 1, 1}) }

// usable is what a packet grants: checked, with what can not be left out.
func usable(g grant, taken []Taken) (grant, error) {
	if !g.mask && address.NotOnLink(g.Address) != "" && address.NotHost(g.Address.Addr()) == "" {
		g.Address = netip.PrefixFrom(g.Address.Addr(), g.Address.Addr().BitLen()) // Of a larger subnet it may be a host's.
	}
	if err := g.Check(taken); err != nil {
		return g, err
	}
	g.prune(taken)
	var all []error
	for _, r := range g.wrong {
		all = append(all, r)
	}
	if err := errors.Join(all...); err != nil {
		g.Problem = oneLine(err)
	}
	return g, nil
}
