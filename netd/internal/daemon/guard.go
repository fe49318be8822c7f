package daemon

import (
	"net/netip"
	"slices"

	"netd/netd/config"
	"netd/netd/internal/link"
	"netd/netd/internal/pod"
	"netd/netd/internal/policy"
)

// guardRules is the policy that the configuration asks for.
func (d *Daemon) guardRules() policy.Rules {
	rules := policy.Rules{PodLinks: pod.LinkPrefix, BGPPort: d.config.BGP.Port, Near: d.near(), Gateways: d.knownGateways()}
	for _, r := range d.gatewayRanges() {
		rules.Ranges = append(rules.Ranges, r.Prefix)
	}
	slices.SortFunc(rules.Gateways, netip.Addr.Compare)
	if t := d.config.Tunnel; t.Type == config.TunnelVXLAN {
		rules.VXLANPort = t.Port
	}
	return rules
}

// near is the peers whose packets may not come from far (GTSM).
func (d *Daemon) near() []policy.Near {
	var near []policy.Near
	add := func(peers netip.Prefix, c config.Session) {
		if s, _ := d.session(c); s.GTSM {
			near = append(near, policy.Near{Peers: peers, MinTTL: s.MinTTL()})
		}
	}
	for _, p := range slices.Concat(d.peers(), d.config.BGP.GatewayPeers) {
		if a := p.Address.WithZone(""); a.IsValid() {
			add(netip.PrefixFrom(a, a.BitLen()), p.Session)
		}
	}
	for _, r := range d.config.BGP.Ranges {
		add(r.Prefix, r.Session)
	}
	return near
}

// applyGuard puts the policy in force.
func (d *Daemon) applyGuard() error {
	rules := d.guardRules()
	if err := policy.Apply(rules); err != nil {
		return err
	}
	d.guard = rules
	return nil
}

// followGuard changes the policy when the configuration has.
func (d *Daemon) followGuard() error {
	if d.guard.Equal(d.guardRules()) {
		return nil
	}
	return d.applyGuard()
}

// repairGuard puts the policy back if someone has flushed it.
func (d *Daemon) repairGuard() {
	present, err := policy.Present()
	if err == nil && !present {
		d.opts.Log.Warn("nftables table is gone; putting it back", "table", policy.Table)
		err = d.applyGuard()
	}
	if err != nil {
		d.opts.Log.Error("guard of the tunnels", "err", err)
	}
}

// forward lets the kernel forward what the pods need: IPv6 only if they have it,
// because the kernel then ignores other routers' advertisements.
func (d *Daemon) forward() error {
	if err := link.Forward(); err != nil {
		return err
	}
	if slices.ContainsFunc(d.config.Pools, func(p config.Pool) bool { return p.Prefix.Addr().Is6() }) {
		return link.Forward6()
	}
	return nil
}
