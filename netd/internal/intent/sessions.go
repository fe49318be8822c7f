package intent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"netd/netd/config"
	"netd/netd/internal/bfd"
	"netd/netd/internal/bgp"
)

// sessions is what is wanted of BGP and BFD.
func (c compiler) sessions(i Intent) Sessions {
	b := c.Config.BGP
	s := Sessions{
		AS: b.AS, RouterID: b.RouterID, BFD: bfd.Wanted{Sessions: c.bfd(), Linger: b.RestartTime, Stay: len(c.Returning) > 0},
		About: map[string]About{}, Ranges: map[string]About{},
	}
	if b.AS != 0 && (i.Source.IsValid() || i.Source6.IsValid()) {
		s.Speaker = &bgp.Wanted{Config: c.speaker(s.RouterID), Origins: c.origins(i.Announces)}
	}
	for _, p := range slices.Concat(b.Peers, b.GatewayPeers) {
		if !p.NoSession {
			s.Configured++
		}
		s.About[p.Name] = c.about(p)
	}
	for _, r := range b.Ranges {
		s.Ranges[r.Name] = About{Kind: string(r.Type), AS: r.AS, Options: append(options(r.Session), "of the range "+r.Prefix.String())}
	}
	for _, p := range b.Peers {
		if p.Interface != "" && !c.Routers[p.Interface].IsValid() {
			s.Unheard = append(s.Unheard, Peer{p.Name, netip.Addr{}, p.Interface})
		}
	}
	for _, p := range c.peers() {
		s.ToRs = append(s.ToRs, Peer{p.Name, p.Address, p.Interface})
		if p.BFD != nil && c.isEither(p) {
			s.Undecided = append(s.Undecided, p.Name)
		}
	}
	return s
}

// peers are the configuration's ToRs and reflectors that have an address: one that is
// known by its link alone has it from there.
func (c compiler) peers() []config.Peer {
	peers := slices.Clone(c.Config.BGP.Peers)
	for i, p := range peers {
		if p.Interface != "" {
			peers[i].Address = c.Routers[p.Interface]
		}
	}
	return slices.DeleteFunc(peers, func(p config.Peer) bool { return !p.Address.IsValid() })
}

// obeyed is a peer of the configuration as the orders leave it.
func (o Orders) obeyed(p config.Peer) config.Peer {
	if message, down := o.Down[p.Name]; down {
		p.Shutdown, p.ShutdownMessage = true, message
	}
	return p
}

// speaker translates the configuration for package bgp.
func (c compiler) speaker(routerID netip.Addr) bgp.Config {
	b := c.Config.BGP
	s := bgp.Config{
		AS: b.AS, RouterID: routerID, Port: b.Port, ClusterID: b.ClusterID,
		RestartTime: b.RestartTime, LongLived: b.LongLivedTime, Drain: c.Orders.Drain,
	}
	for _, p := range c.Pools {
		s.Pools = append(s.Pools, p.Prefix)
	}
	s.IPv6 = c.pools6() || slices.ContainsFunc(c.Gateway.Addresses, netip.Addr.Is6) ||
		slices.ContainsFunc(b.Announces, func(a config.Announce) bool { return a.Prefix.Addr().Is6() })
	for _, p := range slices.Concat(c.peers(), b.GatewayPeers) {
		if session, ok := c.session(p.Session); ok && !p.NoSession {
			s.Peers = append(s.Peers, c.peer(p, session))
		}
	}
	for _, r := range b.Ranges {
		if session, ok := c.session(r.Session); ok {
			s.Ranges = append(s.Ranges, bgp.Range{Name: r.Name, Prefix: r.Prefix, Session: session})
		}
	}
	return s
}

func (c compiler) peer(p config.Peer, s bgp.Session) bgp.Peer {
	p = c.Orders.obeyed(p)
	local := p.Source
	if !local.IsValid() {
		local = c.localFor(p.Address)
	}
	other := c.otherFamily(local)
	if p.Address.IsLinkLocalUnicast() {
		other = netip.Addr{} // What such a peer can reach is our link-local address (RFC 8950).
	}
	for _, capability := range p.NoCapabilities {
		s.Without = append(s.Without, string(capability))
	}
	return bgp.Peer{
		Name: p.Name, Address: p.Address, Interface: p.Interface, Local: local, NextHop: other,
		Description: p.Description, Shutdown: p.Shutdown, ShutdownMessage: p.ShutdownMessage, Session: s,
	}
}

// session is one in bgp's words; false if its password is not known: no session is
// better than one that anybody can take over.
func (c compiler) session(s config.Session) (bgp.Session, bool) {
	password, ok := c.Passwords[s.PasswordFile]
	return bgp.Session{
		AS: s.AS, LocalAS: s.LocalAS, AllowOwnAS: s.AllowOwnAS, TTL: s.Multihop, GTSM: s.GTSM, Password: password, Passive: s.Passive,
		HoldTime: s.HoldTime, Keepalive: s.Keepalive, ConnectRetry: s.ConnectRetry,
		MaxPrefixes: s.MaxPrefixes, WarnPercent: s.MaxPrefixesWarn, RestartAfter: s.MaxPrefixesRestart,
		Import: c.Config.BGP.Rules(s.Import), Export: c.Config.BGP.Rules(s.Export),
		Gateway: s.Type == config.TypeGateway, Reflector: s.Type == config.TypeReflector, ReflectorClient: s.ReflectorClient,
	}, ok || s.PasswordFile == ""
}

// PasswordFiles are those that a configuration names, with the names of the peers and
// ranges whose password each has.
func PasswordFiles(c *config.Config) map[string][]string {
	files := map[string][]string{}
	add := func(file, name string) {
		if file != "" {
			files[file] = append(files[file], name)
		}
	}
	for _, p := range slices.Concat(c.BGP.Peers, c.BGP.GatewayPeers) {
		add(p.PasswordFile, p.Name)
	}
	for _, r := range c.BGP.Ranges {
		add(r.PasswordFile, r.Name)
	}
	return files
}

// origins are what this gateway announces: its blocks, what the configuration names, and
// its own addresses. A block is nobody else's; of another prefix others may have parts.
func (c compiler) origins(announces []config.Announce) []bgp.Origin {
	var list []bgp.Origin
	add := func(p netip.Prefix, whole bool, a config.Attributes) {
		list = append(list, bgp.Origin{Prefix: p, Whole: whole, Communities: a.Communities, Large: a.Large, MED: a.MED})
	}
	for _, p := range c.Pools {
		if p.Block.IsValid() {
			add(p.Block, true, p.Attributes)
		}
	}
	for _, a := range announces {
		add(a.Prefix, false, a.Attributes)
	}
	for _, own := range c.own() {
		if !slices.ContainsFunc(list, func(o bgp.Origin) bool { return o.Prefix == own }) {
			add(own, true, config.Attributes{})
		}
	}
	return list
}

// about is what a person is told of a session.
func (c compiler) about(p config.Peer) About {
	a := About{Kind: string(p.Type), AS: p.AS, Description: p.Description, Shutdown: c.Orders.obeyed(p).Shutdown, InFile: p.Shutdown, Options: options(p.Session)}
	if p.Interface != "" {
		a.Options = append(a.Options, "unnumbered on "+p.Interface)
	}
	if p.Source.IsValid() {
		a.Options = append(a.Options, "from "+p.Source.String())
	}
	if len(p.NoCapabilities) > 0 {
		a.Options = append(a.Options, fmt.Sprint("without capabilities ", p.NoCapabilities))
	}
	if p.BFD != nil {
		a.Options = append(a.Options, fmt.Sprintf("BFD %s/%s x %d, %s", p.BFD.MinTx, p.BFD.MinRx, p.BFD.Multiplier, cmp.Or(p.BFD.SessionMode, config.BFDAutomatic)))
	}
	return a
}

// options are a session's, in words; those that say nothing special are left out.
func options(s config.Session) []string {
	words := []string{
		fmt.Sprintf("hold time %s, keepalive %s, connect retry %s", s.HoldTime, s.Keepalive, s.ConnectRetry),
		fmt.Sprintf("at most %d prefixes (warns at %d%%, tries again after %s)", s.MaxPrefixes, s.MaxPrefixesWarn, s.MaxPrefixesRestart),
	}
	for _, o := range []struct {
		set   bool
		words string
	}{
		{s.LocalAS != 0, fmt.Sprintf("local AS %d", s.LocalAS)},
		{s.AllowOwnAS != 0, fmt.Sprintf("own AS allowed %d times", s.AllowOwnAS)},
		{s.Multihop > 1, fmt.Sprintf("multihop, TTL %d", s.Multihop)},
		{s.GTSM, "GTSM"},
		{s.PasswordFile != "", "password from " + s.PasswordFile},
		{s.Passive, "passive"},
		{s.ReflectorClient, "client of our reflector"},
	} {
		if o.set {
			words = append(words, o.words)
		}
	}
	return words
}
