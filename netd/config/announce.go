package config

import (
	"math"
	"net/netip"

	"netd/netd/internal/address"
	"netd/netd/internal/filter"
)

// Announce is a prefix that is announced beside the blocks.
type Announce struct {
	Prefix netip.Prefix
	// Always: also while the gateway has no way to any part of it.
	Always bool
	Attributes
}

// Attributes go with what is announced.
type Attributes struct {
	Communities []filter.Community
	Large       []filter.LargeCommunity
	// MED is nil for none.
	MED *uint32
}

func (a *Announce) keys(t *table) rawAnnounce {
	defer t.done()
	r := rawAnnounce{prefix: required(t, "prefix", &a.Prefix, announcedPrefix())}
	withDefault(t, "always", &a.Always, boolean(), false)
	a.Attributes.keys(t)
	return r
}

type rawAnnounce struct{ prefix val[netip.Prefix] }

func (a *Attributes) keys(t *table) {
	elements(t, "communities", &a.Communities, as(community(false), func(p filter.Pattern) filter.Community {
		return filter.Community(p[0].Value<<16 | p[1].Value)
	}))
	elements(t, "large-communities", &a.Large, as(largeCommunity(false), func(p filter.Pattern) filter.LargeCommunity {
		return filter.LargeCommunity{p[0].Value, p[1].Value, p[2].Value}
	}))
	optional(t, "med", &a.MED, given(number[uint32](0, math.MaxUint32, "10")))
}

// announcedPrefix is one that others can send to.
func announcedPrefix() want[netip.Prefix] {
	return want[netip.Prefix]{"a prefix", quote("192.0.2.0/24"), func(n *node) (netip.Prefix, *wrong) {
		s, _ := n.value.(string)
		p, err := netip.ParsePrefix(s)
		if err != nil {
			if a, err := netip.ParseAddr(s); err == nil {
				return p, &wrong{why: "no prefix length", eg: quote(netip.PrefixFrom(a, a.BitLen()).String())}
			}
			return p, &wrong{}
		}
		switch use := nobodys(p); {
		case p != p.Masked():
			return p, &wrong{why: "bits set after the prefix length", eg: quote(p.Masked().String())}
		case p.Bits() > 0 && use != "":
			return p, &wrong{why: use}
		}
		return p, nil
	}}
}

// nobodys says what an address range overlaps that no host elsewhere can be sent to.
func nobodys(p netip.Prefix) string {
	if p.Addr().Is4() {
		return address.SpecialUse(p)
	}
	for _, s := range []struct{ prefix, use string }{
		{"::/96", "loopback and unspecified"}, {"::ffff:0:0/96", "IPv4 in IPv6's form"}, {"fe80::/10", "link-local"}, {"ff00::/8", "multicast"},
	} {
		if p.Overlaps(netip.MustParsePrefix(s.prefix)) {
			return "overlaps " + s.prefix + " (" + s.use + ")"
		}
	}
	return ""
}

// checkAnnounces reports announcements that are twice there, and those that would
// lead the sessions' own packets astray: a neighbour that takes the prefix from us
// sends the answers of the peers inside of it to us.
func (r *reader) checkAnnounces(f *rawFile) {
	seen := map[netip.Prefix]*node{}
	for _, p := range f.pools {
		if p.block.ok {
			seen[p.block.v] = p.block.n
		}
	}
	for _, a := range f.bgp.announces {
		if !a.prefix.ok {
			continue
		}
		unique(r, seen, a.prefix.v, a.prefix.n)
		for _, p := range f.pools {
			if p.prefix.ok && p.block.ok && inside(a.prefix.v, p.prefix.v) && !inside(a.prefix.v, p.block.v) && a.prefix.v != p.prefix.v {
				r.conflict(a.prefix.n, "a part of the pool %s that may be another gateway's (%s): expected a prefix in the own block %s, or the whole pool", p.prefix.v, p.prefix.n, p.block.v)
			}
		}
		for _, p := range f.bgp.peers {
			if p.address.ok && a.prefix.v.Contains(p.address.v) {
				r.conflict(a.prefix.n, "contains the peer %s (%s): expected a prefix without hosts of the fabric", p.address.v, p.address.n)
			}
		}
		for _, p := range f.bgp.gateways {
			if p.address.ok && !p.self && a.prefix.v.Contains(p.address.v) {
				r.conflict(a.prefix.n, "contains the gateway %s (%s): expected a prefix without hosts of the fabric", p.address.v, p.address.n)
			}
		}
	}
}

// inside says whether p is a part of another prefix, or the same.
func inside(p, of netip.Prefix) bool { return of.Bits() <= p.Bits() && of.Contains(p.Addr()) }
