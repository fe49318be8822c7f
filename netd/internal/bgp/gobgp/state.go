package gobgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/protobuf/proto"

	"netd/netd/internal/filter"
)

var sessionStates = map[api.PeerState_SessionState]string{
	api.PeerState_SESSION_STATE_IDLE: "Idle", api.PeerState_SESSION_STATE_CONNECT: "Connect",
	api.PeerState_SESSION_STATE_ACTIVE: "Active", api.PeerState_SESSION_STATE_OPENSENT: "OpenSent",
	api.PeerState_SESSION_STATE_OPENCONFIRM: "OpenConfirm", api.PeerState_SESSION_STATE_ESTABLISHED: "Established",
}

// PeerState translates a session; ok is false for one that is not configured.
func (c Config) PeerState(p *api.Peer, originated []Origin) (PeerState, bool) {
	address, err := netip.ParseAddr(p.GetState().GetNeighborAddress())
	if err != nil {
		return PeerState{}, false
	}
	name, in, session, ok := c.Who(address)
	if !ok {
		return PeerState{}, false
	}
	s := PeerState{
		Name: name, Address: address, AS: session.AS, Gateway: session.Gateway, Range: in, State: sessionStates[p.GetState().GetSessionState()],
	}
	if i := slices.IndexFunc(c.Peers, func(p Peer) bool { return p.Address == address }); i >= 0 {
		s.Description, s.Shutdown = c.Peers[i].Description, c.Peers[i].Shutdown
		s.Warning = c.clash(c.Peers[i])
	}
	if s.State == "" {
		s.State = "Idle"
	}
	since := p.GetTimers().GetState().GetDowntime()
	if s.Established() {
		since = p.GetTimers().GetState().GetUptime()
		s.Local, _ = netip.ParseAddr(p.GetTransport().GetLocalAddress())
		s.HoldTime = time.Duration(p.GetTimers().GetState().GetNegotiatedHoldTime()) * time.Second
	}
	if since.GetSeconds() > 0 {
		s.Since = since.AsTime()
	}
	s.Reason = DisconnectReason(p.GetState())
	s.Graceful = s.Established() && restartsGracefully(p)
	s.Stale = !s.Established() && p.GetGracefulRestart().GetPeerRestarting()
	s.count(p, session, advertised(c.FilterPeer(Configured(name, in), session), session, originated))
	return s, true
}

// count adds up the families that both ends speak.
func (s *PeerState) count(p *api.Peer, session Session, originated []netip.Prefix) {
	s.EndOfRIB = s.Established()
	for _, af := range p.GetAfiSafis() {
		family := af.GetConfig().GetFamily()
		if s.Established() && !speaks(p, family) {
			continue
		}
		received := af.GetState().GetReceived()
		s.Received += received
		if !s.Established() {
			continue
		}
		s.EndOfRIB = s.EndOfRIB && af.GetMpGracefulRestart().GetState().GetEndOfRibReceived()
		for _, o := range originated {
			if o.Addr().Is6() == (family.GetAfi() == api.Family_AFI_IP6) {
				s.Sent++
			}
		}
		if session.WarnPercent > 0 && received*100 >= uint64(session.MaxPrefixes)*uint64(session.WarnPercent) {
			s.Warning = fmt.Sprintf("%d prefixes, and max-prefixes is %d", received, session.MaxPrefixes)
		}
	}
}

// Configured is the name that filters know a session by: its own, or its range's.
func Configured(name, in string) string {
	if in != "" {
		return in
	}
	return name
}

// advertised is what of ours the peer's filters let through.
func advertised(p filter.Peer, s Session, originated []Origin) []netip.Prefix {
	steps := filter.Export(p, s.Export)
	var list []netip.Prefix
	for _, o := range originated {
		if filter.Evaluate(steps, o.Facts(p)).Accepted {
			list = append(list, o.Prefix)
		}
	}
	return list
}

// Begins tells whether the peer said that it had just begun itself (RFC 4724 section
// 3, the R bit; FRR says so for two minutes).
func Begins(p *api.Peer) bool {
	return slices.ContainsFunc(p.GetState().GetRemoteCap(), func(c *api.Capability) bool {
		return c.GetGracefulRestart().GetFlags()&restartState != 0
	})
}

// restartsGracefully tells whether the peer named a family that it keeps forwarding for.
func restartsGracefully(p *api.Peer) bool {
	return slices.ContainsFunc(p.GetState().GetRemoteCap(), func(c *api.Capability) bool {
		return len(c.GetGracefulRestart().GetTuples()) > 0
	})
}

// restartState is the R bit among the capability's four flags.
const restartState = 0x8

// speaks tells whether the peer has announced a family; one that announces none
// speaks IPv4 unicast (RFC 4760 section 8).
func speaks(p *api.Peer, family *api.Family) bool {
	multiprotocol := false
	for _, capability := range p.GetState().GetRemoteCap() {
		if mp := capability.GetMultiProtocol(); mp != nil {
			multiprotocol = true
			if proto.Equal(mp.GetFamily(), family) {
				return true
			}
		}
	}
	return !multiprotocol && family.GetAfi() == api.Family_AFI_IP
}

// TooMany is why a session ended that max-prefixes has ended.
const TooMany = "sent more prefixes than max-prefixes"

// EndedHere is why a session ended that was taken down on this side.
const EndedHere = "ended here, by an order or the configuration"

// DisconnectReason says why a session ended.
func DisconnectReason(s *api.PeerState) string {
	if Limited(s) {
		return TooMany
	}
	switch message := s.GetDisconnectMessage(); message {
	case "":
	case "admin-down":
		return EndedHere
	case "read-failed":
		return "the peer closed the connection"
	case "write-failed":
		return "the connection broke"
	case "hold-timer-expired":
		return "hold timer expired"
	default:
		return message
	}
	reason := strings.TrimPrefix(s.GetDisconnectReason().String(), "DISCONNECT_REASON_")
	if reason == "UNSPECIFIED" {
		return ""
	}
	return strings.ToLower(strings.ReplaceAll(reason, "_", " "))
}

// IsLoss tells an end from a beginning.
func IsLoss(p *api.PeerState) bool {
	switch p.GetDisconnectReason() {
	case api.PeerState_DISCONNECT_REASON_UNSPECIFIED, api.PeerState_DISCONNECT_REASON_IDLE_TIMER_EXPIRED:
		return false
	}
	return true
}

// Limited tells whether the session is Idle for too many prefixes.
func Limited(s *api.PeerState) bool { return s.GetAdminState() == api.PeerState_ADMIN_STATE_PFX_CT }

// UntilRetry says when a limited session is tried again.
func UntilRetry(at time.Time) string {
	return TooMany + "; tried again at " + at.UTC().Format(time.TimeOnly) + " UTC"
}
