package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// The checks report values that are right by themselves and do not fit together.
// They pass over values that are missing or wrong: those have been reported.

func (r *reader) check(f *rawFile) {
	r.checkGateway(f)
	r.checkUplinks(f)
	r.checkLANs(f)
	r.checkRouterID(f)
	r.checkBGP(f)
	r.checkTunnel(f.tunnel)
	r.checkTunnelMTU(f)
	r.checkPools(f)
	r.checkMTU6(f)
	r.checkWorkloads(f)
	r.checkPorts(f)
	r.checkNextHops(f)
}

// unique reports values that occurred before; seen has where.
func unique[K comparable](r *reader, seen map[K]*node, key K, n *node) {
	if first := seen[key]; first != nil {
		r.conflict(n, "given before in line %d: expected each one once", first.line)
		return
	}
	seen[key] = n
}

func (r *reader) checkBGP(f *rawFile) {
	for i := range f.bgp.gateways {
		p := &f.bgp.gateways[i]
		p.self = p.name.ok && f.gateway.name.ok && p.name.v == f.gateway.name.v
	}
	if b := f.bgp; b.keepalive.n != nil && b.holdTime.ok && b.keepalive.v >= b.holdTime.v {
		r.conflict(b.keepalive.n, "not less than hold-time: expected less than %s, usually a third of it", plainSeconds(b.holdTime.v))
	}
	r.checkPeers(f)
	r.checkFilters(f)
	r.checkAnnounces(f)
	r.checkConnected(f)
	r.warnSharedAS(f)
	if f.bgp.as.ok && len(f.bgp.peers)+len(f.bgp.gateways)+len(f.bgp.ranges) == 0 {
		n := f.bgp.as.n
		r.add(isWarning, n, n.src, "no [[bgp.peer]] and no [[bgp.gateway]]: nobody will learn of this gateway's pods")
	}
}

// checkSame compares a [[bgp.gateway]] with the gateway that it names: another one of
// the fleet, or this one itself (a fleet's common list has them all, and each leaves
// itself out).
func (r *reader) checkSame(p rawPeer, f *rawFile) {
	if p.as.ok && f.bgp.as.ok && p.as.v != f.bgp.as.v {
		r.conflict(p.as.n, "not the AS of %s (%s): expected %d", p.name.v, f.bgp.as.n, f.bgp.as.v)
	}
	own := f.ownAddresses()
	for _, address := range []val[netip.Addr]{p.address, p.other} {
		switch known := f.known(address.v); {
		case !address.ok || !allStatic(f.uplinks):
		case own[address.v] == nil:
			var has []string
			for _, a := range slices.SortedFunc(maps.Keys(own), netip.Addr.Compare) {
				has = append(has, a.String())
			}
			r.conflict(address.n, "not an address of %s (%s): expected %s", p.name.v, f.uplinks[0].addresses.n, strings.Join(has, " or "))
		case known != address.v && f.tunnelled():
			r.conflict(address.n, "not the address of %s that its tunnels have (%s): expected %s", p.name.v, own[known], known)
		}
	}
}

func (r *reader) checkPools(f *rawFile) {
	names := map[string]*node{}
	for i, p := range f.pools {
		if p.name.ok {
			unique(r, names, p.name.v, p.name.n)
		}
		if p.prefix.ok && p.block.ok && (!p.prefix.v.Contains(p.block.v.Addr()) || p.block.v.Bits() < p.prefix.v.Bits()) {
			r.conflict(p.block.n, "not within the pool: expected a part of %s", p.prefix.v)
		}
		if !p.prefix.ok {
			continue
		}
		for _, other := range f.pools[:i] {
			if other.prefix.ok && other.prefix.v.Overlaps(p.prefix.v) {
				r.conflict(p.prefix.n, "overlaps the pool %s (%s): expected pools apart from each other", other.prefix.v, other.prefix.n)
			}
		}
		r.checkPoolAgainstHosts(f, p)
	}
}

// checkPoolAgainstHosts reports hosts' addresses inside of a pool: a block's route
// that covers a peer's address takes its session down, and comes back with it.
func (r *reader) checkPoolAgainstHosts(f *rawFile, p rawPool) {
	before := len(r.problems)
	for _, u := range f.uplinks {
		for _, a := range u.addresses.v {
			if a.ok && a.v.Overlaps(p.prefix.v) {
				r.conflict(p.prefix.n, "overlaps an uplink's subnet %s (%s): expected addresses that only pods have", a.v.Masked(), a.n)
			}
		}
	}
	if len(r.problems) > before {
		return // Its router and peers are in it, too.
	}
	for _, u := range f.uplinks {
		for _, router := range []val[netip.Addr]{u.router, u.router6} {
			if router.ok && p.prefix.v.Contains(router.v) {
				r.conflict(p.prefix.n, "contains the router %s (%s): expected addresses that only pods have", router.v, router.n)
			}
		}
	}
	for _, a := range f.gateway.addresses.v {
		if a.ok && p.prefix.v.Contains(a.v) {
			r.conflict(p.prefix.n, "contains the gateway's own address %s (%s): expected addresses that only pods have", a.v, a.n)
		}
	}
	for _, b := range slices.Concat(f.bgp.peers, f.bgp.gateways) {
		for _, a := range []val[netip.Addr]{b.address, b.other} {
			if a.ok && !b.self && p.prefix.v.Contains(a.v) {
				r.conflict(p.prefix.n, "contains the peer %s (%s): expected addresses that only pods have", a.v, a.n)
			}
		}
	}
	for _, e := range f.bgp.ranges {
		if e.prefix.ok && inside(e.prefix.v, p.prefix.v) {
			r.conflict(e.prefix.n, "within the pool %s (%s): expected peers that are no pods", p.prefix.v, p.prefix.n)
		}
	}
}

// checkWorkloads compares the pods with the addresses.
func (r *reader) checkWorkloads(f *rawFile) {
	names := map[string]*node{}
	need := 0
	var who []string
	for _, w := range f.workloads {
		if w.name.ok {
			unique(r, names, w.name.v, w.name.n)
		}
		if !w.replicas.ok {
			return
		}
		if w.replicas.v > 0 {
			need += w.replicas.v
			who = append(who, fmt.Sprintf("%s %d", w.name.v, w.replicas.v))
		}
	}
	if need > 0 && len(f.pools) == 0 {
		if r.guessed["pool"] {
			return
		}
		n := f.workloads[0].n
		r.add(isConflict, n, n.src, "no [[pool]]: expected one with a block for the pods' addresses")
		return
	}
	r.checkRoom(f.pools, int64(need), strings.Join(who, ", "))
}
