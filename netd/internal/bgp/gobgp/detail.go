package gobgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
)

// Detail is what a person asks about a session now and then. It is no part of what
// is read at each event: to count what is sent, GoBGP runs the export filters over its
// table.
type Detail struct {
	// Local is our end of the connection, RouterID the peer's name for itself; both
	// invalid without a session, as the rest is empty.
	Local, RouterID netip.Addr
	// HoldTime and Keepalive are the negotiated ones.
	HoldTime, Keepalive time.Duration
	Families            []FamilyCount
	// Capabilities of the peer, in words (RFC 5492).
	Capabilities []string
	// MessagesIn and MessagesOut count BGP messages since the session's configuration.
	MessagesIn, MessagesOut uint64
}

// FamilyCount counts the prefixes of one family: what the peer sent, and what passes the
// export filters to it.
type FamilyCount struct {
	Family         string
	IPv6           bool
	Received, Sent uint64
}

// Sent is the number of prefixes that the peer is told, of all families.
func (d Detail) Sent() uint64 {
	var n uint64
	for _, f := range d.Families {
		n += f.Sent
	}
	return n
}

// DetailOf is what GoBGP says of a session.
func DetailOf(p *api.Peer) Detail {
	messages := p.GetState().GetMessages()
	d := Detail{MessagesIn: messages.GetReceived().GetTotal(), MessagesOut: messages.GetSent().GetTotal()}
	if p.GetState().GetSessionState() != api.PeerState_SESSION_STATE_ESTABLISHED {
		return d
	}
	timers := p.GetTimers().GetState()
	d.HoldTime = time.Duration(timers.GetNegotiatedHoldTime()) * time.Second
	d.Keepalive = time.Duration(timers.GetKeepaliveInterval()) * time.Second
	d.Local, _ = netip.ParseAddr(p.GetTransport().GetLocalAddress())
	d.RouterID, _ = netip.ParseAddr(p.GetState().GetRouterId())
	for _, af := range p.GetAfiSafis() {
		if family := af.GetConfig().GetFamily(); speaks(p, family) {
			n := af.GetState()
			d.Families = append(d.Families, FamilyCount{familyName(family), family.GetAfi() == api.Family_AFI_IP6, n.GetReceived(), n.GetAdvertised()})
		}
	}
	for _, c := range p.GetState().GetRemoteCap() {
		if words := capability(c); !slices.Contains(d.Capabilities, words) {
			d.Capabilities = append(d.Capabilities, words)
		}
	}
	return d
}

func familyName(f *api.Family) string {
	name := func(text, prefix string) string { return strings.ToLower(strings.TrimPrefix(text, prefix)) }
	afi := map[api.Family_Afi]string{api.Family_AFI_IP: "ipv4", api.Family_AFI_IP6: "ipv6"}[f.GetAfi()]
	if afi == "" {
		afi = name(f.GetAfi().String(), "AFI_")
	}
	return afi + " " + name(f.GetSafi().String(), "SAFI_")
}

// capability says in words what a peer can do.
func capability(c *api.Capability) string {
	switch {
	case c.GetMultiProtocol() != nil:
		return familyName(c.GetMultiProtocol().GetFamily())
	case c.GetRouteRefresh() != nil, c.GetRouteRefreshCisco() != nil:
		return "route refresh"
	case c.GetEnhancedRouteRefresh() != nil:
		return "enhanced route refresh"
	case c.GetExtendedNexthop() != nil:
		return "extended next hop"
	case c.GetGracefulRestart() != nil:
		return fmt.Sprintf("graceful restart %ds", c.GetGracefulRestart().GetTime())
	case c.GetLongLivedGracefulRestart() != nil:
		return "long-lived graceful restart"
	case c.GetFourOctetAsn() != nil:
		return "4-octet AS"
	case c.GetAddPath() != nil:
		return "add-path"
	case c.GetExtendedMessage() != nil:
		return "extended messages"
	case c.GetFqdn() != nil:
		return fmt.Sprintf("host name %q", c.GetFqdn().GetHostName())
	case c.GetSoftwareVersion() != nil:
		return fmt.Sprintf("software %q", c.GetSoftwareVersion().GetSoftwareVersion())
	}
	return fmt.Sprintf("capability %d", c.GetUnknown().GetCode())
}
