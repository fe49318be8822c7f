package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"netd/netd/config"
	"netd/netd/internal/bfd"
	"netd/netd/internal/bgp"
	"netd/netd/internal/link"
	"netd/netd/internal/rib"
)

// findPaths takes over the BFD sessions of an earlier life, which went on. A loss
// that they tell of is not ours to answer by a reset of a session that is new.
func (d *Daemon) findPaths() error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	socket := ChildSocket(d.opts.RunDir, "bfd")
	d.bfd = bfd.Connect(bfd.Options{Program: program, Args: []string{"bfd", "--socket", socket}, Socket: socket, Log: d.opts.Log})
	d.paths, _ = d.bfd.Statuses() // The error is reported by the first round.
	for _, s := range d.lostPeers() {
		d.reset[s.Peer] = s.Failed
	}
	return nil
}

// runPaths keeps the BFD sessions until ctx ends. They go on over a restart of the
// agent, for as long as peers keep its routes.
func (d *Daemon) runPaths(ctx context.Context) error {
	err := d.bfd.Run(ctx)
	if errors.Is(context.Cause(ctx), bgp.ErrLeave) {
		d.bfd.Leave()
	}
	return err
}

// watchPaths makes the BFD sessions those of the configuration's peers, and takes
// over what they say.
func (d *Daemon) watchPaths() error {
	var sessions []bfd.Session
	for _, p := range slices.Concat(d.peers(), d.config.BGP.GatewayPeers, d.rangePeers()) {
		sessions = d.appendPath(sessions, p)
	}
	d.bfd.Set(sessions, d.config.BGP.RestartTime)
	return d.readPaths()
}

// rangePeers are the peers of ranges that are there, or whose BFD sessions are an
// earlier life's: until they have connected, these go on.
func (d *Daemon) rangePeers() []config.Peer {
	var peers []config.Peer
	for _, r := range d.config.BGP.Ranges {
		add := func(name string, address netip.Addr) {
			peers = append(peers, config.Peer{Name: name, Address: address, Session: r.Session})
		}
		for _, p := range d.snapshot.Peers {
			if p.Range == r.Name {
				add(p.Name, p.Address)
			}
		}
		for _, s := range d.paths {
			known := slices.ContainsFunc(peers, func(p config.Peer) bool { return p.Name == s.Peer })
			if !d.settled && !known && strings.HasPrefix(s.Peer, r.Name+"[") && r.Prefix.Contains(s.Remote) {
				add(s.Peer, s.Remote)
			}
		}
	}
	return peers
}

// appendPath appends a peer's session, if it is to have one. Once it has one, a lost
// link or address does not change it: the loss is what it is there to notice.
func (d *Daemon) appendPath(sessions []bfd.Session, p config.Peer) []bfd.Session {
	if p.BFD == nil || p.NoSession || d.orders.obeyed(p).Shutdown {
		return sessions
	}
	s := bfd.Session{
		Peer: p.Name, Local: p.Source, Remote: p.Address, Multihop: d.isFar(p),
		Timers: bfd.Timers{MinTx: p.BFD.MinTx, MinRx: p.BFD.MinRx, Multiplier: uint8(p.BFD.Multiplier)},
	}
	if !s.Local.IsValid() {
		s.Local = d.localFor(p.Address)
	}
	if i := slices.IndexFunc(d.paths, func(b bfd.Status) bool { return b.Peer == p.Name && b.Remote == p.Address }); i >= 0 {
		was, gateway := d.paths[i], p.Type == config.TypeGateway
		if lost := !d.onSubnet(p.Address) && !p.Address.IsLinkLocalUnicast(); lost && !was.Multihop && (gateway || !s.Multihop) || !s.Local.IsValid() {
			s.Local, s.Multihop = was.Local, was.Multihop
		}
	}
	if !s.Local.IsValid() {
		return sessions // No address yet.
	}
	return append(sessions, s)
}

// isFar tells whether a session is of several hops: between gateways by subnet, with
// others as BIRD and FRR have it, to whom all iBGP is.
func (d *Daemon) isFar(p config.Peer) bool {
	if p.Type == config.TypeGateway {
		return !d.onSubnet(p.Address)
	}
	return p.Multihop > 1 || p.AS == d.config.BGP.AS
}

// onSubnet tells whether an uplink has an address in the peer's subnet.
func (d *Daemon) onSubnet(peer netip.Addr) bool {
	return slices.ContainsFunc(d.uplinks, func(u link.State) bool {
		return slices.ContainsFunc(u.Addresses, func(a netip.Prefix) bool { return a.Contains(peer) })
	})
}

// readPaths takes the monitor's findings and logs what they change.
func (d *Daemon) readPaths() error {
	now, err := d.bfd.Statuses()
	for _, s := range now {
		i := slices.IndexFunc(d.paths, func(b bfd.Status) bool { return b.Peer == s.Peer })
		lost := i >= 0 && !d.paths[i].Failed.IsZero()
		up := i >= 0 && d.paths[i].State == bfd.Up
		switch {
		case !s.Failed.IsZero() && (!lost || !d.paths[i].Failed.Equal(s.Failed)):
			if d.excuse(s) {
				break
			}
			d.opts.Log.Warn("BFD: peer lost", "peer", s.Peer, "address", s.Remote, "reason", s.Reason)
		case s.State == bfd.Up && !up:
			d.opts.Log.Info("BFD: peer is up", "peer", s.Peer, "address", s.Remote, "multihop", s.Multihop)
		case up && s.State == bfd.AdminDown: // Our end does not run, which says nothing of the path.
			d.opts.Log.Warn("BFD: peer is not watched", "peer", s.Peer, "address", s.Remote, "reason", s.Reason)
		case up && s.State != bfd.Up && s.Failed.IsZero():
			d.opts.Log.Info("BFD: peer has ended its session", "peer", s.Peer, "address", s.Remote)
		}
	}
	d.paths = now
	return err
}

// excuse tells whether a loss is not one of the path. A peer that restarts gracefully
// ends its BGP first, and its BFD with it unless that is independent; its kernel
// forwards on, and its paths are kept for its restart time (RFC 5882 section 4.3.2). One
// that dies or is cut off says nothing: its BGP is Established when BFD is lost.
func (d *Daemon) excuse(s bfd.Status) bool {
	restarts := false
	for _, paths := range d.snapshot.Paths {
		restarts = restarts || slices.ContainsFunc(paths.List, func(p rib.Path) bool { return p.Peer == s.Peer && p.Stale })
	}
	if s.Independent || !restarts {
		return false
	}
	d.opts.Log.Info("BFD: peer restarts; what it told is kept", "peer", s.Peer, "address", s.Remote)
	d.excused[s.Peer] = s.Failed
	return true
}

// pathsChanged answers a change at once: the routes first, from what is known of
// BGP already, and then the sessions.
func (d *Daemon) pathsChanged() {
	before := d.lostPeers()
	_ = d.readPaths() // The error is reported by the round that follows.
	same := func(a, b bfd.Status) bool { return a.Peer == b.Peer && a.Failed.Equal(b.Failed) }
	if slices.EqualFunc(before, d.lostPeers(), same) {
		return
	}
	if _, err := d.program(); err != nil {
		d.opts.Log.Error("routes after BFD", "err", err)
	}
	d.resetLost()
}

// lostPeers are the peers that BFD has lost, and that are not excused.
func (d *Daemon) lostPeers() []bfd.Status {
	return slices.DeleteFunc(slices.Clone(d.paths), func(s bfd.Status) bool {
		return s.Failed.IsZero() || d.excused[s.Peer].Equal(s.Failed)
	})
}

// resetLost resets the BGP session of each peer that was lost, once: its hold time
// is longer, and when that expires GoBGP would keep the paths as stale.
func (d *Daemon) resetLost() {
	for _, l := range d.lost() {
		if d.speaker == nil || d.reset[l.Peer].Equal(l.Since) {
			continue
		}
		if slices.ContainsFunc(d.snapshot.Peers, func(p bgp.PeerState) bool { return p.Address == l.Address && p.Established() }) {
			d.speaker.Reset(l.Address, l.Why)
		}
		d.reset[l.Peer] = l.Since
	}
}
