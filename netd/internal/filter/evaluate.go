package filter

import (
	"slices"
)

// Step is a rule for one peer, as it is carried out.
type Step struct {
	// Rule is the name of the rule that it is a part of.
	Rule string
	Match
	Set
	Verdict Verdict
}

// Outcome is what became of a path.
type Outcome struct {
	// Accepted, by the rule (or refused by it).
	Accepted bool
	Rule     string
	// Path is as the rules have left it.
	Path Path
	// Changes are what rules have changed, in their order.
	Changes []Changed
}

// Changed is what one rule has changed.
type Changed struct {
	Rule string
	Set  Set
}

// Evaluate takes a path through the steps.
func Evaluate(steps []Step, p Path) Outcome {
	o := Outcome{Path: p, Rule: NoRule}
	for _, s := range steps {
		if !s.Match.holds(o.Path) {
			continue
		}
		if !s.Set.None() {
			o.Path = s.Set.apply(o.Path)
			o.Changes = append(o.Changes, Changed{s.Rule, s.Set})
		}
		if s.Verdict != Next {
			o.Accepted, o.Rule = s.Verdict == Accept, s.Rule
			return o
		}
	}
	return o
}

func (m Match) holds(p Path) bool {
	if m.Family != "" && m.Family != FamilyOf(p.Prefix) ||
		m.Prefixes != nil && !slices.ContainsFunc(m.Prefixes, func(r Range) bool { return r.Matches(p.Prefix) }) ||
		m.From != nil && !slices.Contains(m.From, p.Source) {
		return false
	}
	if m.Loop != nil && !slices.ContainsFunc(m.Loop, func(as uint32) bool { return count(p.ASPath, as) > m.Loops }) {
		return false
	}
	if m.Odd && !p.NoSequence && !slices.Contains(p.ASPath, 0) {
		return false
	}
	return m.holdsForASPath(p) && m.holdsForCommunities(p)
}

func count(path []uint32, as uint32) int {
	n := 0
	for _, a := range path {
		if a == as {
			n++
		}
	}
	return n
}

func (m Match) holdsForASPath(p Path) bool {
	if len(p.ASPath) < m.MinLength || m.MaxLength > 0 && len(p.ASPath) > m.MaxLength {
		return false
	}
	return m.ASPaths == nil || slices.ContainsFunc(m.ASPaths, func(a ASPattern) bool { return a.matches(p.ASPath) })
}

func (m Match) holdsForCommunities(p Path) bool {
	return (m.Communities == nil || slices.ContainsFunc(p.Communities, func(c Community) bool { return matchesAny(m.Communities, c.Pattern()) })) &&
		(m.Large == nil || slices.ContainsFunc(p.Large, func(c LargeCommunity) bool { return matchesAny(m.Large, c.Pattern()) }))
}

// matchesAny tells whether a community is of one of the patterns.
func matchesAny(patterns []Pattern, c Pattern) bool {
	numbers := make([]uint32, len(c))
	for i, part := range c {
		numbers[i] = part.Value
	}
	return slices.ContainsFunc(patterns, func(p Pattern) bool { return p.matches(numbers...) })
}

// apply returns the path with the changes; the given one stays as it is.
func (s Set) apply(p Path) Path {
	if s.LocalPref != nil {
		p.LocalPref = *s.LocalPref
	}
	if s.MED != nil {
		p.MED = s.MED
	}
	p.Communities = change(p.Communities, s.Communities, Community.Pattern, func(v Pattern) Community {
		return Community(v[0].Value<<16 | v[1].Value)
	})
	p.Large = change(p.Large, s.Large, LargeCommunity.Pattern, func(v Pattern) LargeCommunity {
		return LargeCommunity{v[0].Value, v[1].Value, v[2].Value}
	})
	as := s.PrependAS
	if as == 0 && len(p.ASPath) > 0 {
		as = p.ASPath[0]
	}
	if s.Prepend > 0 && as != 0 {
		p.ASPath = slices.Concat(slices.Repeat([]uint32{as}, s.Prepend), p.ASPath)
	}
	return p
}

func change[T comparable](have []T, c Change, pattern func(T) Pattern, from func(Pattern) T) []T {
	var list []T
	if c.Op == Add || c.Op == Replace {
		for _, p := range c.List {
			list = append(list, from(p))
		}
	}
	switch c.Op {
	case Add:
		return once(slices.Concat(have, list))
	case Remove:
		return slices.DeleteFunc(slices.Clone(have), func(v T) bool { return matchesAny(c.List, pattern(v)) })
	case Replace:
		return once(list)
	case Keep:
	}
	return have
}

// once leaves of each value the first.
func once[T comparable](list []T) []T {
	var first []T
	for _, v := range list {
		if !slices.Contains(first, v) {
			first = append(first, v)
		}
	}
	return first
}
