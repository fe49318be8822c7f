package bgp

import (
	"net/netip"
	"time"

	"netd/netd/internal/route"
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

// PeerState is a session as it is.
type PeerState struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	AS      uint32     `json:"as"`
	Gateway bool       `json:"gateway"`
	// State is RFC 4271's: Idle, Connect, Active, OpenSent, OpenConfirm, Established.
	State string `json:"state"`
	// Since is when it was last Established or lost; zero if never.
	Since time.Time `json:"since,omitzero"`
	// Reason of the last loss.
	Reason string `json:"reason,omitempty"`
	// Received and Accepted count prefixes, before and after the import filter.
	Received uint64 `json:"received"`
	Accepted uint64 `json:"accepted"`
	Sent     uint64 `json:"sent"`
	// EndOfRIB: the peer has sent all that it has (RFC 4724 section 2).
	EndOfRIB bool `json:"end_of_rib"`
}

// Established tells whether the session is up.
func (p PeerState) Established() bool { return p.State == "Established" }

// Snapshot is all that the speaker knows at one moment.
type Snapshot struct {
	Peers []PeerState
	// Paths in BGP's order for each prefix; Path.Rank 0 is its best.
	Paths []route.Path
	// Started is when this life of the speaker began.
	Started time.Time
}

// Settled tells whether every session has sent all that it has.
func (s Snapshot) Settled() bool {
	for _, p := range s.Peers {
		if !p.Established() || !p.EndOfRIB {
			return false
		}
	}
	return true
}
