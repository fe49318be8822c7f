package intent

import (
	"net/netip"
	"slices"
	"strings"

	"netd/netd/config"
	"netd/netd/internal/bfd"
)

// bfd are the sessions of the peers that have BFD.
func (c compiler) bfd() []bfd.Session {
	var sessions []bfd.Session
	for _, p := range slices.Concat(c.peers(), c.Config.BGP.GatewayPeers, c.rangePeers()) {
		sessions = c.appendBFD(sessions, p)
	}
	return sessions
}

// rangePeers are the peers of ranges that are there, or whose BFD sessions are an
// earlier life's: until they have connected, these go on.
func (c compiler) rangePeers() []config.Peer {
	var peers []config.Peer
	for _, r := range c.Config.BGP.Ranges {
		add := func(name string, address netip.Addr) {
			peers = append(peers, config.Peer{Name: name, Address: address, Session: r.Session})
		}
		for _, p := range c.Facts.Peers {
			if p.Range == r.Name {
				add(p.Name, p.Address)
			}
		}
		for _, s := range c.BFD {
			known := slices.ContainsFunc(peers, func(p config.Peer) bool { return p.Name == s.Peer })
			if !c.Settled && !known && strings.HasPrefix(s.Peer, r.Name+"[") && r.Prefix.Contains(s.Remote) {
				add(s.Peer, s.Remote)
			}
		}
	}
	return peers
}

// appendBFD appends a peer's session, if it is to have one. Once it has one, a lost
// link or address does not change it: the loss is what it is there to notice.
func (c compiler) appendBFD(sessions []bfd.Session, p config.Peer) []bfd.Session {
	if p.BFD == nil || p.NoSession || c.Orders.obeyed(p).Shutdown || c.Returning[p.Name] {
		return sessions
	}
	s := bfd.Session{
		Peer: p.Name, Local: p.Source, Remote: p.Address, Multihop: c.isFar(p) || c.isEither(p),
		Timers: bfd.Timers{MinTx: p.BFD.MinTx, MinRx: p.BFD.MinRx, Multiplier: uint8(p.BFD.Multiplier)},
	}
	if !s.Local.IsValid() {
		s.Local = c.localFor(p.Address)
	}
	if i := slices.IndexFunc(c.BFD, func(b bfd.Status) bool { return b.Peer == p.Name && b.Remote == p.Address }); i >= 0 {
		was, gateway := c.BFD[i], p.Type == config.TypeGateway
		if c.isEither(p) {
			s.Multihop = was.Multihop != c.Mute[p.Name]
		}
		if lost := !c.onSubnet(p.Address) && !p.Address.IsLinkLocalUnicast(); lost && !was.Multihop && (gateway || !s.Multihop) || !s.Local.IsValid() {
			s.Local, s.Multihop = was.Local, was.Multihop
		}
	}
	if !s.Local.IsValid() {
		return sessions // No address yet.
	}
	return append(sessions, s)
}

// isFar tells whether BFD with a peer goes over several hops. To a gateway it does
// beyond the uplinks' subnets; to others where they take it so: with multihop, and with
// iBGP.
func (c compiler) isFar(p config.Peer) bool {
	switch {
	case p.BFD.SessionMode == config.BFDSingleHop:
		return false
	case p.BFD.SessionMode == config.BFDMultihop:
		return true
	case p.Type == config.TypeGateway:
		return !c.onSubnet(p.Address)
	}
	return p.Multihop > 1 || p.AS == c.Config.BGP.AS
}

// isEither tells whether BFD with a peer may be of either kind: with a connected switch of
// iBGP it is multihop for BIRD, and single-hop for FRR, for Junos, and for BIRD with
// "direct". Each is tried in turn until the peer is heard.
func (c compiler) isEither(p config.Peer) bool {
	return p.BFD.SessionMode == config.BFDAutomatic && p.Type == config.TypeToR && p.Multihop == 1 && p.AS == c.Config.BGP.AS &&
		(c.onSubnet(p.Address) || p.Address.IsLinkLocalUnicast())
}
