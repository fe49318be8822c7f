package config

import (
	"fmt"
	"math"
	"slices"

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
	n     *node
	name  val[string]
	rules []rawRule
}

type rawRule struct {
	n       *node
	name    val[string]
	peers   val[[]val[string]]
	kinds   val[[]val[filter.Kind]]
	session val[filter.Session]
	family  val[filter.Family]

	prefixes           val[[]val[filter.Range]]
	communities, large val[[]val[filter.Pattern]]
	asPaths            val[[]val[filter.ASPattern]]
	least, most        val[int64]

	localPref, med, prepend        val[int64]
	changeCommunities, changeLarge rawChange
	verdict                        val[filter.Verdict]
}

// rawChange has three keys, of which one may be given, and which that is.
type rawChange struct {
	given []*node
	op    filter.Op
	list  val[[]val[filter.Pattern]]
}

// rawFilters are what a peer names.
type rawFilters struct {
	imports, exports val[[]val[string]]
}

func readFilters(t *table) rawFilters {
	return rawFilters{imports: elements(t, "import", hostName("from-tors")), exports: elements(t, "export", hostName("to-tors"))}
}

// or is what holds for a peer that names none.
func (f rawFilters) or(def rawFilters) rawFilters {
	if f.imports.n == nil {
		f.imports = def.imports
	}
	if f.exports.n == nil {
		f.exports = def.exports
	}
	return f
}

func (f rawFilters) config() Filters {
	return Filters{Import: usable(f.imports), Export: usable(f.exports)}
}

func readFilter(t *table) rawFilter {
	defer t.done()
	f := rawFilter{n: t.n, name: required(t, "name", hostName("from-tors"))}
	for _, e := range t.tables("rule") {
		f.rules = append(f.rules, readRule(e))
	}
	if len(f.rules) == 0 {
		t.missing("rule", "expected at least one [[bgp.filter.rule]]")
	}
	return f
}

func readRule(t *table) rawRule {
	defer t.done()
	r := rawRule{
		n:           t.n,
		name:        required(t, "name", hostName("rack")),
		peers:       filled(t, "peer", hostName("tor1")),
		kinds:       filled(t, "peer-type", oneOf(filter.ToR, filter.Gateway, filter.Reflector)),
		session:     optional(t, "session", oneOf(filter.External, filter.Internal)),
		family:      optional(t, "family", oneOf(filter.IPv4, filter.IPv6)),
		prefixes:    filled(t, "prefix", written("a prefix, and which lengths within it", "10.0.0.0/8 ge 16 le 24", filter.ParseRange)),
		communities: filled(t, "community", community(true)),
		large:       filled(t, "large-community", largeCommunity(true)),
		asPaths:     filled(t, "as-path", written(`AS numbers, with "?" for any one and "*" for any number of them`, "65001 * 65103", filter.ParseASPattern)),
		least:       optional(t, "as-path-min", number(1, 255, "1")),
		most:        optional(t, "as-path-max", number(1, 255, "3")),
		localPref:   optional(t, "local-preference", number(1, math.MaxUint32, "200")),
		med:         optional(t, "med", number(0, math.MaxUint32, "10")),
		prepend:     optional(t, "prepend", number(1, 10, "2")),
		verdict:     withDefault(t, "action", action(), filter.Next),

		changeCommunities: readChange(t, "communities", community),
		changeLarge:       readChange(t, "large-communities", largeCommunity),
	}
	return r
}

func readChange(t *table, key string, of func(patterns bool) want[filter.Pattern]) rawChange {
	var c rawChange
	for _, k := range []struct {
		verb string
		op   filter.Op
	}{{"add", filter.Add}, {"remove", filter.Remove}, {"set", filter.Replace}} {
		list := elements(t, k.verb+"-"+key, of(k.op == filter.Remove))
		if list.n == nil {
			continue
		}
		if list.ok && len(list.v) == 0 && k.op != filter.Replace {
			t.r.add(isBad, list.n, list.n.src, fmt.Sprintf("expected at least one community, e.g. [%s]", of(false).eg))
		}
		c.given, c.op, c.list = append(c.given, list.n), k.op, list
	}
	return c
}

// filled reads an array that has to have something in it.
func filled[T any](t *table, key string, w want[T]) val[[]val[T]] {
	a := elements(t, key, w)
	if a.ok && len(a.v) == 0 {
		t.r.add(isBad, a.n, a.n.src, fmt.Sprintf("expected at least one, e.g. [%s]; leave the key out to ask for nothing", w.eg))
	}
	return a
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
			if name.ok && !slices.ContainsFunc(f.bgp.filters, func(f rawFilter) bool { return !f.name.ok || f.name.v == name.v }) {
				r.conflict(name.n, "no filter is called %s: expected the name of a [[bgp.filter]]", name.v)
			}
		}
	}
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
				if p.ok && !slices.Contains(peers, p.v) {
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
	for _, c := range []rawChange{rule.changeCommunities, rule.changeLarge} {
		if len(c.given) > 1 {
			r.conflict(c.given[1], "one rule changes communities in one way (%s): expected another rule for this, after it or before", c.given[0])
		}
	}
	changes := !rule.set().None()
	switch {
	case !rule.verdict.ok:
	case rule.verdict.v == filter.Reject && changes:
		r.conflict(rule.verdict.n, "what is rejected is not changed: expected only conditions beside it")
	case rule.verdict.v == filter.Next && !changes && rule.wellRead():
		r.conflict(rule.n, `the rule does nothing: expected something that it changes, or action = "accept" or "reject"`)
	}
}

// wellRead tells whether all that the rule changes could be read.
func (rule rawRule) wellRead() bool {
	for _, v := range []val[int64]{rule.localPref, rule.med, rule.prepend} {
		if v.n != nil && !v.ok {
			return false
		}
	}
	return rule.changeCommunities.given == nil && rule.changeLarge.given == nil
}

func (rule rawRule) set() filter.Set {
	return filter.Set{
		LocalPref: number32(rule.localPref), MED: number32(rule.med), Prepend: int(rule.prepend.v),
		Communities: rule.changeCommunities.config(), Large: rule.changeLarge.config(),
	}
}

func (c rawChange) config() filter.Change { return filter.Change{Op: c.op, List: usable(c.list)} }

// number32 is nil if there is none.
func number32(v val[int64]) *uint32 {
	if !v.ok {
		return nil
	}
	n := uint32(v.v)
	return &n
}

func configFilters(raw []rawFilter) []Filter {
	var fs []Filter
	for _, f := range raw {
		c := Filter{Name: f.name.v}
		for _, r := range f.rules {
			c.Rules = append(c.Rules, filter.Rule{
				Name: f.name.v + "/" + r.name.v, Peers: usable(r.peers), Kinds: usable(r.kinds), Session: r.session.v,
				Match: filter.Match{
					Family: r.family.v, Prefixes: usable(r.prefixes), Communities: usable(r.communities), Large: usable(r.large),
					ASPaths: usable(r.asPaths), MinLength: int(r.least.v), MaxLength: int(r.most.v),
				},
				Set: r.set(), Verdict: r.verdict.v,
			})
		}
		fs = append(fs, c)
	}
	return fs
}

func printFilters(p func(string, ...any), filters []Filter) {
	for _, f := range filters {
		p("\n[[bgp.filter]]\nname = %s", quote(f.Name))
		for _, r := range f.Rules {
			p("[[bgp.filter.rule]]\nname = %s", quote(r.Name[len(f.Name)+1:]))
			printMatch(p, r)
			printSet(p, r.Set)
			p("action = %s", quote(r.Verdict.String()))
		}
	}
}

func printMatch(p func(string, ...any), r filter.Rule) {
	printList(p, "peer", r.Peers, func(s string) string { return s })
	printList(p, "peer-type", r.Kinds, func(k filter.Kind) string { return string(k) })
	if r.Session != "" {
		p("session = %s", quote(string(r.Session)))
	}
	if r.Family != "" {
		p("family = %s", quote(string(r.Family)))
	}
	printList(p, "prefix", r.Prefixes, filter.Range.String)
	printList(p, "community", r.Match.Communities, filter.Pattern.String)
	printList(p, "large-community", r.Match.Large, filter.Pattern.String)
	printList(p, "as-path", r.ASPaths, filter.ASPattern.String)
	if r.MinLength > 0 {
		p("as-path-min = %d", r.MinLength)
	}
	if r.MaxLength > 0 {
		p("as-path-max = %d", r.MaxLength)
	}
}

func printSet(p func(string, ...any), s filter.Set) {
	if s.LocalPref != nil {
		p("local-preference = %d", *s.LocalPref)
	}
	if s.MED != nil {
		p("med = %d", *s.MED)
	}
	for _, c := range []struct {
		key string
		filter.Change
	}{{"communities", s.Communities}, {"large-communities", s.Large}} {
		if c.Op != filter.Keep {
			verb := map[filter.Op]string{filter.Add: "add-", filter.Remove: "remove-", filter.Replace: "set-"}[c.Op]
			p("%s%s = %s", verb, c.key, quoteAll(c.List, filter.Pattern.String))
		}
	}
	if s.Prepend > 0 {
		p("prepend = %d", s.Prepend)
	}
}

func (f Filters) print(p func(string, ...any)) {
	printList(p, "import", f.Import, func(s string) string { return s })
	printList(p, "export", f.Export, func(s string) string { return s })
}

// printList prints an array that was given.
func printList[T any](p func(string, ...any), key string, list []T, str func(T) string) {
	if list != nil {
		p("%s = %s", key, quoteAll(list, str))
	}
}
