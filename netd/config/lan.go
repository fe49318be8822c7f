package config

import (
	"net/netip"
	"slices"
	"strings"
)

// LAN is a link toward devices: cameras, controllers, people's machines. It is never an
// uplink: the gateway learns nothing from there and asks nobody there.
type LAN struct {
	// Of Link's Addresses, all are static: the devices' router.
	Link
	// ForwardTo are the other LANs whose devices this one's may open connections to.
	ForwardTo []string
}

// Bridge is a link of several ports, which makes one network of what is behind them.
type Bridge struct {
	// Members are links of the box, by the kernel's or the board's name.
	Members []string
}

type rawLAN struct {
	rawLink
	forwardTo val[[]val[string]]
}

func (l *LAN) keys(t *table) rawLAN {
	defer t.done()
	r := rawLAN{rawLink: l.Link.keys(t, purpose{stem: "lan", address: "192.168.10.1/24", bridge: true})}
	r.forwardTo = elements(t, "forward-to", &l.ForwardTo, ownLinkName("lan1"))
	if r.addresses.n == nil {
		t.missing("address", `expected the gateway's addresses there, e.g. address = ["192.168.10.1/24"]`)
	}
	return r
}

// bridgeKeys are those of bridge.
func (l *Link) bridgeKeys(t *table) rawMembers {
	r := rawMembers{n: t.child("bridge", about{})}
	sub, b, there := orNone(t, "bridge", r.n, l.Bridge)
	defer sub.done()
	l.Bridge = there
	r.members = elements(sub, "members", &b.Members, linkLabel())
	if r.members.n == nil {
		sub.missing("members", `expected the ports to bridge, e.g. members = ["eth2", "eth3"]`)
	}
	return r
}

// checkLANs reports what does not fit in LANs, and what can not be there because devices
// are.
func (r *reader) checkLANs(f *rawFile) {
	for _, l := range f.lans {
		r.checkLANAddresses(l, f)
		r.checkForwardTo(l, f)
		r.checkStrangers(l, f)
	}
}

func (r *reader) checkLANAddresses(l rawLAN, f *rawFile) {
	if l.addresses.ok && len(l.addresses.v) == 0 && !l.isParent(f.links()) {
		r.conflict(l.addresses.n, `expected at least one address, e.g. ["192.168.10.1/24"]: without one the devices have no gateway`)
	}
	for _, a := range l.addresses.v {
		switch {
		case !a.ok:
		case a.v.IsSingleIP():
			r.conflict(a.n, "a /%d has no room for devices: expected the prefix length of the LAN's subnet", a.v.Bits())
		}
	}
}

func (r *reader) checkForwardTo(l rawLAN, f *rawFile) {
	var others []string
	for _, o := range f.lans {
		if o.name.ok && o.name.v != l.name.v {
			others = append(others, o.name.v)
		}
	}
	seen := map[string]*node{}
	for _, to := range l.forwardTo.v {
		switch {
		case !to.ok:
		case to.v == l.name.v:
			r.conflict(to.n, "the LAN itself, whose devices reach each other without the gateway: expected another one's name")
		case slices.Contains(others, to.v):
			unique(r, seen, to.v, to.n)
		case slices.ContainsFunc(f.uplinks, func(u rawUplink) bool { return u.name.v == to.v }):
			r.conflict(to.n, "an uplink, to which every LAN is forwarded: expected a LAN's name")
		case len(others) == 0:
			r.conflict(to.n, "there is no other [[lan]]: expected one of this name, or no forward-to")
		default:
			r.conflict(to.n, "no LAN is called so: expected one of %s", strings.Join(others, ", "))
		}
	}
}

// checkStrangers reports addresses in a LAN's subnets that are not a device's: no session
// runs there and no route leads there, as the guard and the routes have it.
func (r *reader) checkStrangers(l rawLAN, f *rawFile) {
	for _, s := range l.addresses.v {
		if !s.ok {
			continue
		}
		within := func(a val[netip.Addr], what string) {
			if a.ok && a.n != nil && s.v.Contains(a.v) && !r.told(a.n) {
				r.conflict(a.n, "in the LAN's subnet %s (%s), %s", s.v.Masked(), s.n, what)
			}
		}
		for _, a := range f.gateway.addresses.v {
			within(a, "where devices are: expected an address apart from it")
		}
		for _, p := range slices.Concat(f.bgp.peers, f.bgp.gateways) {
			if p.self {
				continue
			}
			for _, a := range []val[netip.Addr]{p.address, p.other} {
				within(a, "where no sessions run: expected a peer on an uplink, or this link as an [[uplink]]")
			}
		}
		for _, u := range f.uplinks {
			for _, a := range []val[netip.Addr]{u.router, u.router6} {
				within(a, "to which no default route leads: expected a router on the uplink")
			}
		}
		for _, e := range f.bgp.ranges {
			if e.prefix.ok && inside(e.prefix.v, s.v) {
				r.conflict(e.prefix.n, "in the LAN's subnet %s (%s), where no sessions run: expected peers on uplinks", s.v.Masked(), s.n)
			}
		}
		for _, p := range f.pools {
			if p.prefix.ok && s.v.Overlaps(p.prefix.v) {
				r.conflict(p.prefix.n, "overlaps the LAN's subnet %s (%s): expected addresses that only pods have", s.v.Masked(), s.n)
			}
		}
	}
}

// isLAN tells whether a LAN has the name.
func (f *rawFile) isLAN(name string) bool {
	return slices.ContainsFunc(f.lans, func(l rawLAN) bool { return l.name.ok && l.name.v == name })
}

// lanAddress tells whether the gateway has the address on a LAN.
func (f *rawFile) lanAddress(a netip.Addr) bool {
	return slices.ContainsFunc(f.lans, func(l rawLAN) bool {
		return slices.ContainsFunc(l.addresses.v, func(own val[netip.Prefix]) bool { return own.ok && own.v.Addr() == a })
	})
}
