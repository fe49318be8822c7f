package gobgp

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/osrg/gobgp/v4/api"

	"netd/netd/internal/filter"
)

// GoBGP's policies are the filters' steps, one to one: a statement for each, with the
// peers that it is for as a condition (GoBGP has no policies of a peer's own). Peers
// with the same steps share them. GoBGP's own defaults accept and send everything.
//
// What runs is never changed: conditions keep the sets that they were made with, so a
// set that is replaced has no effect. Others are built beside and assigned in one
// operation, and then the old ones are removed (assign.go).

// Neighbors is a peer, or a range of them, with what its paths go through.
type Neighbors struct {
	Prefix           netip.Prefix
	Imports, Exports []filter.Step
}

// Neighbors returns all of them in the order in which they are looked up: peers before
// the ranges that have them, small ranges before large ones. own are the prefixes that
// are ours. From peers that GoBGP can not tell apart nothing is learned, nor are they
// told anything.
func (c Config) Neighbors(own []filter.Range) []Neighbors {
	var all []Neighbors
	for _, p := range c.Peers {
		n := c.neighbor(host(p.Address), p.Name, p.Session, own)
		if c.clash(p) != "" {
			n.Imports, n.Exports = nil, nil
		}
		if !slices.ContainsFunc(all, func(o Neighbors) bool { return o.Prefix == n.Prefix }) {
			all = append(all, n)
		}
	}
	for _, r := range c.Ranges {
		all = append(all, c.neighbor(r.Prefix, r.Name, r.Session, own))
	}
	slices.SortStableFunc(all, func(a, b Neighbors) int { return cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()) })
	return all
}

func (c Config) neighbor(prefix netip.Prefix, name string, s Session, own []filter.Range) Neighbors {
	p := c.FilterPeer(name, s)
	return Neighbors{prefix, filter.Import(p, own, c.Pools, s.Import), filter.Export(p, s.Export)}
}

// clash says why a peer's filters can not be carried out, empty if they can: it has the
// link-local address of another one, on another link, and GoBGP's conditions have no
// links.
func (c Config) clash(p Peer) string {
	for _, o := range c.Peers {
		if o.Name != p.Name && host(o.Address) == host(p.Address) &&
			!reflect.DeepEqual(c.neighbor(host(p.Address), p.Name, p.Session, nil), c.neighbor(host(o.Address), o.Name, o.Session, nil)) {
			return fmt.Sprintf("nothing is learned from it: it has the same address as peer %s, and other filters, by which GoBGP can not tell them apart", o.Name)
		}
	}
	return ""
}

// host is one address as a prefix, which has no zone: of link-local peers GoBGP
// compares the address alone.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a.WithZone(""), a.BitLen()) }

func (c Config) FilterPeer(name string, s Session) filter.Peer {
	p := filter.Peer{Name: name, Kind: filter.Gateway, Session: filter.External, LocalAS: c.localAS(s), OwnAS: c.AS, AllowOwnAS: s.AllowOwnAS, Drain: c.Drain}
	switch {
	case s.ToR():
		p.Kind = filter.ToR
	case s.Reflector:
		p.Kind = filter.Reflector
	}
	if s.AS == p.LocalAS {
		p.Session = filter.Internal
		p.Reflect = c.reflects()
	}
	return p
}

// reflects tells whether any of our peers is a reflector's client (RFC 4456). Then GoBGP
// decides who gets what, not the filters.
func (c Config) reflects() bool {
	return slices.ContainsFunc(c.Peers, func(p Peer) bool { return p.ReflectorClient }) ||
		slices.ContainsFunc(c.Ranges, func(r Range) bool { return r.ReflectorClient })
}

// Find returns the first of the list that a peer is one of.
func Find(list []Neighbors, peer netip.Addr) Neighbors {
	for _, n := range list {
		if n.Prefix.Contains(peer.WithZone("")) {
			return n
		}
	}
	return Neighbors{}
}

// Filters says what may come in and go out. Names are global in GoBGP: generation is
// made part of each, so that a new set can be built beside the one in force.
func (c Config) Filters(generation string, all []Neighbors) Filters {
	f := Filters{Generation: generation, All: all, names: map[string]string{}}
	f.Imports = []*api.Policy{f.policy("import", func(add adder) {
		// What we originate passes here too, from no neighbour.
		add(&api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL}, decide(filter.Accept))
		f.chains(add, all, func(n Neighbors) []filter.Step { return n.Imports })
	})}
	f.Exports = []*api.Policy{
		f.policy("nexthop", func(add adder) { f.nextHops(add, c) }),
		f.policy("export", func(add adder) { f.chains(add, all, func(n Neighbors) []filter.Step { return n.Exports }) }),
	}
	return f
}

// adder adds a statement to a policy.
type adder func(*api.Conditions, *api.Actions)

func (f *Filters) policy(name string, fill func(adder)) *api.Policy {
	p := &api.Policy{Name: f.name(name)}
	fill(func(conditions *api.Conditions, actions *api.Actions) {
		p.Statements = append(p.Statements, &api.Statement{
			Name: fmt.Sprintf("%s-%d", p.Name, len(p.Statements)), Conditions: conditions, Actions: actions,
		})
	})
	return p
}

// chains adds the steps of all peers, those together that have the same.
func (f *Filters) chains(add adder, all []Neighbors, steps func(Neighbors) []filter.Step) {
	done := make([]bool, len(all))
	for i, n := range all {
		if done[i] {
			continue
		}
		peers := []string{n.Prefix.String()}
		for j := i + 1; j < len(all) && n.Prefix.IsSingleIP() && all[j].Prefix.IsSingleIP(); j++ {
			if !done[j] && reflect.DeepEqual(steps(n), steps(all[j])) {
				done[j] = true
				peers = append(peers, all[j].Prefix.String())
			}
		}
		who := f.any(&api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, List: peers})
		for _, s := range steps(n) {
			f.step(add, who, s)
		}
		// A peer is not also one of a range further on.
		add(&api.Conditions{NeighborSet: who}, decide(filter.Reject))
	}
}

// nextHops names our own address in the family that a session is not of. A ToR of IPv4
// is told no IPv6 without one: GoBGP would send it to ::ffff:10.0.1.11.
func (f *Filters) nextHops(add adder, c Config) {
	for _, p := range c.Peers {
		if !p.NextHop.IsValid() {
			if p.ToR() && p.Address.Is4() {
				add(&api.Conditions{
					RouteType: api.Conditions_ROUTE_TYPE_LOCAL, AfiSafiIn: []*api.Family{ipv6()},
					NeighborSet: f.any(&api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, List: []string{host(p.Address).String()}}),
				}, decide(filter.Reject))
			}
			continue
		}
		family := filter.FamilyOf(host(p.NextHop))
		add(&api.Conditions{
			RouteType: api.Conditions_ROUTE_TYPE_LOCAL, AfiSafiIn: []*api.Family{APIFamily(family)},
			NeighborSet: f.any(&api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, List: []string{host(p.Address).String()}}),
		}, &api.Actions{Nexthop: &api.NexthopAction{Address: p.NextHop.String()}})
	}
}

// step adds one statement for each family and each source that the step is for,
// as far as it names them: a set of prefixes is of one family.
func (f *Filters) step(add adder, who *api.MatchSet, s filter.Step) {
	from := s.From
	if from == nil {
		from = []filter.Source{0}
	}
	for _, source := range from {
		if s.Prefixes == nil {
			conditions := f.conditions(who, s.Match, source)
			if s.Family != "" {
				conditions.AfiSafiIn = []*api.Family{APIFamily(s.Family)}
			}
			add(conditions, actions(s))
			continue
		}
		for _, family := range []filter.Family{filter.IPv4, filter.IPv6} {
			if set := prefixSet(s.Prefixes, family); set != nil && (s.Family == "" || s.Family == family) {
				conditions := f.conditions(who, s.Match, source)
				conditions.PrefixSet = f.any(set)
				add(conditions, actions(s))
			}
		}
	}
}

func APIFamily(f filter.Family) *api.Family {
	if f == filter.IPv6 {
		return ipv6()
	}
	return ipv4()
}

func prefixSet(ranges []filter.Range, f filter.Family) *api.DefinedSet {
	set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX}
	for _, r := range ranges {
		if filter.FamilyOf(r.Prefix) == f {
			set.Prefixes = append(set.Prefixes, &api.Prefix{
				IpPrefix: r.Prefix.String(), MaskLengthMin: uint32(r.Min), MaskLengthMax: uint32(r.Max),
			})
		}
	}
	if set.Prefixes == nil {
		return nil
	}
	return set
}

// conditions are all of a step's but the prefixes and the family.
func (f *Filters) conditions(who *api.MatchSet, m filter.Match, from filter.Source) *api.Conditions {
	conditions := &api.Conditions{NeighborSet: who, RouteType: map[filter.Source]api.Conditions_RouteType{
		filter.Own: api.Conditions_ROUTE_TYPE_LOCAL, filter.ByIBGP: api.Conditions_ROUTE_TYPE_INTERNAL, filter.ByEBGP: api.Conditions_ROUTE_TYPE_EXTERNAL,
	}[from]}
	if m.Communities != nil {
		conditions.CommunitySet = f.any(&api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_COMMUNITY, List: regexps(m.Communities)})
	}
	if m.Large != nil {
		conditions.LargeCommunitySet = f.any(&api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_LARGE_COMMUNITY, List: regexps(m.Large)})
	}
	f.asPath(conditions, m)
	return conditions
}

// asPath adds the conditions on the AS path. GoBGP has no text to make of a path for the
// forms _N_, ^N_, _N$ and ^N$: they cost a tenth of a regular expression.
func (f *Filters) asPath(conditions *api.Conditions, m filter.Match) {
	var forms []string
	switch {
	case m.Odd:
		forms = []string{"_0_"} // what is no sequence counts as AS 0 there
	case m.Loop != nil:
		for _, as := range m.Loop {
			if m.Loops == 0 {
				forms = append(forms, fmt.Sprintf("_%d_", as))
			} else {
				forms = append(forms, filter.LoopRegexp(as, m.Loops))
			}
		}
	default:
		for _, p := range m.ASPaths {
			forms = append(forms, asPathForm(p))
		}
	}
	switch {
	case m.MinLength == m.MaxLength && m.MinLength > 0:
		conditions.AsPathLength = &api.AsPathLength{Type: api.Comparison_COMPARISON_EQ, Length: uint32(m.MinLength)}
	case m.MaxLength > 0:
		conditions.AsPathLength = &api.AsPathLength{Type: api.Comparison_COMPARISON_LE, Length: uint32(m.MaxLength)}
	case m.MinLength > 0:
		conditions.AsPathLength = &api.AsPathLength{Type: api.Comparison_COMPARISON_GE, Length: uint32(m.MinLength)}
	}
	set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_AS_PATH, List: forms}
	switch bounds := m.MinLength > 0 && m.MaxLength > m.MinLength; {
	case bounds: // one comparison is all that there is: the other is a form that must match, too
		set.List = []string{filter.LengthRegexp(m.MinLength, m.MaxLength)}
		if forms != nil {
			set.List = append(set.List, "(?:"+strings.Join(asPathRegexps(m.ASPaths), ")|(?:")+")")
		}
		conditions.AsPathSet = f.match(set, api.MatchSet_TYPE_ALL)
	case forms != nil:
		conditions.AsPathSet = f.any(set)
	}
}

// asPathForm is a pattern in a form that GoBGP knows, or else as a regular expression.
func asPathForm(p filter.ASPattern) string {
	begins, ends := len(p) > 0 && p[0].Many, len(p) > 1 && p[len(p)-1].Many
	middle := p
	if begins {
		middle = middle[1:]
	}
	if ends {
		middle = middle[:len(middle)-1]
	}
	if len(middle) != 1 || middle[0].AS == 0 {
		return p.Regexp()
	}
	return map[bool]string{true: "_", false: "^"}[begins] + strconv.FormatUint(uint64(middle[0].AS), 10) + map[bool]string{true: "_", false: "$"}[ends]
}

func asPathRegexps(patterns []filter.ASPattern) []string {
	var list []string
	for _, p := range patterns {
		list = append(list, p.Regexp())
	}
	return list
}

func regexps(patterns []filter.Pattern) []string {
	var list []string
	for _, p := range patterns {
		list = append(list, p.Regexp())
	}
	return list
}

func decide(v filter.Verdict) *api.Actions {
	return &api.Actions{RouteAction: map[filter.Verdict]api.RouteAction{
		filter.Accept: api.RouteAction_ROUTE_ACTION_ACCEPT, filter.Reject: api.RouteAction_ROUTE_ACTION_REJECT,
	}[v]}
}

func actions(s filter.Step) *api.Actions {
	a := decide(s.Verdict)
	if s.LocalPref != nil {
		a.LocalPref = &api.LocalPrefAction{Value: *s.LocalPref}
	}
	if s.MED != nil {
		a.Med = &api.MedAction{Type: api.MedAction_TYPE_REPLACE, Value: int64(*s.MED)}
	}
	a.Community, a.LargeCommunity = communityAction(s.Set.Communities), communityAction(s.Set.Large)
	if s.Prepend > 0 {
		a.AsPrepend = &api.AsPrependAction{Asn: s.PrependAS, UseLeftMost: s.PrependAS == 0, Repeat: uint32(s.Prepend)}
	}
	return a
}

func communityAction(c filter.Change) *api.CommunityAction {
	a := &api.CommunityAction{Type: map[filter.Op]api.CommunityAction_Type{
		filter.Add: api.CommunityAction_TYPE_ADD, filter.Remove: api.CommunityAction_TYPE_REMOVE, filter.Replace: api.CommunityAction_TYPE_REPLACE,
	}[c.Op]}
	switch c.Op {
	case filter.Keep:
		return nil
	case filter.Remove:
		a.Communities = regexps(c.List)
	case filter.Add, filter.Replace:
		for _, p := range c.List {
			a.Communities = append(a.Communities, p.Numbers())
		}
	}
	return a
}
