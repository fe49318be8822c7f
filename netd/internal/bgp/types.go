package bgp

import (
	"net/netip"

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

// KnowsCapability tells whether a capability of this name can be left out.
func KnowsCapability(name string) bool {
	_, ok := gobgp.Capability(name)
	return ok
}

// Prefixes are origins without communities, no part of which is anybody else's.
func Prefixes(ps ...netip.Prefix) []Origin { return gobgp.Prefixes(ps...) }
