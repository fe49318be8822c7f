package filter

import (
	"net/netip"
	"slices"
)

// The names of the rules that are built in.
const (
	// NoRule: a path that no rule accepts is refused.
	NoRule = "the-rest"
	// OddASPath refuses AS 0 (RFC 7607), sets (RFC 9774) and confederations.
	OddASPath = "as-path"
	// Loop refuses paths with our own AS (RFC 4271 section 9.1.2).
	Loop = "loop"
	// Shutdown honours the community of RFC 8326: such a path is the last choice.
	Shutdown = "graceful-shutdown"
	// Bogons are refused unless a rule's own prefix, or a pool, names them.
	Bogons = "bogons"
	// OwnPrefix refuses what we originate ourselves: a path that were better than
	// ours would take ours back from everybody.
	OwnPrefix = "own-prefix"
	// Pools are what any peer may tell.
	Pools = "pools"
	// Default is the default route, from ToRs.
	Default = "default"
	// Drain marks what is our own as about to go (RFC 8326).
	Drain = "drain"
	// OwnOnly is what is told: nothing learned, all that is our own.
	OwnOnly = "own-only"
)

// ShutdownPref is the local preference of a path that is about to go. RFC 8326
// recommends 0, which GoBGP's API takes for "leave it as it is".
const ShutdownPref = 1

// Import returns the steps for what a peer tells, given the rules of its filters, the
// prefixes that are ours, and the pools.
func Import(p Peer, own []Range, pools []netip.Prefix, rules []Rule) []Step {
	steps := []Step{
		{Rule: OddASPath, Match: Match{Odd: true}, Verdict: Reject},
		{Rule: Loop, Match: Match{Loop: p.ours(), Loops: p.AllowOwnAS}, Verdict: Reject},
		shutdown(),
	}
	if len(own) > 0 {
		steps = slices.Insert(steps, 1, Step{Rule: OwnPrefix, Match: Match{Prefixes: own}, Verdict: Reject})
	}
	for _, r := range rules {
		if r.concerns(p) {
			steps = append(steps, apart(r, pools)...)
		}
	}
	if len(pools) > 0 {
		steps = append(steps, Step{Rule: Pools, Match: Match{Prefixes: within(pools)}, Verdict: Accept})
	}
	if p.Kind == ToR {
		steps = append(steps, Step{Rule: Default, Match: Match{Prefixes: []Range{
			Exactly(netip.PrefixFrom(netip.IPv4Unspecified(), 0)), Exactly(netip.PrefixFrom(netip.IPv6Unspecified(), 0)),
		}}, Verdict: Accept})
	}
	return steps
}

// Export returns the steps for what a peer is told, given the rules of its
// filters. No rule makes us pass on what we have learned.
func Export(p Peer, rules []Rule) []Step {
	from := []Source{ByIBGP, ByEBGP}
	if p.Reflect {
		from = []Source{ByEBGP}
	}
	steps := []Step{{Rule: OwnOnly, Match: Match{From: from}, Verdict: Reject}}
	if p.Drain {
		steps = append(steps, drain())
	}
	for _, r := range rules {
		if !r.concerns(p) {
			continue
		}
		s := Step{r.Name, r.Match, r.Set, r.Verdict}
		s.PrependAS = p.LocalAS
		if p.Session == Internal {
			s.Prepend = 0 // it would take the path for a loop
		}
		if p.Drain {
			s.Set = s.Set.drained()
		}
		steps = append(steps, s)
	}
	return append(steps, Step{Rule: OwnOnly, Verdict: Accept})
}

// ours are our AS numbers.
func (p Peer) ours() []uint32 {
	if p.OwnAS == 0 || p.OwnAS == p.LocalAS {
		return []uint32{p.LocalAS}
	}
	return []uint32{p.LocalAS, p.OwnAS}
}

func shutdown() Step {
	pref := uint32(ShutdownPref)
	return Step{Rule: Shutdown, Match: Match{Communities: []Pattern{GracefulShutdown.Pattern()}}, Set: Set{LocalPref: &pref}}
}

// drain marks all that is our own as about to go. By iBGP the preference goes along.
func drain() Step {
	s := shutdown()
	s.Rule, s.Match = Drain, Match{From: []Source{Own}}
	s.Set.Communities = Change{Add, []Pattern{GracefulShutdown.Pattern()}}
	return s
}

// drained is a rule's change that leaves the mark of drain.
func (s Set) drained() Set {
	s.LocalPref = nil
	if s.Communities.Op == Replace {
		s.Communities.List = append(slices.Clone(s.Communities.List), GracefulShutdown.Pattern())
	}
	return s
}

func within(prefixes []netip.Prefix) []Range {
	var rs []Range
	for _, p := range prefixes {
		rs = append(rs, Within(p))
	}
	return rs
}

// apart takes an import rule apart into steps: no preference outlasts a graceful
// shutdown, and bogons are accepted only where they are named.
func apart(r Rule, pools []netip.Prefix) []Step {
	var steps []Step
	s := Step{r.Name, r.Match, r.Set, r.Verdict}
	if s.LocalPref != nil {
		// Before the rest, which may change the communities that the rule looks at.
		steps = append(steps, Step{r.Name, r.Match, Set{LocalPref: s.LocalPref}, Next}, shutdown())
		if s.LocalPref = nil; s.Verdict == Next && s.Set.None() {
			return steps
		}
	}
	if s.Verdict != Accept {
		return append(steps, s)
	}
	return append(steps, s.withoutBogons(pools)...)
}

// withoutBogons makes an accepting step refuse the bogons among its prefixes but for
// those that it names itself, or that are of a pool.
func (s Step) withoutBogons(pools []netip.Prefix) []Step {
	bogons := bogons()
	ranges := s.Prefixes
	if ranges == nil {
		ranges = everything(s.Family)
	}
	var named, wide []Range
	for _, r := range ranges {
		if slices.ContainsFunc(bogons, func(b netip.Prefix) bool { return b.Bits() <= r.Prefix.Bits() && b.Contains(r.Prefix.Addr()) }) {
			named = append(named, r)
		} else {
			wide = append(wide, r)
		}
	}
	bogus := both(wide, within(bogons))
	if bogus == nil {
		return []Step{s}
	}
	var steps []Step
	if named = append(named, both(wide, within(pools))...); named != nil {
		one := s
		one.Prefixes = named
		steps = append(steps, one)
	}
	refuse := s.Match
	refuse.Prefixes = bogus
	if s.Prefixes != nil {
		s.Prefixes = wide
	}
	return append(steps, Step{Rule: Bogons, Match: refuse, Verdict: Reject}, s)
}

// both returns the prefixes that are of one of a's ranges and of one of b's.
func both(a, b []Range) []Range {
	var rs []Range
	for _, r := range a {
		for _, o := range b {
			if x, ok := r.and(o); ok {
				rs = append(rs, x)
			}
		}
	}
	return rs
}

func everything(f Family) []Range {
	var rs []Range
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if r := Within(netip.PrefixFrom(a, 0)); f == "" || f == FamilyOf(r.Prefix) {
			rs = append(rs, r)
		}
	}
	return rs
}

// bogons are the prefixes that no route of the Internet leads to: IANA's registries
// of special-purpose addresses (RFC 6890), multicast (RFC 5771, RFC 4291), what is
// reserved for good (RFC 1112), and what has been taken back (RFC 3879, RFC 7526).
func bogons() []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/96", "::ffff:0:0/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32",
		"3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	} {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}
