package route

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Kind is how a route carries its packets.
type Kind string

// The kinds of route, in the words that `netd routes` prints.
const (
	Pod       Kind = "pod"       // to a pod of this gateway
	Blackhole Kind = "blackhole" // the unused part of an own block
	Native    Kind = "native"    // to a next hop on a connected subnet
	// Through a tunnel to another gateway: IPv4 in IPv4 (RFC 2003), IPv6 in IPv4 (RFC
	// 4213), either in IPv6 (RFC 2473), or either in UDP (RFC 7348).
	IPIP   Kind = "ipip"
	SIT    Kind = "sit"
	IP6Tnl Kind = "ip6tnl"
	VXLAN  Kind = "vxlan"
)

// tunnelled tells whether packets go inside of others.
func (k Kind) tunnelled() bool { return k == IPIP || k == SIT || k == IP6Tnl || k == VXLAN }

// Mode says when traffic to other gateways is encapsulated.
type Mode int

// The modes, as in Calico.
const (
	CrossSubnet Mode = iota
	Never
	Always
)

// Pool is a range of pod addresses.
type Pool struct {
	Prefix netip.Prefix
	Mode   Mode
}

// LocalPod is a pod of this gateway that has its link.
type LocalPod struct {
	Name    string
	Address netip.Addr
	Link    string
}

// Path is one way to a prefix that a peer has told us.
type Path struct {
	Prefix  netip.Prefix
	NextHop netip.Addr
	Peer    string
	// Rank is BGP's own order among the paths of the prefix; 0 is its best.
	// Paths that differ in nothing but the peer have the same rank.
	Rank   int
	ASPath []uint32
	// Stale: the peer is restarting and its paths are kept meanwhile (RFC 4724).
	Stale bool
	// FromGateway: a gateway told it, which announces only what it owns.
	FromGateway bool
	// Static: not learned, but the router that the configuration or DHCP names.
	Static bool
	// Named: a filter asks for it, though it is outside every pool.
	Named bool
}

// Hop is what the kernel says about a next hop.
type Hop struct {
	// Connected: on the subnet of an uplink, which is Link and has carrier.
	Connected bool
	Link      string
	// Via is the router on the way to a next hop that is not connected.
	Via netip.Addr
	// Dark is an uplink without carrier on whose subnet the next hop is; empty if there is
	// none. The kernel may have another way to it.
	Dark string
	// Tunnel: the kernel would send through a tunnel of ours to get there.
	Tunnel bool
	// Error says why the kernel has no way; empty if it has one.
	Error string
}

// Lost is a peer that can not be reached, whatever its BGP session still says.
type Lost struct {
	Peer    string
	Address netip.Addr
	Since   time.Time
	// Why is for a person: "BFD: tor1 is down".
	Why string
}

// Facts is all that Plan looks at.
type Facts struct {
	Pools  []Pool
	Blocks []netip.Prefix // that this gateway owns
	// Announced are prefixes that it announces beside them; others own parts of
	// them, and what nobody does is dropped.
	Announced []netip.Prefix
	Pods      []LocalPod
	Paths     []Path
	// Hops has an entry for each next hop of Paths.
	Hops map[netip.Addr]Hop
	// Gateways are the known gateways' addresses and names.
	Gateways map[netip.Addr]string
	// Peers are the addresses that BGP sessions run to.
	Peers []netip.Addr
	// Down are the peers that can not be reached.
	Down []Lost
	// Tunnels are those that there are.
	Tunnels []Tunnel
	// Source and Source6 are this gateway's own addresses.
	Source, Source6 netip.Addr

	known map[question]verdict // answers that hold for many prefixes
}

// Route is a planned route.
type Route struct {
	Prefix netip.Prefix
	Kind   Kind
	// Way has no NextHop for pods, and is empty for blackholes.
	Way
	// Equal are further next hops of the same kind that BGP ranks as high: flows
	// are spread over all of them.
	Equal []Way
	// Source is the preferred source address.
	Source netip.Addr
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

// Decision is the outcome for one prefix.
type Decision struct {
	Prefix netip.Prefix
	// Route is nil if the prefix gets no route.
	Route      *Route
	Reason     string
	Candidates []Candidate
}

// Plan decides for every prefix of f; the result is ordered by prefix.
func Plan(f Facts) []Decision {
	var plan []Decision
	podAt := map[netip.Prefix]bool{}
	for _, p := range f.Pods {
		prefix := netip.PrefixFrom(p.Address, p.Address.BitLen())
		podAt[prefix] = true
		plan = append(plan, Decision{
			Prefix: prefix,
			Route:  &Route{Prefix: prefix, Kind: Pod, Way: Way{Link: p.Link}},
			Reason: "pod " + p.Name + " of this gateway",
		})
	}
	for _, b := range f.Blocks {
		// A block of one address must not hide its own pod (calico #2624).
		if !podAt[b] {
			plan = append(plan, Decision{
				Prefix: b,
				Route:  &Route{Prefix: b, Kind: Blackhole},
				Reason: "own block: what no pod uses is dropped, not sent back to the fabric",
			})
		}
	}
	for _, a := range f.Announced {
		if !podAt[a] {
			plan = append(plan, Decision{
				Prefix: a,
				Route:  &Route{Prefix: a, Kind: Blackhole},
				Reason: "announced: what of it has no route of its own is dropped, not sent back to the fabric",
			})
		}
	}
	slices.SortStableFunc(plan, func(a, b Decision) int { return comparePrefix(a.Prefix, b.Prefix) })
	f.known = map[question]verdict{}
	groups := byPrefix(f.Paths)
	learned := make([]Decision, 0, len(groups))
	for _, paths := range groups {
		learned = append(learned, f.decide(paths))
	}
	return merge(plan, learned)
}

// merge joins two ordered lists; of equal prefixes a's come first.
func merge(a, b []Decision) []Decision {
	if len(a) == 0 {
		return b
	}
	all := make([]Decision, 0, len(a)+len(b))
	for _, d := range b {
		for len(a) > 0 && comparePrefix(a[0].Prefix, d.Prefix) <= 0 {
			all, a = append(all, a[0]), a[1:]
		}
		all = append(all, d)
	}
	return append(all, a...)
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// byPrefix groups paths by prefix, both in a fixed order.
func byPrefix(paths []Path) [][]Path {
	sorted := slices.Clone(paths)
	slices.SortFunc(sorted, func(a, b Path) int {
		return cmp.Or(comparePrefix(a.Prefix, b.Prefix), cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Peer, b.Peer), a.NextHop.Compare(b.NextHop))
	})
	groups := make([][]Path, 0, len(sorted))
	for begin, i := 0, 1; i <= len(sorted); i++ {
		if i == len(sorted) || sorted[i].Prefix != sorted[begin].Prefix {
			groups, begin = append(groups, sorted[begin:i]), i
		}
	}
	return groups
}

// decide chooses among the paths of one prefix.
func (f *Facts) decide(paths []Path) Decision {
	d := Decision{Prefix: paths[0].Prefix}
	mode, refusal := f.admit(d.Prefix)
	best := -1
	d.Candidates = make([]Candidate, 0, len(paths))
	for _, p := range paths {
		c := Candidate{Path: p, Reason: refusal}
		if refusal == "" || refusal == outside && p.Named {
			c.Reason = ""
			f.ask(&c, mode)
		}
		d.Candidates = append(d.Candidates, c)
		if c.Kind != "" && (best < 0 || c.class < d.Candidates[best].class) {
			best = len(d.Candidates) - 1
		}
	}
	if best < 0 {
		d.Reason = "no route: " + d.Candidates[0].Reason
		if refusal == "" && len(paths) > 1 {
			d.Reason = "no route: none of its paths can be used"
		}
		return d
	}
	chosen := &d.Candidates[best]
	chosen.Chosen = true
	d.Reason = chosen.Reason
	d.Route = &Route{
		Prefix: d.Prefix, Kind: chosen.Kind, Way: chosen.way, Source: f.source(d.Prefix),
		Equal: d.equals(chosen),
	}
	return d
}

// source is the own address that the kernel should send from to a prefix.
func (f *Facts) source(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		return f.Source
	}
	return f.Source6
}

// equals chooses the paths that are as good as the best, too.
func (d *Decision) equals(best *Candidate) []Way {
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

// admit tells whether a learned prefix may have a route at all, and if so in
// which mode; otherwise it says why not.
func (f *Facts) admit(p netip.Prefix) (Mode, string) {
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
			return pool.Mode, ""
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
	mode                                     Mode
	v4, whole, fromGateway, passedOn, static bool
}

// verdict is what classify says.
type verdict struct {
	kind   Kind
	class  int
	way    Way
	reason string
}

// ask has classify answer, but once for all prefixes of one kind: a peer tells many
// that differ in nothing which matters.
func (f *Facts) ask(c *Candidate, mode Mode) {
	q := question{
		peer: c.Peer, nextHop: c.NextHop, mode: mode, v4: c.Prefix.Addr().Is4(), whole: c.Prefix.Bits() == 0,
		fromGateway: c.FromGateway, passedOn: len(c.ASPath) > 0, static: c.Static,
	}
	v, ok := f.known[q]
	if !ok {
		f.classify(c, mode)
		v = verdict{c.Kind, c.class, c.way, c.Reason}
		f.known[q] = v
	}
	c.Kind, c.class, c.way, c.Reason = v.kind, v.class, v.way, v.reason
}

// classify says what a path would be, of which class (the lowest wins), and why.
func (f *Facts) classify(c *Candidate, mode Mode) {
	hop := f.Hops[c.NextHop]
	name, gateway := f.Gateways[c.NextHop]
	if lost := f.lost(c.Path); lost != nil {
		c.Reason = fmt.Sprintf("%s since %s", lost.Why, lost.Since.UTC().Format(time.RFC3339))
		return
	}
	tunnel, why := f.tunnel(c.Path, gateway, mode, hop)
	c.way = Way{NextHop: c.NextHop, Link: hop.Link}
	switch {
	case gateway && c.Prefix.Bits() == 0:
		c.Reason = fmt.Sprintf("a default route from gateway %s: only ToRs give one", name)
	case gateway && c.FromGateway && name != c.Peer && len(c.ASPath) > 0: // an iBGP one may be a reflector
		c.Reason = fmt.Sprintf("%s announces what it does not own: next hop %s is %s", c.Peer, c.NextHop, name)
	case mode == Always && tunnel != nil:
		c.Kind, c.class, c.way = tunnel.Kind, 0, tunnel.way(c.NextHop)
		c.Reason = fmt.Sprintf("gateway %s; the pool's mode is always", name)
	case hop.Dark != "" && tunnel == nil:
		c.Reason = fmt.Sprintf("next hop %s is on %s, which has no carrier", c.NextHop, hop.Dark)
	case hop.Connected && native(c.Path) && gateway:
		c.Kind, c.class = Native, 1
		c.Reason = fmt.Sprintf("gateway %s is on the subnet of %s", name, hop.Link)
	case hop.Connected && native(c.Path) && c.Static:
		c.Kind, c.class = Native, 3
		c.Reason = fmt.Sprintf("%s is the router of %s; no ToR gives a default route", c.NextHop, c.Peer)
	case hop.Connected && native(c.Path):
		c.Kind, c.class = Native, 2
		c.Reason = fmt.Sprintf("%s routes it: next hop %s is on the subnet of %s", c.Peer, c.NextHop, hop.Link)
	case tunnel != nil && hop.Dark != "":
		c.Kind, c.class, c.way = tunnel.Kind, 4, tunnel.way(c.NextHop)
		c.Reason = fmt.Sprintf("gateway %s is on %s, which has no carrier, and the kernel has another way to it", name, hop.Dark)
	case tunnel != nil && hop.Connected:
		c.Kind, c.class, c.way = tunnel.Kind, 4, tunnel.way(c.NextHop)
		c.Reason = fmt.Sprintf("gateway %s has an IPv4 next hop only, and no ToR offers the prefix", name)
	case tunnel != nil:
		c.Kind, c.class, c.way = tunnel.Kind, 4, tunnel.way(c.NextHop)
		c.Reason = fmt.Sprintf("gateway %s is in another subnet, and no ToR offers the prefix", name)
	default:
		c.Reason = why
	}
}

// lost returns the peer without which a path is worth nothing: the one that told
// it, or its next hop. The configured router stays even then: it is the last
// resort, and a ToR whose BFD alone is dead still forwards.
func (f *Facts) lost(p Path) *Lost {
	for i, l := range f.Down {
		if !p.Static && (l.Peer == p.Peer || l.Address == p.NextHop) {
			return &f.Down[i]
		}
	}
	return nil
}

// Covering returns the decision of the longest prefix that contains p, or nil.
func Covering(plan []Decision, p netip.Prefix) *Decision {
	var best *Decision
	for i := range plan {
		d := &plan[i]
		if d.Prefix.Bits() <= p.Bits() && d.Prefix.Contains(p.Addr()) &&
			(best == nil || d.Prefix.Bits() > best.Prefix.Bits() ||
				d.Prefix.Bits() == best.Prefix.Bits() && best.Route == nil) {
			best = d
		}
	}
	return best
}
