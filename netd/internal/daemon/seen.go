package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"netd/netd/config"
	"netd/netd/internal/api"
	"netd/netd/internal/bgp"
)

// detailTimeout bounds the question for what the speaker has to count.
const detailTimeout = 3 * time.Second

// publishPeers puts the sessions into the view.
func (d *Daemon) publishPeers(v *view) {
	for _, p := range d.snapshot.Peers {
		if p.Established() {
			v.status.Peers.Up++
		}
		v.status.Peers.Total++
		options, kind := d.about(p)
		v.peers = append(v.peers, api.Peer{
			Name: p.Name, Address: p.Address, AS: p.AS, Kind: string(kind), State: p.State, Since: p.Since, Reason: p.Reason,
			Received: p.Received, Accepted: p.Accepted, Sent: p.Sent, BFD: d.apiBFD(p.Name), Flaps: d.flaps[p.Name],
			Description: p.Description, Shutdown: p.Shutdown, Warning: p.Warning, Options: options,
		})
	}
	v.peers = append(v.peers, d.unheardPeers()...)
	v.status.Peers.Total = max(v.status.Peers.Total, d.sessions())
}

// sessions is how many the configuration asks for.
func (d *Daemon) sessions() int {
	peers := slices.Concat(d.config.BGP.Peers, d.config.BGP.GatewayPeers)
	return len(slices.DeleteFunc(peers, func(p config.Peer) bool { return p.NoSession }))
}

func (d *Daemon) apiBFD(peer string) *api.BFD {
	for _, s := range d.paths {
		if s.Peer == peer {
			return &api.BFD{
				State: s.State.String(), Since: s.Since, Lost: !s.Failed.IsZero(), Reason: s.Reason, Multihop: s.Multihop,
				RemoteState: s.RemoteState.String(), TransmitMS: s.Transmit.Milliseconds(), DetectMS: s.Detect.Milliseconds(), Flaps: s.Flaps,
			}
		}
	}
	return nil
}

// about finds what the configuration says about a session.
func (d *Daemon) about(p bgp.PeerState) ([]string, config.PeerType) {
	for _, r := range d.config.BGP.Ranges {
		if p.Range == r.Name {
			return append(options(r.Session), "of the range "+r.Prefix.String()), r.Type
		}
	}
	for _, c := range slices.Concat(d.config.BGP.Peers, d.config.BGP.GatewayPeers) {
		if c.Name != p.Name {
			continue
		}
		words := options(c.Session)
		if c.Interface != "" {
			words = append(words, "unnumbered on "+c.Interface)
		}
		if c.Source.IsValid() {
			words = append(words, "from "+c.Source.String())
		}
		if c.BFD != nil {
			words = append(words, fmt.Sprintf("BFD %s/%s x %d", c.BFD.MinTx, c.BFD.MinRx, c.BFD.Multiplier))
		}
		return words, c.Type
	}
	return nil, config.TypeToR
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

// countFlaps counts the sessions that were lost between two snapshots, also those
// that are up again.
func (d *Daemon) countFlaps(before, now []bgp.PeerState) {
	flaps := make(map[string]uint64, len(now)) // what is not there any more is forgotten
	for _, p := range now {
		flaps[p.Name] = d.flaps[p.Name]
		for _, b := range before {
			if b.Name == p.Name && b.Established() && (!p.Established() || !p.Since.Equal(b.Since)) {
				flaps[p.Name]++
			}
		}
	}
	d.flaps = flaps
}

// Peers are the view's, with what the speaker is asked for.
func (g gateway) Peers(ctx context.Context) []api.Peer {
	v := g.d.view.Load()
	peers := slices.Clone(v.peers)
	if v.speaker == nil {
		return peers
	}
	ctx, cancel := context.WithTimeout(ctx, detailTimeout)
	defer cancel()
	details, err := v.speaker.Details(ctx)
	if err != nil { // It is away, or busy: the rest is still true.
		g.d.opts.Log.Debug("details of sessions", "err", err)
		return peers
	}
	for i, p := range peers {
		detail, ok := details[p.Address]
		if !ok || p.State != "Established" || len(detail.Families) == 0 {
			continue
		}
		peers[i].Sent = detail.Sent()
		peers[i].Session = apiSession(detail)
	}
	return peers
}

func apiSession(d bgp.Detail) *api.Session {
	s := &api.Session{
		Local: d.Local, RouterID: d.RouterID, HoldTime: int(d.HoldTime.Seconds()), Keepalive: int(d.Keepalive.Seconds()),
		Capabilities: d.Capabilities, MessagesIn: d.MessagesIn, MessagesOut: d.MessagesOut,
	}
	for _, f := range d.Families {
		s.Families = append(s.Families, api.Family(f))
	}
	slices.SortFunc(s.Families, func(a, b api.Family) int { return cmp.Compare(a.Family, b.Family) })
	return s
}
