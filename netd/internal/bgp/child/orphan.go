package child

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
	"golang.org/x/sys/unix"
)

// When both ends connect at once, GoBGP v4.8.0 can lose sight of a connection that
// the peer has made: it goes on with its own as soon as the peer's OPEN is there, and
// never closes the other if no OPEN has come by that (fsm.go, opensent). A peer that
// prefers the forgotten one (RFC 4271 section 6.8) refuses all others until its hold
// timer expires; with an FRR that was a minute and more without a session. And while
// such a peer is silent, the session's whole state machine waits for it.
//
// So connections that no session can own are shut down. They are not closed: the
// descriptor is GoBGP's.

const (
	orphanInterval = time.Second
	// A session that neither is up nor has sent an OPEN owns no connection.
	orphanGrace = 1500 * time.Millisecond
	// One that waits for an OPEN gets it at once, from a peer that is well.
	openGrace = 10 * time.Second
	// descriptorGap is how many unused descriptors end the search.
	descriptorGap = 256
)

// connection is one that a peer has made.
type connection struct {
	descriptor int
	remote     netip.AddrPort
}

// orphans are connections that no session owns, and since when.
type orphans map[connection]time.Time

// sessions are those that are not Idle, and whether they are up, by GoBGP's events. To
// list peers costs it a walk over all that they have told, with everything else at a
// stand: that is for a connection that may be an orphan.
type sessions struct {
	mu sync.Mutex // guards up
	up map[netip.Addr]bool
}

func (s *sessions) note(a netip.Addr, state bgp.FSMState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up[a] = state == bgp.BGP_FSM_ESTABLISHED; state == bgp.BGP_FSM_IDLE {
		delete(s.up, a)
	}
}

// own tells whether all connections are of sessions that are up. GoBGP's addresses have
// zones, those of connections have none.
func (s *sessions) own(connections []connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, down := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for a, up := range s.up {
		a = a.WithZone("")
		known[a], down[a] = true, down[a] || !up
	}
	return !slices.ContainsFunc(connections, func(c connection) bool { return !known[c.remote.Addr()] || down[c.remote.Addr()] })
}

// endOrphans looks for them until ctx ends.
func endOrphans(ctx context.Context, s *server.BgpServer, log *slog.Logger) {
	up := sessions{up: map[netip.Addr]bool{}}
	err := s.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnPeerUpdate: func(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
			up.note(e.Peer.State.NeighborAddress, e.Peer.State.SessionState)
		},
	}, server.WatchPeer())
	if err != nil {
		log.Error("connections are looked at more often than is needed", "err", err)
	}
	tick := time.NewTicker(orphanInterval)
	defer tick.Stop()
	known := orphans{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		connections := incoming()
		if up.own(connections) {
			clear(known)
			continue
		}
		graces, err := openGraces(ctx, s)
		if err != nil || len(graces) == 0 {
			clear(known)
			continue
		}
		for _, c := range known.due(connections, graces, time.Now()) {
			log.Warn("a forgotten connection is shut down", "peer", c.remote)
			_ = unix.Shutdown(c.descriptor, unix.SHUT_RDWR)
		}
	}
}

// openGraces are the peers without a session, and how long they may have a
// connection.
func openGraces(ctx context.Context, s *server.BgpServer) (map[netip.Addr]time.Duration, error) {
	graces := map[netip.Addr]time.Duration{}
	err := s.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		a, err := netip.ParseAddr(p.GetState().GetNeighborAddress())
		if err != nil {
			return
		}
		switch p.GetState().GetSessionState() {
		case api.PeerState_SESSION_STATE_OPENSENT:
			graces[a.WithZone("")] = openGrace
		case api.PeerState_SESSION_STATE_OPENCONFIRM, api.PeerState_SESSION_STATE_ESTABLISHED:
		default:
			graces[a.WithZone("")] = orphanGrace
		}
	})
	return graces, err
}

// due notes which connections are there now, and returns those whose time is over.
func (o orphans) due(now []connection, graces map[netip.Addr]time.Duration, at time.Time) []connection {
	present := map[connection]bool{}
	var over []connection
	for _, c := range now {
		grace, ok := graces[c.remote.Addr()]
		if !ok {
			continue
		}
		present[c] = true
		if o[c].IsZero() {
			o[c] = at
		}
		if at.Sub(o[c]) >= grace {
			over = append(over, c)
		}
	}
	for c := range o {
		if !present[c] {
			delete(o, c)
		}
	}
	return over
}

// incoming are this process's connections on the ports that it listens on.
func incoming() []connection {
	listening := map[uint16]bool{}
	local := map[connection]uint16{}
	for fd, unused := 3, 0; unused < descriptorGap; fd++ {
		own, err := unix.Getsockname(fd)
		if err != nil {
			unused++
			continue
		}
		unused = 0
		port := addrPort(own).Port()
		if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && on == 1 {
			listening[port] = true
		} else if remote, err := unix.Getpeername(fd); err == nil && port != 0 {
			local[connection{fd, addrPort(remote)}] = port
		}
	}
	var found []connection
	for c, port := range local {
		if listening[port] {
			found = append(found, c)
		}
	}
	return found
}

// addrPort is zero for what is not TCP.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
