// Package rib has the words in which what peers tell goes from the speaker to the
// plan. Below all; bgp makes these values, route plans with them, and neither knows
// the other.
package rib

import "net/netip"

// Path is one way to a prefix that a peer has told us.
type Path struct {
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
}

// Rule is what lets a prefix in.
type Rule string

// The rules. Of a path by ByFilter only the peer's filters know which of them it was.
const (
	ByPool    Rule = "pool"
	ByDefault Rule = "default"
	ByFilter  Rule = "filter"
)

// Paths are all paths of a prefix, in BGP's order. They are never changed, and shared:
// prefixes of which peers tell the same have the same *Paths, so that two of them are
// equal if their pointers are. A nil *Paths is that there are none.
type Paths struct {
	Rule Rule
	List []Path
}

// Entry is what is known of one prefix.
type Entry struct {
	Prefix netip.Prefix
	Paths  *Paths
}

// Update is news of prefixes.
type Update struct {
	// Whole: Entries has all that there is; what it does not name is gone.
	Whole   bool
	Entries []Entry
}
