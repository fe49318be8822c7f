package bgp

import (
	"net/netip"
	"time"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/bgp/wire"
)

// What the speaker is told and what it says of sessions, by the names that the
// daemon knows.
type (
	Config      = gobgp.Config
	Session     = gobgp.Session
	Peer        = gobgp.Peer
	Range       = gobgp.Range
	Origin      = gobgp.Origin
	PeerState   = gobgp.PeerState
	Detail      = gobgp.Detail
	FamilyCount = gobgp.FamilyCount
)

// ErrLeave is the cause of a context that ends for good, not for a restart.
var ErrLeave = wire.ErrLeave

// Prefixes are origins without communities, no part of which is anybody else's.
func Prefixes(ps ...netip.Prefix) []Origin { return gobgp.Prefixes(ps...) }

// Path is one way to a prefix that a peer has told us.
type Path struct {
	Prefix netip.Prefix
	// NextHop is of either family, whatever the prefix is of (RFC 8950). With its
	// link as zone if it is link-local.
	NextHop netip.Addr
	Peer    string // its name
	// Rank is BGP's own order among the paths of the prefix; 0 is its best, and
	// paths that differ in its tie-breakers only have the same.
	Rank   int
	ASPath []uint32
	// Stale: the peer is restarting and its paths are kept meanwhile (RFC 4724).
	Stale bool
	// Rule is what admits the prefix: filter.Pools, filter.Default, or ByFilter.
	Rule string
}

// ByFilter is the Rule of a path that is neither of a pool nor a default route: only
// a rule of the peer's filters can have accepted it. Explain says which.
const ByFilter = "filter"

// Snapshot is all that the speaker knows at one moment.
type Snapshot struct {
	// Peers by name: those of the configuration, and those of ranges that are there.
	Peers []PeerState
	// Paths in BGP's order for each prefix; Path.Rank 0 is its best.
	Paths []Path
	// Started is when this life of the speaker began.
	Started time.Time

	configured int // peers
}

// Settled tells whether every session has sent all that it has. Nothing is
// settled about peers that the speaker does not know yet; those of ranges are not
// waited for.
func (s Snapshot) Settled() bool {
	known := 0
	for _, p := range s.Peers {
		if p.Range == "" {
			known++
		}
		if !p.Shutdown && (!p.Established() || !p.EndOfRIB) {
			return false
		}
	}
	return known == s.configured
}
