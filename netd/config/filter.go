package config

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"netd/netd/internal/filter"
)

// Filter is a list of rules that peers name.
type Filter struct {
	Name  string
	Rules []filter.Rule
}

// Filters are the names of a peer's filters, in the order in which they are asked.
type Filters struct {
	Import, Export []string
}

// Rules are those of the named filters.
func (b BGP) Rules(names []string) []filter.Rule {
	var rules []filter.Rule
	for _, name := range names {
		for _, f := range b.Filters {
			if f.Name == name {
				rules = append(rules, f.Rules...)
			}
		}
	}
	return rules
}

type rawFilter struct {
	name  val[string]
	rules []rawRule
}

// rawRule has what is compared with other values.
type rawRule struct {
	n           *node
	name        val[string]
	peers       val[[]val[string]]
	family      val[filter.Family]
	prefixes    val[[]val[filter.Range]]
	least, most val[int]
	// changes are the keys that change communities, and then large ones.
	changes [2][]*node
	// set is what else the rule changes; unread is set if a part of it is wrong.
	set     filter.Set
	unread  bool
	verdict val[filter.Verdict]
}

// rawFilters are what a peer names.
type rawFilters struct {
	imports, exports val[[]val[string]]
}

// keys are those of a peer. If it names none, def holds for it.
func (f *Filters) keys(t *table, def rawFilters) rawFilters {
	r := rawFilters{
		imports: elements(t, "import", &f.Import, hostName("from-tors")),
		exports: elements(t, "export", &f.Export, hostName("to-tors")),
	}
	if r.imports.n == nil {
		r.imports, f.Import = def.imports, usable(def.imports)
	}
	if r.exports.n == nil {
		r.exports, f.Export = def.exports, usable(def.exports)
	}
	return r
}

func (f *Filter) keys(t *table) rawFilter {
	defer t.done()
	r := rawFilter{name: required(t, "name", &f.Name, hostName("from-tors"))}
	r.rules = each(t, "rule", &f.Rules, func(rule *filter.Rule, t *table) rawRule { return ruleKeys(rule, t, f.Name+"/") })
	if len(r.rules) == 0 {
		t.missing("rule", "expected at least one [[bgp.filter.rule]]")
	}
	return r
}

// ruleKeys are those of a filter's rule, whose name is known with a prefix elsewhere.
func ruleKeys(c *filter.Rule, t *table, prefix string) rawRule {
	defer t.done()
	name := strings.TrimPrefix(c.Name, prefix)
	r := rawRule{n: t.n, name: required(t, "name", &name, hostName("rack"))}
	c.Name = prefix + name
	r.peers = filled(t, "peer", &c.Peers, hostName("tor1"))
	filled(t, "peer-type", &c.Kinds, oneOf(filter.ToR, filter.Gateway, filter.Reflector))
	optional(t, "session", &c.Session, oneOf(filter.External, filter.Internal))
	r.family = optional(t, "family", &c.Family, oneOf(filter.IPv4, filter.IPv6))
	r.prefixes = filled(t, "prefix", &c.Prefixes, written("a prefix, and which lengths within it", "10.0.0.0/8 ge 16 le 24", filter.ParseRange))
	filled(t, "community", &c.Match.Communities, community(true))
	filled(t, "large-community", &c.Match.Large, largeCommunity(true))
	filled(t, "as-path", &c.ASPaths, written(`AS numbers, with "?" for any one and "*" for any number of them`, "65001 * 65103", filter.ParseASPattern))
	r.least = optional(t, "as-path-min", &c.MinLength, number[int](1, 255, "1"))
	r.most = optional(t, "as-path-max", &c.MaxLength, number[int](1, 255, "3"))

	localPref := optional(t, "local-preference", &c.LocalPref, given(number[uint32](1, math.MaxUint32, "200")))
	med := optional(t, "med", &c.MED, given(number[uint32](0, math.MaxUint32, "10")))
	r.changes = [2][]*node{
		changeKeys(t, "communities", &c.Set.Communities, community),
		changeKeys(t, "large-communities", &c.Set.Large, largeCommunity),
	}
	prepend := optional(t, "prepend", &c.Prepend, number[int](1, 10, "2"))
	r.unread = localPref.n != nil && !localPref.ok || med.n != nil && !med.ok || prepend.n != nil && !prepend.ok
	r.set = c.Set
	r.verdict = withDefault(t, "action", &c.Verdict, action(), filter.Next)
	return r
}

// changeKeys are three, of which one may be given. It returns those that are.
func changeKeys(t *table, key string, c *filter.Change, of func(patterns bool) want[filter.Pattern]) []*node {
	var all []*node
	for _, k := range []struct {
		verb string
		op   filter.Op
	}{{"add", filter.Add}, {"remove", filter.Remove}, {"set", filter.Replace}} {
		var own []filter.Pattern
		if c.Op == k.op {
			own = c.List
		}
		list := elements(t, k.verb+"-"+key, &own, of(k.op == filter.Remove))
		if list.n == nil {
			continue
		}
		if list.ok && len(list.v) == 0 && k.op != filter.Replace {
			t.r.add(isBad, list.n, list.n.src, fmt.Sprintf("expected at least one community, e.g. [%s]", of(false).eg))
		}
		all, *c = append(all, list.n), filter.Change{Op: k.op, List: own}
	}
	return all
}

// written is a value in a notation of its own.
func written[T any](what, eg string, parse func(string) (T, error)) want[T] {
	return want[T]{what, quote(eg), func(n *node) (T, *wrong) {
		s, ok := n.value.(string)
		if !ok {
			var none T
			return none, &wrong{}
		}
		v, err := parse(s)
		if err != nil {
			return v, &wrong{why: err.Error()}
		}
		return v, nil
	}}
}

// as is the same in another type.
func as[T, C any](w want[T], convert func(T) C) want[C] {
	return want[C]{w.what, w.eg, func(n *node) (C, *wrong) {
		v, bad := w.read(n)
		if bad != nil {
			var none C
			return none, bad
		}
		return convert(v), nil
	}}
}

func community(patterns bool) want[filter.Pattern] {
	what := "a community of two numbers, or its name"
	if patterns {
		what += `, or with "*" for a number`
	}
	return written(what, "65000:100", func(s string) (filter.Pattern, error) { return filter.ParseCommunity(s, patterns) })
}

func largeCommunity(patterns bool) want[filter.Pattern] {
	what := "a large community of three numbers"
	if patterns {
		what += `, or with "*" for a number`
	}
	return written(what, "4200000000:1:100", func(s string) (filter.Pattern, error) { return filter.ParseLarge(s, patterns) })
}

func action() want[filter.Verdict] {
	verdicts := []filter.Verdict{filter.Next, filter.Accept, filter.Reject}
	w := oneOf(filter.Next.String(), filter.Accept.String(), filter.Reject.String())
	return want[filter.Verdict]{w.what, w.eg, func(n *node) (filter.Verdict, *wrong) {
		s, bad := w.read(n)
		i := slices.IndexFunc(verdicts, func(v filter.Verdict) bool { return v.String() == s })
		return verdicts[max(i, 0)], bad
	}}
}

// checkFilters reports what does not fit together in filters, and names that are
// nobody's.
func (r *reader) checkFilters(f *rawFile) {
	peers, named := f.bgp.sessions()
	peers = append(peers, f.gateway.name.v) // one of a fleet's common list
	for _, s := range named {
		for _, name := range slices.Concat(s.imports.v, s.exports.v) {
			if name.ok && !r.guessed["bgp.filter"] && !slices.ContainsFunc(f.bgp.filters, func(f rawFilter) bool { return !f.name.ok || f.name.v == name.v }) {
				r.conflict(name.n, "no filter is called %s: expected the name of a [[bgp.filter]]", name.v)
			}
		}
	}
	guessed := r.guessed["bgp.peer"] || r.guessed["bgp.gateway"] || r.guessed["bgp.range"]
	filters := map[string]*node{}
	for _, fl := range f.bgp.filters {
		if fl.name.ok {
			unique(r, filters, fl.name.v, fl.name.n)
		}
		rules := map[string]*node{}
		for _, rule := range fl.rules {
			if rule.name.ok {
				unique(r, rules, rule.name.v, rule.name.n)
			}
			for _, p := range rule.peers.v {
				if p.ok && !guessed && !slices.Contains(peers, p.v) {
					r.conflict(p.n, "no peer is called %s: expected the name of a [[bgp.peer]], [[bgp.gateway]] or [[bgp.range]]", p.v)
				}
			}
			r.checkRule(rule)
		}
	}
}

// sessions are the peers' names, and the filters that they name.
func (b rawBGP) sessions() (names []string, filters []rawFilters) {
	filters = append(filters, b.rawFilters)
	for _, p := range slices.Concat(b.peers, b.gateways) {
		names, filters = append(names, p.name.v), append(filters, p.rawFilters)
	}
	for _, p := range b.ranges {
		names, filters = append(names, p.name.v), append(filters, p.rawFilters)
	}
	return names, filters
}

func (r *reader) checkRule(rule rawRule) {
	if rule.least.ok && rule.most.ok && rule.least.v > rule.most.v {
		r.conflict(rule.most.n, "less than as-path-min (%s): expected at least %d", rule.least.n, rule.least.v)
	}
	for _, p := range rule.prefixes.v {
		if p.ok && rule.family.ok && filter.FamilyOf(p.v.Prefix) != rule.family.v {
			r.conflict(p.n, "not of the rule's family (%s): expected a prefix of %s", rule.family.n, rule.family.v)
		}
	}
	wellRead := !rule.unread
	for _, given := range rule.changes {
		if len(given) > 1 {
			r.conflict(given[1], "one rule changes communities in one way (%s): expected another rule for this, after it or before", given[0])
		}
		wellRead = wellRead && given == nil
	}
	changes := !rule.set.None()
	switch {
	case !rule.verdict.ok:
	case rule.verdict.v == filter.Reject && changes:
		r.conflict(rule.verdict.n, "what is rejected is not changed: expected only conditions beside it")
	case rule.verdict.v == filter.Next && !changes && wellRead:
		r.conflict(rule.n, `the rule does nothing: expected something that it changes, or action = "accept" or "reject"`)
	}
}
