package gobgp

import (
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
)

const (
	// multihopTTL lets a gateway's session cross the fabric.
	multihopTTL = 64
	// idleHold is the pause after a session was reset (GoBGP's default is 30 s).
	idleHold = 2 * time.Second
	// anyOwnAS keeps GoBGP from looking for loops, where it would not notice that such a
	// path replaces the one before: the filter "loop" does.
	anyOwnAS = 255
)

// APIPeer is a session as GoBGP takes it. What GoBGP need not know is left out, so
// that a change of it leaves the session alone.
func (c Config) APIPeer(p Peer, restarting bool) *api.Peer {
	peer := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: p.Address.String(), PeerAsn: p.AS, LocalAsn: c.localAS(p.Session), AuthPassword: p.Password,
			AllowOwnAsn: anyOwnAS, AdminDown: p.Shutdown, Description: description(p),
		},
		Timers:          p.timers(),
		Transport:       &api.Transport{PassiveMode: p.Passive},
		GracefulRestart: c.gracefulRestart(c.deferral(p.Session), restarting),
		AfiSafis:        c.afiSafis(p.Session),
		EbgpMultihop:    p.multihop(c),
		TtlSecurity:     p.ttlSecurity(),
		RouteReflector:  c.routeReflector(p.Session),
	}
	if p.Local.IsValid() { // One of a range comes to any address of ours.
		peer.Transport.LocalAddress = p.Local.String()
	}
	if p.Gateway && p.Local.Less(p.Address) {
		// Of two gateways the one with the lower address waits: without this
		// both connect at once, and the collision costs seconds.
		peer.Transport.PassiveMode = true
	}
	return peer
}

// APIGroup is a range as GoBGP takes it.
func (c Config) APIGroup(r Range, restarting bool) *api.PeerGroup {
	return &api.PeerGroup{
		Conf: &api.PeerGroupConf{
			PeerGroupName: r.Name, PeerAsn: r.AS, LocalAsn: c.localAS(r.Session), AuthPassword: r.Password, AllowOwnAsn: anyOwnAS,
		},
		Timers:          r.timers(),
		Transport:       &api.Transport{PassiveMode: true},
		GracefulRestart: c.gracefulRestart(c.deferral(r.Session), restarting),
		AfiSafis:        c.afiSafis(r.Session),
		EbgpMultihop:    r.multihop(c),
		TtlSecurity:     r.ttlSecurity(),
		RouteReflector:  c.routeReflector(r.Session),
	}
}

// localAS is what the peer sees.
func (c Config) localAS(s Session) uint32 {
	if s.LocalAS != 0 {
		return s.LocalAS
	}
	return c.AS
}

func (s Session) timers() *api.Timers {
	return &api.Timers{Config: &api.TimersConfig{
		HoldTime: uint64(s.HoldTime / time.Second), KeepaliveInterval: uint64(s.Keepalive / time.Second),
		ConnectRetry: uint64(s.ConnectRetry / time.Second), IdleHoldTimeAfterReset: uint64(idleHold / time.Second),
	}}
}

// hops is from how far the peer's packets may come.
func (s Session) hops() int {
	switch {
	case s.TTL > 0:
		return s.TTL
	case s.ToR():
		return 1
	}
	return multihopTTL
}

// multihop is for eBGP, whose packets GoBGP otherwise sends with TTL 1. With GTSM
// they have 255 in any case.
func (s Session) multihop(c Config) *api.EbgpMultihop {
	if s.GTSM || s.hops() == 1 || s.AS == c.localAS(s) {
		return nil
	}
	return &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(s.hops())}
}

func (s Session) ttlSecurity() *api.TtlSecurity {
	if !s.GTSM {
		return nil
	}
	return &api.TtlSecurity{Enabled: true, TtlMin: uint32(s.MinTTL())}
}

// MinTTL is the least that the peer's packets have if none came from further away
// than it is (RFC 5082).
func (s Session) MinTTL() uint8 { return uint8(256 - s.hops()) }

func (c Config) routeReflector(s Session) *api.RouteReflector {
	if !s.ReflectorClient {
		return nil
	}
	id := c.ClusterID
	if !id.IsValid() {
		id = c.RouterID
	}
	return &api.RouteReflector{RouteReflectorClient: true, RouteReflectorClusterId: id.String()}
}

func (c Config) afiSafis(s Session) []*api.AfiSafi {
	var afs []*api.AfiSafi
	for _, family := range c.families() {
		af := &api.AfiSafi{
			Config:            &api.AfiSafiConfig{Family: family, Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: c.RestartTime > 0}},
		}
		if c.RestartTime > 0 && c.LongLived > 0 {
			af.LongLivedGracefulRestart = &api.LongLivedGracefulRestart{Config: &api.LongLivedGracefulRestartConfig{
				Enabled: true, RestartTime: uint32(c.LongLived / time.Second),
			}}
		}
		afs = append(afs, af)
	}
	return afs
}

// Who finds the peer or range that a session belongs to.
func (c Config) Who(a netip.Addr) (name, in string, s Session, ok bool) {
	for _, p := range c.Peers {
		if p.Address == a {
			return p.Name, "", p.Session, true
		}
	}
	best := -1
	for i, r := range c.Ranges {
		if r.Prefix.Contains(a.WithZone("")) && (best < 0 || r.Prefix.Bits() > c.Ranges[best].Prefix.Bits()) {
			best = i
		}
	}
	if best < 0 {
		return "", "", Session{}, false
	}
	r := c.Ranges[best]
	return r.peerName(a), r.Name, r.Session, true
}
