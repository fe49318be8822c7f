package route

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"netd/netd/internal/rib"
)

// A block is one gateway's. Where two announce it, or one a part of the other's, flows are
// spread over both, and half of them get no answer: a person must know. Who a path is from
// is seen by the session, if it is a gateway's; by the next hop, if it came by a reflector,
// which keeps that; and by the AS that is last in the AS path, if a ToR has passed it on.

// Origin says who may be behind a path.
type Origin struct {
	// Gateway is the name of the gateway that has an address; empty: of none that is known.
	Gateway func(netip.Addr) string
	// ByAS are the known gateways by their AS, if that is only one's.
	ByAS map[uint32]string
	// Peer is what a peer is, by its name, and its AS.
	Peer func(name string) (kind PeerKind, as uint32)
}

// PeerKind is what a peer is to whom it tells a path.
type PeerKind int

// The kinds: a gateway tells what it owns, a reflector keeps next hops, and a ToR neither.
const (
	ToRPeer PeerKind = iota
	GatewayPeer
	ReflectorPeer
)

// owner is whose a block is as far as a path tells: a gateway's by its name, or that of an
// AS that no known gateway has.
type owner struct {
	name string
	as   uint32
}

func (o owner) known() bool { return o != owner{} }

func (o owner) String() string {
	if o.name != "" {
		return o.name
	}
	return fmt.Sprintf("AS %d", o.as)
}

// other tells whether two owners are surely not the same. One that is known by its name may
// show another AS to a ToR (local-as).
func (o owner) other(p owner) bool {
	return o.name != "" && p.name != "" && o.name != p.name || o.as != 0 && p.as != 0 && o.as != p.as
}

// owner is who a path is from; unknown for what a ToR says of itself, and what is stale.
func (r Origin) owner(p rib.Path) owner {
	kind, as := r.Peer(p.Peer)
	switch {
	case p.Stale:
		return owner{}
	case kind == GatewayPeer: // which may reflect what is another's
		return owner{name: cmp.Or(r.Gateway(p.NextHop), p.Peer)}
	case kind == ReflectorPeer:
		return owner{name: cmp.Or(r.Gateway(p.NextHop), p.NextHop.String())}
	case len(p.ASPath) == 0:
		return owner{name: r.Gateway(p.NextHop)}
	}
	origin := p.ASPath[len(p.ASPath)-1]
	switch name := r.ByAS[origin]; {
	case name != "":
		return owner{name: name}
	case origin == as: // The ToR's own, or it hides where it has it from.
		return owner{}
	}
	return owner{as: origin}
}

// claim is what one owner announces.
type claim struct {
	prefix netip.Prefix
	owners []owner // that are not the same
}

func (r Origin) owners(paths *rib.Paths) []owner {
	var all []owner
	for _, p := range paths.List {
		o := r.owner(p)
		if o.known() && !slices.ContainsFunc(all, func(b owner) bool { return b == o || !b.other(o) }) {
			all = append(all, o)
		}
	}
	return all
}

// Conflicts says of each prefix of a pool that two gateways announce, or of which one
// announces a part of another's, who they are.
func (a *Decisions) Conflicts(r Origin) []string {
	var said []string
	var around []claim // those that the present one is within
	seen := map[*rib.Paths][]owner{}
	for d := range a.All() {
		paths := d.alike.paths
		if d.layer != learnedLayer || paths == nil || paths.Rule != rib.ByPool {
			continue
		}
		owners, known := seen[paths]
		if !known {
			owners = r.owners(paths)
			seen[paths] = owners
		}
		now := claim{d.Prefix, owners}
		if len(owners) > 1 {
			said = append(said, fmt.Sprintf("%s is announced by %s and by %s: a block is one gateway's, and flows are spread over both", d.Prefix, owners[0], owners[1]))
		}
		for len(around) > 0 && !within(d.Prefix, around[len(around)-1].prefix) {
			around = around[:len(around)-1]
		}
		if part := partOf(now, around); part != "" {
			said = append(said, part)
		}
		around = append(around, now)
	}
	return said
}

func within(p, of netip.Prefix) bool { return of.Bits() <= p.Bits() && of.Contains(p.Addr()) }

// partOf says whose prefix around a known gateway's is another one's.
func partOf(now claim, around []claim) string {
	for _, c := range slices.Backward(around) {
		for _, whole := range c.owners {
			for _, o := range now.owners {
				if o.name != "" && whole.name != "" && o.name != whole.name {
					return fmt.Sprintf("%s is announced by %s, and is a part of %s, which %s announces: blocks must not overlap", now.prefix, o, c.prefix, whole)
				}
			}
		}
	}
	return ""
}
