package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// multihopTTL lets a gateway's session cross the fabric.
	multihopTTL = 64
	// idleHold is the pause after a session was reset (GoBGP's default is 30 s).
	idleHold = 2 * time.Second
)

// globalIPv4 is IPv4 unicast in api.Global.Families, which counts GoBGP's own way
// (oc.IntToAfiSafiTypeMap) and not by api.Family.
const globalIPv4 = 0

func ipv4() *api.Family {
	return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
}

// start tells a new speaker process who it is and what it may learn and say.
func (c Config) start(ctx context.Context, client api.GoBgpServiceClient, restarting bool) error {
	_, err := client.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: c.AS, RouterId: c.RouterID.String(), ListenPort: int32(c.Port),
		ListenAddresses: []string{"0.0.0.0"},
		// Otherwise it makes two tables of 2048 shards for each family there is: 10 MB.
		Families:        []uint32{globalIPv4},
		GracefulRestart: c.gracefulRestart(restarting),
	}}, grpc.WaitForReady(true))
	if err != nil {
		reason := status.Convert(err).Message()
		if strings.Contains(reason, "address already in use") {
			reason = fmt.Sprintf("TCP port %d is taken by another program (ss -ltnp 'sport = %d' names it): %s", c.Port, c.Port, reason)
		}
		if code := status.Code(err); code == codes.Unavailable || code == codes.Canceled || code == codes.DeadlineExceeded {
			return fmt.Errorf("start BGP: %s", reason) // the process is gone; its last words say more
		}
		return fmt.Errorf("%w: %s", ErrConfig, reason)
	}
	return c.applyPolicy(ctx, client)
}

// addPeers starts the sessions. What we originate must be known before: a peer
// that gets our End-of-RIB without it would drop what it kept over our restart.
func (c Config) addPeers(ctx context.Context, client api.GoBgpServiceClient, restarting bool) error {
	for _, p := range c.Peers {
		if _, err := client.AddPeer(ctx, &api.AddPeerRequest{Peer: c.peer(p, restarting)}); err != nil {
			return fmt.Errorf("%w: add peer %s (%s): %s", ErrConfig, p.Name, p.Address, status.Convert(err).Message())
		}
	}
	return nil
}

func (c Config) gracefulRestart(restarting bool) *api.GracefulRestart {
	if c.RestartTime == 0 {
		return nil
	}
	return &api.GracefulRestart{
		Enabled: true, RestartTime: uint32(c.RestartTime / time.Second),
		DeferralTime: uint32(deferral / time.Second), LocalRestarting: restarting,
	}
}

func (c Config) peer(p Peer, restarting bool) *api.Peer {
	limit := &api.PrefixLimit{Family: ipv4(), MaxPrefixes: p.MaxPrefixes, ShutdownThresholdPct: 80}
	peer := &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: p.Address.String(), PeerAsn: p.AS, Description: p.Name},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime: uint64(c.HoldTime / time.Second), KeepaliveInterval: uint64(c.HoldTime / time.Second / 3),
			ConnectRetry: uint64(c.ConnectRetry / time.Second), IdleHoldTimeAfterReset: uint64(idleHold / time.Second),
		}},
		Transport:       &api.Transport{LocalAddress: p.Local.String()},
		GracefulRestart: c.gracefulRestart(restarting),
		AfiSafis: []*api.AfiSafi{{
			Config:            &api.AfiSafiConfig{Family: ipv4(), Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: c.RestartTime > 0}},
			PrefixLimits:      limit,
		}},
	}
	if p.Gateway {
		peer.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: multihopTTL}
		// Of two gateways the one with the lower address waits: without this
		// both connect at once, and the collision costs seconds.
		peer.Transport.PassiveMode = p.Local.Less(p.Address)
	}
	return peer
}

// applyPolicy sets the filters. GoBGP's own defaults accept and send everything.
func (c Config) applyPolicy(ctx context.Context, client api.GoBgpServiceClient) error {
	var tors []string
	for _, p := range c.Peers {
		if !p.Gateway {
			tors = append(tors, netip.PrefixFrom(p.Address, p.Address.BitLen()).String())
		}
	}
	pools := make([]*api.Prefix, 0, len(c.Pools))
	for _, p := range c.Pools {
		pools = append(pools, &api.Prefix{IpPrefix: p.String(), MaskLengthMin: uint32(p.Bits()), MaskLengthMax: 32})
	}
	accept := &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT}
	var sets []*api.DefinedSet
	imports := &api.Policy{Name: "netd-import"}
	if len(pools) > 0 {
		sets = append(sets, &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: "pools", Prefixes: pools})
		imports.Statements = append(imports.Statements, &api.Statement{
			Name:       "pools",
			Conditions: &api.Conditions{PrefixSet: matchAny("pools")},
			Actions:    accept,
		})
	}
	if len(tors) > 0 {
		sets = append(sets,
			&api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, Name: "tors", List: tors},
			&api.DefinedSet{
				DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: "default",
				Prefixes: []*api.Prefix{{IpPrefix: "0.0.0.0/0"}},
			})
		imports.Statements = append(imports.Statements, &api.Statement{
			Name:       "default-from-tors",
			Conditions: &api.Conditions{PrefixSet: matchAny("default"), NeighborSet: matchAny("tors")},
			Actions:    accept,
		})
	}
	exports := &api.Policy{Name: "netd-export", Statements: []*api.Statement{{
		Name:       "own",
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    accept,
	}}}
	for _, set := range sets {
		if _, err := client.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set}); err != nil {
			return fmt.Errorf("add BGP set %s: %w", set.Name, err)
		}
	}
	for direction, p := range map[api.PolicyDirection]*api.Policy{
		api.PolicyDirection_POLICY_DIRECTION_IMPORT: imports,
		api.PolicyDirection_POLICY_DIRECTION_EXPORT: exports,
	} {
		if _, err := client.AddPolicy(ctx, &api.AddPolicyRequest{Policy: p}); err != nil {
			return fmt.Errorf("add BGP policy %s: %w", p.Name, err)
		}
		if _, err := client.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: "global", Direction: direction, Policies: []*api.Policy{{Name: p.Name}},
			DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
		}}); err != nil {
			return fmt.Errorf("assign BGP policy %s: %w", p.Name, err)
		}
	}
	return nil
}

func matchAny(set string) *api.MatchSet {
	return &api.MatchSet{Name: set, Type: api.MatchSet_TYPE_ANY}
}

// ownPath is a prefix as we announce it: GoBGP puts the session's own address in
// the place of the zero next hop.
func ownPath(p netip.Prefix) *api.Path {
	return &api.Path{
		Family: ipv4(),
		Nlri:   &api.NLRI{Nlri: &api.NLRI_Prefix{Prefix: &api.IPAddressPrefix{Prefix: p.Addr().String(), PrefixLen: uint32(p.Bits())}}},
		Pattrs: []*api.Attribute{
			{Attr: &api.Attribute_Origin{Origin: &api.OriginAttribute{Origin: 0}}},
			{Attr: &api.Attribute_NextHop{NextHop: &api.NextHopAttribute{NextHop: "0.0.0.0"}}},
		},
	}
}

// merit is what BGP's order looks at before it takes to tie-breakers (RFC 4271,
// 9.1.2.2): paths of one merit may share the traffic.
type merit struct {
	localPref, hops, origin, med uint32
	external, stale              bool
}

func meritOf(p *api.Path) merit {
	m := merit{localPref: 100, external: p.GetIsFromExternal(), stale: p.GetStale()}
	for _, a := range p.GetPattrs() {
		switch {
		case a.GetLocalPref() != nil:
			m.localPref = a.GetLocalPref().GetLocalPref()
		case a.GetOrigin() != nil:
			m.origin = a.GetOrigin().GetOrigin()
		case a.GetMultiExitDisc() != nil:
			m.med = a.GetMultiExitDisc().GetMed()
		case a.GetAsPath() != nil:
			for _, seg := range a.GetAsPath().GetSegments() {
				if seg.GetType() == api.AsSegment_TYPE_AS_SET {
					m.hops++
				} else {
					m.hops += uint32(len(seg.GetNumbers()))
				}
			}
		}
	}
	return m
}

// learned turns one destination into paths, in BGP's order; our own are left out.
func learned(d *api.Destination, names map[string]string) []Path {
	prefix, err := netip.ParsePrefix(d.GetPrefix())
	if err != nil {
		return nil
	}
	var paths []Path
	var last merit // the last path's
	for _, p := range d.GetPaths() {
		peer, ok := names[p.GetNeighborIp()]
		if !ok {
			continue
		}
		path := Path{Prefix: prefix, Peer: peer, Rank: len(paths), Stale: p.GetStale()}
		for _, a := range p.GetPattrs() {
			switch {
			case a.GetNextHop() != nil:
				path.NextHop, err = netip.ParseAddr(a.GetNextHop().GetNextHop())
			case a.GetMpReach() != nil && len(a.GetMpReach().GetNextHops()) > 0:
				path.NextHop, err = netip.ParseAddr(a.GetMpReach().GetNextHops()[0])
			case a.GetAsPath() != nil:
				for _, seg := range a.GetAsPath().GetSegments() {
					path.ASPath = append(path.ASPath, seg.GetNumbers()...)
				}
			}
		}
		if err != nil || !path.NextHop.IsValid() {
			continue
		}
		m := meritOf(p)
		if len(paths) > 0 && m == last {
			path.Rank = paths[len(paths)-1].Rank
		}
		paths, last = append(paths, path), m
	}
	return paths
}

var sessionStates = map[api.PeerState_SessionState]string{
	api.PeerState_SESSION_STATE_IDLE: "Idle", api.PeerState_SESSION_STATE_CONNECT: "Connect",
	api.PeerState_SESSION_STATE_ACTIVE: "Active", api.PeerState_SESSION_STATE_OPENSENT: "OpenSent",
	api.PeerState_SESSION_STATE_OPENCONFIRM: "OpenConfirm", api.PeerState_SESSION_STATE_ESTABLISHED: "Established",
}

// peerState translates a session; ok is false for one that is not configured.
func peerState(p *api.Peer, peers []Peer, originated int) (PeerState, bool) {
	address, err := netip.ParseAddr(p.GetState().GetNeighborAddress())
	if err != nil {
		return PeerState{}, false
	}
	for _, want := range peers {
		if want.Address != address {
			continue
		}
		s := PeerState{Name: want.Name, Address: address, AS: want.AS, Gateway: want.Gateway, State: sessionStates[p.GetState().GetSessionState()]}
		if s.State == "" {
			s.State = "Idle"
		}
		since := p.GetTimers().GetState().GetDowntime()
		if s.Established() {
			since, s.Sent = p.GetTimers().GetState().GetUptime(), uint64(originated)
		}
		if since.GetSeconds() > 0 {
			s.Since = since.AsTime()
		}
		s.Reason = disconnectReason(p.GetState())
		for _, af := range p.GetAfiSafis() {
			s.Received += af.GetState().GetReceived()
			s.Accepted += af.GetState().GetAccepted()
			s.EndOfRIB = s.Established() && af.GetMpGracefulRestart().GetState().GetEndOfRibReceived()
		}
		return s, true
	}
	return PeerState{}, false
}

func disconnectReason(s *api.PeerState) string {
	if s.GetAdminState() == api.PeerState_ADMIN_STATE_PFX_CT {
		return "sent more prefixes than max-prefixes"
	}
	if message := s.GetDisconnectMessage(); message != "" {
		return message
	}
	reason := strings.TrimPrefix(s.GetDisconnectReason().String(), "DISCONNECT_REASON_")
	if reason == "UNSPECIFIED" {
		return ""
	}
	return strings.ToLower(strings.ReplaceAll(reason, "_", " "))
}
