package filter

import (
	"net/netip"
	"slices"
)

// Verdict is what a rule decides.
type Verdict int

// The verdicts. Next goes on to the next rule, with the changes.
const (
	Next Verdict = iota
	Accept
	Reject
)

// String returns the verdict as the configuration has it.
func (v Verdict) String() string { return [...]string{"next", "accept", "reject"}[v] }

// Kind of a peer, as the configuration has it.
type Kind string

// The kinds of peers.
const (
	ToR       Kind = "tor"
	Gateway   Kind = "gateway"
	Reflector Kind = "reflector"
)

// Session says whether the peer is of our own AS.
type Session string

// The sessions.
const (
	External Session = "ebgp"
	Internal Session = "ibgp"
)

// Family of addresses.
type Family string

// The families.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// FamilyOf returns the family of a prefix.
func FamilyOf(p netip.Prefix) Family {
	if p.Addr().Is4() {
		return IPv4
	}
	return IPv6
}

// Rule is one of a filter.
type Rule struct {
	// Name is FILTER/RULE.
	Name string
	// Which peers it is for: any if empty, else one of those named and of those
	// kinds, and a session of that sort.
	Peers   []string
	Kinds   []Kind
	Session Session
	Match
	Set
	Verdict Verdict
}

// Match has a rule's conditions on a path. All that are given must hold; a list
// holds if any of it does.
type Match struct {
	Family   Family // empty: any
	Prefixes []Range
	// Communities and Large are communities of two and three numbers.
	Communities, Large []Pattern
	ASPaths            []ASPattern
	// MinLength and MaxLength bound the AS path's length. MaxLength 0 is no bound.
	MinLength, MaxLength int

	// Odd: the AS path has AS 0 in it, or a segment that is no sequence.
	Odd bool
	// Loop: one of these AS numbers is more than Loops times in the AS path.
	Loop  []uint32
	Loops int
	// From: where the path comes from; any if empty.
	From []Source
}

// Set has the changes that a rule makes.
type Set struct {
	LocalPref, MED     *uint32
	Communities, Large Change
	// Prepend is how often to put an AS in front of the AS path: on import the
	// AS that is first already, on export our own.
	Prepend int
	// PrependAS is the one to prepend, which Export fills in; 0 is the one that is
	// first already.
	PrependAS uint32
}

// None tells whether nothing is changed.
func (s Set) None() bool {
	return s.LocalPref == nil && s.MED == nil && s.Communities.Op == Keep && s.Large.Op == Keep && s.Prepend == 0
}

// Change is what becomes of a path's communities.
type Change struct {
	Op Op
	// List has the communities; with Remove, patterns of them.
	List []Pattern
}

// Op of a Change.
type Op int

// The operations.
const (
	Keep Op = iota
	Add
	Remove
	Replace
)

// Source is where a path comes from.
type Source int

// The sources: our own, learned by iBGP, learned by eBGP.
const (
	Own Source = iota + 1
	ByIBGP
	ByEBGP
)

// Community is a community of RFC 1997.
type Community uint32

// LargeCommunity is one of RFC 8092.
type LargeCommunity [3]uint32

// GracefulShutdown marks paths that are about to go (RFC 8326).
const GracefulShutdown Community = 0xffff0000

// DefaultLocalPref is the local preference of a path that has none.
const DefaultLocalPref = 100

// Path is what a filter looks at.
type Path struct {
	Prefix netip.Prefix
	Source Source
	ASPath []uint32
	// NoSequence: the AS path has sets or confederation's segments.
	NoSequence  bool
	Communities []Community
	Large       []LargeCommunity
	LocalPref   uint32
	MED         *uint32
}

// Peer is whom the rules are for.
type Peer struct {
	Name    string
	Kind    Kind
	Session Session
	// LocalAS is ours, as this peer knows it, and OwnAS as we are known otherwise.
	LocalAS, OwnAS uint32
	// AllowOwnAS is how often they may be in a path from the peer.
	AllowOwnAS int
	// Reflect: paths of our own AS may be passed on to it (RFC 4456).
	Reflect bool
	// Drain: we are about to go, and tell so (RFC 8326).
	Drain bool
}

// concerns tells whether the rule is for the peer.
func (r Rule) concerns(p Peer) bool {
	return (len(r.Peers) == 0 || slices.Contains(r.Peers, p.Name)) &&
		(len(r.Kinds) == 0 || slices.Contains(r.Kinds, p.Kind)) &&
		(r.Session == "" || r.Session == p.Session)
}
