package config

import (
	"math"
	"net/netip"

	"netd/netd/internal/address"
)

// podPrefix is a range of addresses for pods.
func podPrefix(what, eg string) want[netip.Prefix] {
	return want[netip.Prefix]{what, quote(eg), func(n *node) (netip.Prefix, *wrong) {
		s, _ := n.value.(string)
		p, err := netip.ParsePrefix(s)
		if err != nil {
			if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
				return p, &wrong{why: "no prefix length"}
			}
			return p, &wrong{}
		}
		switch use := address.SpecialUse(p); {
		case p != p.Masked():
			return p, &wrong{why: "bits set after the prefix length", eg: quote(p.Masked().String())}
		case use != "":
			return p, &wrong{why: use}
		}
		return p, nil
	}}
}

// specialUse is what a pool's node overlaps that pods can not have; empty if nothing.
func specialUse(n *node) string {
	if n == nil {
		return ""
	}
	s, _ := n.value.(string)
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return ""
	}
	return address.SpecialUse(p)
}

// Room is how many pods a block has addresses for. Every IPv4 address can be a
// pod's, the first and the last too; of an IPv6 block all but the first, which is the
// routers' (RFC 4291 section 2.6.1), unless there is no other (RFC 6164). A large block
// has room for math.MaxInt64.
func Room(block netip.Prefix) int64 {
	host := block.Addr().BitLen() - block.Bits()
	if host >= 62 {
		return math.MaxInt64
	}
	room := int64(1) << host
	if block.Addr().Is6() && host > 1 {
		room--
	}
	return room
}

// checkRoom compares a number of pods with the addresses: a pod has one of each
// family that has a block.
func (r *reader) checkRoom(pools []rawPool, need int64, who string) {
	type family struct {
		first   *node // the block that is to grow, with its address
		address netip.Addr
		have    int64
	}
	families := map[int]*family{} // by the length of an address
	for _, p := range pools {
		if !p.block.ok {
			return
		}
		bits := p.block.v.Addr().BitLen()
		if families[bits] == nil {
			families[bits] = &family{first: p.block.n, address: p.block.v.Addr()}
		}
		f := families[bits]
		f.have += min(Room(p.block.v), math.MaxInt64-f.have)
	}
	for length, f := range families {
		if need <= f.have {
			continue
		}
		bits := length
		for Room(netip.PrefixFrom(f.address, bits)) < need {
			bits--
		}
		r.conflict(f.first, "%d addresses for %d pods (%s): expected a /%d block or a larger one, or fewer replicas",
			f.have, need, who, bits)
	}
}
