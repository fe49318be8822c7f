package intent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"netd/netd/config"
	"netd/netd/internal/link"
	"netd/netd/internal/pod"
	"netd/netd/internal/policy"
	"netd/netd/internal/route"
	"netd/netd/layout"
)

// tunnels is what tunnels are to be there for.
func (c compiler) tunnels(source, source6 netip.Addr) link.Need {
	n := link.Need{Local4: source, Local6: source6, MTU: c.uplinkMTU()}
	for _, p := range c.Pools {
		if p.Encapsulation != config.EncapsulateNever {
			n.Inner4 = n.Inner4 || p.Prefix.Addr().Is4()
			n.Inner6 = n.Inner6 || p.Prefix.Addr().Is6()
		}
	}
	n.Gateways = append(c.knownGateways(), c.metGateways()...)
	for _, r := range c.gatewayRanges() {
		n.Ranges = append(n.Ranges, r.Prefix)
	}
	if t := c.Tunnel; t.Type == config.TunnelVXLAN {
		n.VXLAN = &link.VXLAN{VNI: t.VNI, Port: int(t.Port)}
	}
	return n
}

// knownGateways are the others' addresses, of both families, in the file's order.
func (c compiler) knownGateways() []netip.Addr {
	var all []netip.Addr
	for _, g := range c.Config.BGP.GatewayPeers {
		if all = append(all, g.Address); g.Other.IsValid() {
			all = append(all, g.Other)
		}
	}
	return all
}

// gatewayRanges are where gateways are that are not known one by one.
func (c compiler) gatewayRanges() []config.Range {
	var ranges []config.Range
	for _, r := range c.Config.BGP.Ranges {
		if r.Type == config.TypeGateway {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// metGateways are the addresses of gateways of a range that paths lead to.
func (c compiler) metGateways() []netip.Addr {
	var met []netip.Addr
	for _, r := range c.gatewayRanges() {
		for _, hop := range c.NextHops {
			if r.Prefix.Contains(hop) {
				met = append(met, hop)
			}
		}
	}
	slices.SortFunc(met, netip.Addr.Compare)
	return slices.Compact(met)
}

// guard is the policy that the configuration asks for.
func (c compiler) guard() policy.Rules {
	rules := policy.Rules{PodLinks: layout.PodLinks, BGPPort: c.Config.BGP.Port, Near: c.near(), Gateways: c.knownGateways()}
	for _, r := range c.gatewayRanges() {
		rules.Ranges = append(rules.Ranges, r.Prefix)
	}
	slices.SortFunc(rules.Gateways, netip.Addr.Compare)
	if t := c.Tunnel; t.Type == config.TunnelVXLAN {
		rules.VXLANPort = t.Port
	}
	for _, u := range c.uplinks() {
		for _, p := range u.Prefixes {
			if !p.IsSingleIP() {
				rules.OnLink = append(rules.OnLink, p.Masked())
			}
		}
	}
	if m := c.Management.Metrics; m.IsValid() {
		rules.MetricsPort = m.Port()
		for _, w := range c.Workloads {
			for i := range w.Replicas {
				if w.ReadMetrics {
					rules.Scrapers = append(rules.Scrapers, pod.LinkName(podName(w.Name, i)))
				}
			}
		}
	}
	c.guardLANs(&rules)
	slices.SortFunc(rules.OnLink, netip.Prefix.Compare)
	rules.OnLink = slices.Compact(rules.OnLink)
	return rules
}

// guardLANs fills in what the guard has to know of LANs. Devices may read metrics that are
// told at the gateway's address on their LAN.
func (c compiler) guardLANs(rules *policy.Rules) {
	for _, l := range c.Config.LANs {
		rules.LANs = append(rules.LANs, policy.LAN{Name: l.Name, ForwardTo: l.ForwardTo})
		for _, p := range l.Addresses {
			rules.OnLink = append(rules.OnLink, p.Masked())
			if p.Addr() == c.Management.Metrics.Addr() {
				rules.Scrapers = append(rules.Scrapers, l.Name)
			}
		}
	}
}

// near is the peers whose packets may not come from far (GTSM).
func (c compiler) near() []policy.Near {
	var near []policy.Near
	add := func(peers netip.Prefix, session config.Session) {
		if s, _ := c.session(session); s.GTSM {
			near = append(near, policy.Near{Peers: peers, MinTTL: s.MinTTL()})
		}
	}
	for _, p := range slices.Concat(c.peers(), c.Config.BGP.GatewayPeers) {
		if a := p.Address.WithZone(""); a.IsValid() {
			add(netip.PrefixFrom(a, a.BitLen()), p.Session)
		}
	}
	for _, r := range c.Config.BGP.Ranges {
		add(r.Prefix, r.Session)
	}
	return near
}

// routes fills in what the plan has to know of others.
func (c compiler) routes(r *Routes) {
	r.LeaveDelay = c.Config.Tunnel.LeaveDelay
	for _, p := range c.Pools {
		r.Pools = append(r.Pools, route.Pool{Prefix: p.Prefix, Encapsulation: encapsulation(p.Encapsulation)})
	}
	r.Gateways = map[netip.Addr]string{}
	for _, g := range c.Config.BGP.GatewayPeers {
		r.Gateways[g.Address], r.Gateways[g.Other] = g.Name, g.Name
	}
	delete(r.Gateways, netip.Addr{})
	for _, g := range c.gatewayRanges() {
		r.Ranges = append(r.Ranges, route.Range{Name: g.Name, Prefix: g.Prefix})
	}
	r.Statics = c.statics()
	r.Peers = c.knownGateways()
	for _, p := range c.peers() {
		r.Peers = append(r.Peers, p.Address)
	}
}

// Origin says who may be behind a path.
func (i Intent) Origin() route.Origin {
	o := route.Origin{ByAS: map[uint32]string{}, Gateway: func(a netip.Addr) string {
		if name := i.Routes.Gateways[a]; name != "" {
			return name
		}
		for _, r := range i.Routes.Ranges {
			if r.Prefix.Contains(a) {
				return r.Name + "[" + a.String() + "]" // as its session is called
			}
		}
		return ""
	}}
	for name, a := range i.Sessions.About {
		if a.Kind != string(config.TypeGateway) {
			continue
		}
		if _, shared := o.ByAS[a.AS]; shared || a.AS == i.Sessions.AS {
			name = ""
		}
		o.ByAS[a.AS] = name
	}
	kinds := map[string]route.PeerKind{string(config.TypeGateway): route.GatewayPeer, string(config.TypeReflector): route.ReflectorPeer}
	o.Peer = func(name string) (route.PeerKind, uint32) {
		about, known := i.Sessions.About[name]
		if in, _, ranged := strings.Cut(name, "["); !known && ranged {
			about = i.Sessions.Ranges[in]
		}
		return kinds[about.Kind], about.AS
	}
	return o
}

// encapsulation is the route's word for the configuration's. One that is not known here
// must not become a default that nobody asked for: config.Parse lets none such through.
func encapsulation(e config.Encapsulation) route.Encapsulation {
	switch e {
	case config.EncapsulateNever:
		return route.Never
	case config.EncapsulateCrossSubnet:
		return route.CrossSubnet
	case config.EncapsulateAlways:
		return route.Always
	}
	panic(fmt.Sprintf("no route.Encapsulation for %q", e))
}

// announces are the prefixes that are announced beside the blocks: those that this
// gateway has a way to. rest are those of them whose unused part has to be dropped.
func (c compiler) announces() (now []config.Announce, rest []netip.Prefix) {
	for _, a := range c.Config.BGP.Announces {
		within := func(p netip.Prefix) bool { return a.Prefix.Bits() <= p.Bits() && a.Prefix.Contains(p.Addr()) }
		if a.Always || slices.ContainsFunc(c.Ways, within) {
			if now = append(now, a); !slices.Contains(c.Ways, a.Prefix) {
				rest = append(rest, a.Prefix)
			}
		}
	}
	return now, rest
}
