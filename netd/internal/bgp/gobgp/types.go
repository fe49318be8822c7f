package gobgp

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"netd/netd/internal/filter"
)

// Config is what the speaker should do.
type Config struct {
	AS       uint32
	RouterID netip.Addr
	// Port to listen on, all addresses.
	Port uint16
	// ClusterID is this gateway's as a route reflector (RFC 4456); invalid: RouterID.
	ClusterID netip.Addr
	// RestartTime (RFC 4724) and LongLived (RFC 9494) are how long peers keep our
	// routes while the speaker restarts, in whole seconds; 0 is not at all.
	RestartTime, LongLived time.Duration
	// Drain asks all peers to use other gateways, where there are any (RFC 8326).
	Drain bool
	// Pools are the ranges that may be learned, from any peer.
	Pools []netip.Prefix
	// IPv6 makes sessions carry IPv6 unicast beside IPv4 unicast.
	IPv6   bool
	Peers  []Peer
	Ranges []Range
}

// Session is how to talk to a peer.
type Session struct {
	AS uint32
	// LocalAS is the AS that the peer sees in place of Config.AS; 0: the same.
	LocalAS uint32
	// AllowOwnAS is how often our own AS may occur in a path from the peer.
	AllowOwnAS int
	// TTL of packets to an eBGP peer that is not on a connected subnet; 0 or 1 is
	// for one that is.
	TTL int
	// GTSM takes packets only from so many hops away as TTL allows (RFC 5082).
	GTSM bool
	// Password is TCP's (MD5, RFC 2385).
	Password string
	// Passive: the peer connects, not we.
	Passive bool
	// Without are the capabilities that our OPEN leaves out, by their names.
	Without []string
	// HoldTime, Keepalive and ConnectRetry are in whole seconds, as on the wire.
	HoldTime, Keepalive, ConnectRetry time.Duration
	// MaxPrefixes ends the session when the peer sends more in one family. From
	// WarnPercent of it on PeerState.Warning says so.
	MaxPrefixes uint32
	WarnPercent int
	// RestartAfter is how long a session stays Idle that MaxPrefixes has ended; 0:
	// until it is configured anew.
	RestartAfter time.Duration
	// Gateway: another gateway (multihop), not a ToR.
	Gateway bool
	// Reflector: a route reflector or server, which keeps next hops; not a ToR.
	Reflector bool
	// ReflectorClient: we reflect to it what our other iBGP peers have told us.
	ReflectorClient bool
	// Import and Export are the rules of its filters; those that are built in come
	// before and after.
	Import, Export []filter.Rule
}

// ToR tells whether the session is with a switch that routes for us.
func (s Session) ToR() bool { return !s.Gateway && !s.Reflector && !s.ReflectorClient }

// Peer is a wanted session.
type Peer struct {
	Name string
	// Address, with its link as zone if it is link-local.
	Address netip.Addr
	// Interface is the link of an unnumbered peer, whose Address was found there.
	Interface string
	// Local is the address to connect from.
	Local netip.Addr
	// NextHop is the own address that the peer is told as next hop in the family
	// that the session itself is not of. Invalid: Local does, as RFC 8950 has it or,
	// for a gateway, as IPv4-mapped address.
	NextHop     netip.Addr
	Description string
	// Shutdown: no session for now, and ShutdownMessage tells the peer why (RFC 9003).
	Shutdown        bool
	ShutdownMessage string
	Session
}

// Range is peers that are not known one by one: they connect, we do not.
type Range struct {
	Name   string
	Prefix netip.Prefix
	Session
}

// peerName is what a peer of the range is called.
func (r Range) peerName(a netip.Addr) string { return r.Name + "[" + a.String() + "]" }

// PeerState is a session as it is.
type PeerState struct {
	Name    string
	Address netip.Addr
	AS      uint32
	Gateway bool
	// Local is our end of the session; invalid without one.
	Local netip.Addr
	// Range is the name of the range that a peer belongs to, if any.
	Range       string
	Description string
	// State is RFC 4271's: Idle, Connect, Active, OpenSent, OpenConfirm, Established.
	State string
	// Since is when it was last Established or lost; zero if never.
	Since time.Time
	// HoldTime that was agreed upon with the peer; 0 without a session.
	HoldTime time.Duration
	// Reason of the last loss.
	Reason string
	// Shutdown by configuration.
	Shutdown bool
	// Warning is what a person should look at while the session is up.
	Warning string
	// Received counts prefixes before the import filters, Sent those after the export
	// filters. GoBGP's count of accepted ones takes in what the filters refuse.
	Received, Sent uint64
	// EndOfRIB: the peer has sent all that it has (RFC 4724 section 2).
	EndOfRIB bool
	// Graceful: the session is up, and the peer said that its paths may be kept while it
	// restarts (RFC 4724 section 3). Stale: it is not, and they are.
	Graceful, Stale bool
}

// Established tells whether the session is up.
func (s PeerState) Established() bool { return s.State == "Established" }

// Refused tells whether there is no session because the peer does not want our OPEN.
func (s PeerState) Refused() bool {
	return !s.Established() && !s.Shutdown && strings.HasPrefix(s.Reason, Refused)
}

// Returning tells whether the session was taken down on this side, and nothing was heard
// of the peer since it may come back.
func (s PeerState) Returning() bool {
	return !s.Established() && !s.Shutdown && s.Reason == EndedHere
}

// SameProcess tells whether two configurations need the same process.
func (c Config) SameProcess(o Config) bool {
	return c.AS == o.AS && c.RouterID == o.RouterID && c.Port == o.Port
}

// Clone has lists of its own.
func (c Config) Clone() Config {
	c.Pools, c.Peers, c.Ranges = slices.Clone(c.Pools), slices.Clone(c.Peers), slices.Clone(c.Ranges)
	return c
}

// Exceeds tells whether so many prefixes are more than the session's limit.
func (s Session) Exceeds(n uint64) bool { return s.MaxPrefixes > 0 && n > uint64(s.MaxPrefixes) }
