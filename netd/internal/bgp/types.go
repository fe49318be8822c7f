package bgp

import (
	"net/netip"
	"time"
)

// Config is what the speaker should do.
type Config struct {
	AS       uint32
	RouterID netip.Addr
	// Port to listen on, all addresses.
	Port uint16
	// Pools are the ranges that may be learned, from any peer.
	Pools []netip.Prefix
	// HoldTime, ConnectRetry and RestartTime are in whole seconds, as on the wire.
	HoldTime, ConnectRetry, RestartTime time.Duration
	Peers                               []Peer
}

// Peer is a wanted session.
type Peer struct {
	Name    string
	Address netip.Addr
	AS      uint32
	// Local is the address to connect from.
	Local netip.Addr
	// Gateway: another gateway (multihop), not a ToR.
	Gateway     bool
	MaxPrefixes uint32
}

// Path is one way to a prefix that a peer has told us.
type Path struct {
	Prefix  netip.Prefix
	NextHop netip.Addr
	Peer    string // its name
	// Rank is BGP's own order among the paths of the prefix; 0 is its best, and
	// paths that differ in its tie-breakers only have the same.
	Rank   int
	ASPath []uint32
	// Stale: the peer is restarting and its paths are kept meanwhile (RFC 4724).
	Stale bool
}

// PeerState is a session as it is.
type PeerState struct {
	Name    string
	Address netip.Addr
	AS      uint32
	Gateway bool
	// State is RFC 4271's: Idle, Connect, Active, OpenSent, OpenConfirm, Established.
	State string
	// Since is when it was last Established or lost; zero if never.
	Since time.Time
	// Reason of the last loss.
	Reason string
	// Received and Accepted count prefixes, before and after the import filter.
	Received uint64
	Accepted uint64
	Sent     uint64
	// EndOfRIB: the peer has sent all that it has (RFC 4724 section 2).
	EndOfRIB bool
}

// Established tells whether the session is up.
func (p PeerState) Established() bool { return p.State == "Established" }

// Snapshot is all that the speaker knows at one moment.
type Snapshot struct {
	Peers []PeerState
	// Paths in BGP's order for each prefix; Path.Rank 0 is its best.
	Paths []Path
	// Started is when this life of the speaker began.
	Started time.Time

	configured int // peers
}

// Settled tells whether every session has sent all that it has. Nothing is
// settled about peers that the speaker does not know yet.
func (s Snapshot) Settled() bool {
	if len(s.Peers) != s.configured {
		return false
	}
	for _, p := range s.Peers {
		if !p.Established() || !p.EndOfRIB {
			return false
		}
	}
	return true
}
