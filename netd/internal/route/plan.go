package route

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"netd/netd/internal/rib"
)

// Path is one way to a prefix.
type Path struct {
	rib.Path
	// Static: not learned, but the router that the configuration or DHCP names.
	Static bool
}

// Route is a planned way for packets; prefixes share it.
type Route struct {
	Kind Kind
	// Way has no NextHop for pods, and is empty for blackholes.
	Way
	// Equal are further next hops of the same kind that BGP ranks as high: flows
	// are spread over all of them.
	Equal []Way
	// Source is the preferred source address.
	Source netip.Addr

	index int // of a pod's link, if it is known
}

// Way is a next hop and the link that it is on. One that is link-local has the
// link as its zone, too.
type Way struct {
	NextHop netip.Addr
	Link    string
	// Key and Local are those of a tunnel.
	Key, Local netip.Addr
}

// Candidate is a path that was considered, and what became of it.
type Candidate struct {
	Path
	// Kind is what the path's route would be; empty if it can not be one.
	Kind   Kind
	Reason string
	Chosen bool

	class int
	way   Way
}

// Outcome is what was decided for prefixes that are alike: they share it, and it is not
// changed, so that they differ if its address does.
type Outcome struct {
	// Route is nil if the prefix gets no route.
	Route      *Route
	Reason     string
	Candidates []Candidate

	layer layer
	alike alike // of learned prefixes
	uses  int   // the prefixes in the table's newest decisions; nobody's but the table's
}

// Decision is the outcome for one prefix.
type Decision struct {
	Prefix netip.Prefix
	*Outcome
}

// layer is the order of the decisions for one prefix: the first that has a route counts.
type layer int8

const (
	podLayer layer = iota
	blockLayer
	announcedLayer
	staticLayer
	learnedLayer
)

// alike is all that is looked at of a learned prefix: those that are alike have one
// outcome.
type alike struct {
	paths         *rib.Paths
	v4, whole     bool // of IPv4; a default route
	encapsulation Encapsulation
	refusal       string    // why it may not have a route; empty if it may
	since         time.Time // when the ToR's way came that it does not take yet; else zero
}

// judge says what paths are worth while the facts are the same.
type judge struct {
	Facts
	known map[question]worth // answers that hold for many prefixes
	named map[string]bool    // the known gateways' names
}

func newJudge(f Facts) judge {
	j := judge{f, map[question]worth{}, map[string]bool{}}
	for _, name := range f.Gateways {
		j.named[name] = true
	}
	return j
}

// gateway is the name of the gateway that a path's next hop is.
func (j *judge) gateway(p Path) (name string, is bool) {
	if name, is = j.Gateways[p.NextHop]; is || p.Static || slices.Contains(j.Peers, p.NextHop) {
		return name, is
	}
	for _, r := range j.Ranges {
		if r.Prefix.Contains(p.NextHop) {
			return r.Name + "[" + p.NextHop.String() + "]", true
		}
	}
	return "", false
}

// fromGateway tells whether a peer is a gateway, which announces only what it owns.
func (j *judge) fromGateway(peer string) bool {
	return j.named[peer] || slices.ContainsFunc(j.Ranges, func(r Range) bool { return strings.HasPrefix(peer, r.Name+"[") })
}

// The classes of paths: the lowest wins.
const (
	always     = iota // by a tunnel, as the pool's mode wants it
	direct            // a gateway on a connected subnet
	byToR             // the fabric
	byRouter          // the configured one, or DHCP's
	byTunnel          // the fallback
	byYoungToR        // the fabric, while prefixes stay in their tunnel
)

// decide chooses among the paths of a prefix.
func (j *judge) decide(a alike) *Outcome {
	paths := j.paths(a)
	named := a.paths != nil && a.paths.Rule == rib.ByFilter
	d := &Outcome{layer: learnedLayer, alike: a, Candidates: make([]Candidate, 0, len(paths))}
	best := -1
	for _, p := range paths {
		c := Candidate{Path: p, Reason: a.refusal}
		if a.refusal == "" || a.refusal == outside && named && !p.Static {
			c.Reason = ""
			j.ask(&c, a)
		}
		d.Candidates = append(d.Candidates, c)
		if c.Kind != "" && (best < 0 || c.class < d.Candidates[best].class) {
			best = len(d.Candidates) - 1
		}
	}
	best = d.stay(best, j.LeaveDelay)
	if best < 0 {
		d.Reason = "no route: " + d.Candidates[0].Reason
		if a.refusal == "" && len(paths) > 1 {
			d.Reason = "no route: none of its paths can be used"
		}
		return d
	}
	chosen := &d.Candidates[best]
	chosen.Chosen = true
	d.Reason = chosen.Reason
	source := j.Source6
	if a.v4 {
		source = j.Source
	}
	d.Route = &Route{Kind: chosen.Kind, Way: chosen.way, Source: source, Equal: d.equals(chosen)}
	return d
}

// paths are all that a prefix has, in a fixed order: the routers come last.
func (j *judge) paths(a alike) []Path {
	var all []Path
	rank := 0
	if a.paths != nil {
		all = make([]Path, 0, len(a.paths.List))
		for _, p := range a.paths.List {
			all = append(all, Path{Path: p})
			rank = max(rank, p.Rank+1)
		}
	}
	slices.SortStableFunc(all, func(a, b Path) int {
		return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Peer, b.Peer), a.NextHop.Compare(b.NextHop))
	})
	if a.whole {
		for i, r := range j.routersOf(a.v4) {
			all = append(all, Path{Path: rib.Path{NextHop: r.Address, Peer: r.Uplink, Rank: rank + i}, Static: true})
		}
	}
	return all
}

// routersOf are those of one family, whose default routes they are.
func (f *Facts) routersOf(v4 bool) []Router {
	return slices.DeleteFunc(slices.Clone(f.Routers), func(r Router) bool { return r.Address.Is4() != v4 })
}

// equals chooses the paths that are as good as the best, too.
func (d *Outcome) equals(best *Candidate) []Way {
	var ways []Way
	for i := range d.Candidates {
		c := &d.Candidates[i]
		if c.Kind != best.Kind || c.class != best.class || c.Rank != best.Rank || c == best {
			continue
		}
		if c.Chosen = true; c.NextHop != best.NextHop && !slices.Contains(ways, c.way) {
			ways = append(ways, c.way)
		}
	}
	slices.SortFunc(ways, func(a, b Way) int { return a.NextHop.Compare(b.NextHop) })
	return ways
}

// equal tells whether two outcomes of the same paths are the same.
func (d *Outcome) equal(o *Outcome) bool {
	if d.Reason != o.Reason || (d.Route == nil) != (o.Route == nil) || d.Route != nil && !d.Route.equal(o.Route) {
		return false
	}
	return slices.EqualFunc(d.Candidates, o.Candidates, func(a, b Candidate) bool {
		return a.Peer == b.Peer && a.NextHop == b.NextHop && a.Rank == b.Rank && a.Static == b.Static &&
			a.Kind == b.Kind && a.Reason == b.Reason && a.Chosen == b.Chosen && a.class == b.class && a.way == b.way
	})
}

func (r *Route) equal(o *Route) bool {
	return r.Kind == o.Kind && r.Way == o.Way && r.Source == o.Source && r.index == o.index && slices.Equal(r.Equal, o.Equal)
}

// like is what a learned prefix is, to the judge.
func (f *Facts) like(p netip.Prefix, paths *rib.Paths) alike {
	encapsulation, refusal := f.admit(p)
	return alike{paths: paths, v4: p.Addr().Is4(), whole: p.Bits() == 0, encapsulation: encapsulation, refusal: refusal}
}

// admit tells whether a learned prefix may have a route at all: if so, when it is
// encapsulated; otherwise why not.
func (f *Facts) admit(p netip.Prefix) (Encapsulation, string) {
	for _, own := range f.Blocks {
		if own.Bits() <= p.Bits() && own.Contains(p.Addr()) {
			return 0, fmt.Sprintf("inside %s, which this gateway owns", own)
		}
	}
	if slices.Contains(f.Announced, p) {
		return 0, "this gateway announces it itself"
	}
	if p.Bits() == 0 {
		return Never, ""
	}
	for _, peer := range f.Peers {
		if p.Contains(peer) {
			return 0, fmt.Sprintf("covers the peer %s, whose session would then run over its own routes", peer)
		}
	}
	for _, pool := range f.Pools {
		if pool.Prefix.Bits() <= p.Bits() && pool.Prefix.Contains(p.Addr()) {
			return pool.Encapsulation, ""
		}
	}
	return Never, outside
}

// outside is why a prefix has no route that no filter asks for.
const outside = "outside every pool"

// question is all that classify may look at of a path: its answer is used for others.
type question struct {
	peer                                     string
	nextHop                                  netip.Addr
	encapsulation                            Encapsulation
	v4, whole, fromGateway, passedOn, static bool
}

// native tells whether the next hop can take the prefix's packets as they are. The
// kernel has no neighbours of IPv4 for IPv6 packets (the other way it has, RFC
// 8950).
func (q question) native() bool { return q.v4 || q.nextHop.Is6() }

// worth is what classify says.
type worth struct {
	kind   Kind
	class  int
	way    Way
	reason string
}

// ask has classify answer, but once for all prefixes of one kind: a peer tells many
// that differ in nothing which matters.
func (j *judge) ask(c *Candidate, a alike) {
	q := question{
		peer: c.Peer, nextHop: c.NextHop, encapsulation: a.encapsulation, v4: a.v4, whole: a.whole,
		fromGateway: !c.Static && j.fromGateway(c.Peer), passedOn: len(c.ASPath) > 0, static: c.Static,
	}
	v, ok := j.known[q]
	if !ok {
		j.classify(c, q)
		v = worth{c.Kind, c.class, c.way, c.Reason}
		j.known[q] = v
	}
	c.Kind, c.class, c.way, c.Reason = v.kind, v.class, v.way, v.reason
}

// classify says what a path would be, of which class (the lowest wins), and why.
func (j *judge) classify(c *Candidate, q question) {
	hop := j.Hops[c.NextHop]
	name, gateway := j.gateway(c.Path)
	if lost := j.lost(c.Path); lost != nil {
		c.Reason = fmt.Sprintf("%s since %s", lost.Why, lost.Since.UTC().Format(time.RFC3339))
		return
	}
	tunnel, why := j.tunnel(q, gateway, hop)
	c.way = Way{NextHop: c.NextHop, Link: hop.Link}
	switch {
	case gateway && q.whole:
		c.Reason = fmt.Sprintf("a default route from gateway %s: only ToRs give one", name)
	case gateway && q.fromGateway && name != c.Peer && q.passedOn: // an iBGP one may be a reflector
		c.Reason = fmt.Sprintf("%s announces what it does not own: next hop %s is %s", c.Peer, c.NextHop, name)
	case q.encapsulation == Always && tunnel != nil:
		c.Kind, c.class, c.way = tunnel.Kind, always, tunnel.way(c.NextHop)
		c.Reason = fmt.Sprintf("gateway %s; the pool's mode is always", name)
	case hop.Dark != "" && tunnel == nil:
		c.Reason = fmt.Sprintf("next hop %s is on %s, which has no carrier", c.NextHop, hop.Dark)
	case hop.Connected && q.native() && gateway:
		c.Kind, c.class = Native, direct
		c.Reason = fmt.Sprintf("gateway %s is on the subnet of %s", name, hop.Link)
	case hop.Connected && q.native() && c.Static:
		c.Kind, c.class = Native, byRouter
		c.Reason = fmt.Sprintf("%s is the router of %s; no ToR gives a default route", c.NextHop, c.Peer)
	case hop.Connected && q.native():
		c.Kind, c.class = Native, byToR
		c.Reason = fmt.Sprintf("%s routes it: next hop %s is on the subnet of %s", c.Peer, c.NextHop, hop.Link)
	case tunnel != nil && hop.Dark != "":
		c.Kind, c.class, c.way = tunnel.Kind, byTunnel, tunnel.way(c.NextHop)
		c.Reason = fmt.Sprintf("gateway %s is on %s, which has no carrier, and the kernel has another way to it", name, hop.Dark)
	case tunnel != nil && hop.Connected:
		c.Kind, c.class, c.way = tunnel.Kind, byTunnel, tunnel.way(c.NextHop)
		c.Reason = fmt.Sprintf("gateway %s has an IPv4 next hop only, and no ToR offers the prefix", name)
	case tunnel != nil:
		c.Kind, c.class, c.way = tunnel.Kind, byTunnel, tunnel.way(c.NextHop)
		c.Reason = fmt.Sprintf("gateway %s is in another subnet, and no ToR offers the prefix", name)
	default:
		c.Reason = why
	}
}

// lost returns the peer without which a path is worth nothing: the one that told
// it, or its next hop. The configured router stays even then: it is the last
// resort, and a ToR whose BFD alone is dead still forwards.
func (j *judge) lost(p Path) *Lost {
	for i, l := range j.Down {
		if !p.Static && (l.Peer == p.Peer || l.Address == p.NextHop) {
			return &j.Down[i]
		}
	}
	return nil
}
