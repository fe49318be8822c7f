package daemon

import (
	"net/netip"
	"reflect"

	"netd/netd/internal/intent"
	"netd/netd/internal/link"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
)

// tunnels are the links to other gateways.
type tunnels struct {
	kernel  *rtnl.Conn
	links   []link.Tunnel
	stood   bool     // the last apply found, or left, all as wanted
	suspect bool     // somebody may have changed their tables
	mended  []string // what somebody else had changed, as the last apply found it
	ownWork bool     // the last apply has changed what nobody had
}

// apply makes those that the pools, the underlay and the configuration ask for.
func (t *tunnels) apply(want intent.Intent) error {
	t.mended, t.ownWork = nil, false
	if !hasSource(want) {
		return nil // No lease yet: what tunnels there are stay.
	}
	before := t.links
	t.links = want.Tunnels.Tunnels()
	err := link.ApplyTunnels(t.kernel, t.links)
	t.mended = t.kernel.Written()
	if !t.stood || !reflect.DeepEqual(before, t.links) {
		t.mended, t.ownWork = nil, len(t.mended) > 0
	}
	t.stood = err == nil
	return err
}

// sweep removes those of another configuration. No route may be held any more that
// leads there.
func (t *tunnels) sweep(want intent.Intent) error {
	if !hasSource(want) {
		return nil
	}
	return link.SweepTunnels(t.kernel, t.links)
}

func hasSource(want intent.Intent) bool { return want.Source.IsValid() || want.Source6.IsValid() }

// routes are the tunnels as the plan sees them.
func (t *tunnels) routes() []route.Tunnel {
	var all []route.Tunnel
	for _, l := range t.links {
		outer := route.IPv4
		if l.Outer6 {
			outer = route.IPv6
		}
		for _, inner := range []struct {
			family  route.Family
			carried bool
		}{{route.IPv4, l.Inner4}, {route.IPv6, l.Inner6}} {
			if !inner.carried {
				continue
			}
			r := route.Tunnel{Kind: route.Kind(l.Kind), Link: l.Name, Inner: inner.family, Outer: outer, Keys: l.Keys}
			if r.Kind == route.IP6Tnl {
				r.Local = l.Source
			}
			all = append(all, r)
		}
	}
	return all
}

// ends are the addresses of lost peers as routes write them: as they are, and as the
// tunnels' next hops.
func (t *tunnels) ends(lost []route.Lost) []netip.Addr {
	var all []netip.Addr
	for _, p := range lost {
		all = append(all, p.Address)
		for _, l := range t.links {
			if key, ok := l.Keys[p.Address]; ok {
				all = append(all, key)
			}
		}
	}
	return all
}
