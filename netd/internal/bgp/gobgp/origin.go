package gobgp

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"

	"github.com/osrg/gobgp/v4/api"

	"netd/netd/internal/filter"
)

// Origin is a prefix that we announce as our own.
type Origin struct {
	Prefix netip.Prefix
	// Whole: no part of it is anybody else's.
	Whole       bool
	Communities []filter.Community
	Large       []filter.LargeCommunity
	// MED is nil for none.
	MED *uint32
}

// Prefixes are origins without communities, no part of which is anybody else's.
func Prefixes(ps ...netip.Prefix) []Origin {
	var list []Origin
	for _, p := range ps {
		list = append(list, Origin{Prefix: p, Whole: true})
	}
	return list
}

func (o Origin) Equal(other Origin) bool { return reflect.DeepEqual(o, other) }

// OwnRanges are what nobody else may tell us.
func OwnRanges(origins []Origin) []filter.Range {
	var rs []filter.Range
	for _, o := range origins {
		if o.Whole {
			rs = append(rs, filter.Within(o.Prefix))
		} else {
			rs = append(rs, filter.Exactly(o.Prefix))
		}
	}
	slices.SortFunc(rs, func(a, b filter.Range) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return rs
}

// APIPath is an origin as we announce it: GoBGP puts the session's own address in the
// place of the zero next hop.
func (o Origin) APIPath() *api.Path {
	nlri := &api.NLRI{Nlri: &api.NLRI_Prefix{Prefix: &api.IPAddressPrefix{Prefix: o.Prefix.Addr().String(), PrefixLen: uint32(o.Prefix.Bits())}}}
	path := &api.Path{Family: ipv4(), Nlri: nlri, Pattrs: []*api.Attribute{{Attr: &api.Attribute_Origin{Origin: &api.OriginAttribute{Origin: 0}}}}}
	next := &api.Attribute{Attr: &api.Attribute_NextHop{NextHop: &api.NextHopAttribute{NextHop: "0.0.0.0"}}}
	if o.Prefix.Addr().Is6() {
		path.Family = ipv6()
		next = &api.Attribute{Attr: &api.Attribute_MpReach{MpReach: &api.MpReachNLRIAttribute{
			Family: ipv6(), NextHops: []string{"::"}, Nlris: []*api.NLRI{nlri},
		}}}
	}
	path.Pattrs = append(append(path.Pattrs, next), CommunityAttributes(o.Communities, o.Large)...)
	if o.MED != nil {
		path.Pattrs = append(path.Pattrs, &api.Attribute{Attr: &api.Attribute_MultiExitDisc{MultiExitDisc: &api.MultiExitDiscAttribute{Med: *o.MED}}})
	}
	return path
}

// Facts is what a peer's export filters look at: our AS is in front then.
func (o Origin) Facts(p filter.Peer) filter.Path {
	f := filter.Path{
		Prefix: o.Prefix, Source: filter.Own, Communities: o.Communities, Large: o.Large, MED: o.MED, LocalPref: filter.DefaultLocalPref,
	}
	if p.Session == filter.External {
		f.ASPath = []uint32{p.LocalAS}
	}
	return f
}

// CommunityAttributes are the two attributes of communities, as far as there are any.
func CommunityAttributes(communities []filter.Community, large []filter.LargeCommunity) []*api.Attribute {
	var list []*api.Attribute
	if communities != nil {
		a := &api.CommunitiesAttribute{}
		for _, c := range communities {
			a.Communities = append(a.Communities, uint32(c))
		}
		list = append(list, &api.Attribute{Attr: &api.Attribute_Communities{Communities: a}})
	}
	if large != nil {
		a := &api.LargeCommunitiesAttribute{}
		for _, c := range large {
			a.Communities = append(a.Communities, &api.LargeCommunity{GlobalAdmin: c[0], LocalData1: c[1], LocalData2: c[2]})
		}
		list = append(list, &api.Attribute{Attr: &api.Attribute_LargeCommunities{LargeCommunities: a}})
	}
	return list
}

// Facts is a path as filters see it, of attributes as GoBGP has them.
func Facts(prefix netip.Prefix, from filter.Source, attributes []*api.Attribute) filter.Path {
	p := filter.Path{Prefix: prefix, Source: from, LocalPref: filter.DefaultLocalPref}
	for _, a := range attributes {
		switch {
		case a.GetLocalPref() != nil:
			p.LocalPref = a.GetLocalPref().GetLocalPref()
		case a.GetMultiExitDisc() != nil:
			med := a.GetMultiExitDisc().GetMed()
			p.MED = &med
		case a.GetAsPath() != nil:
			for _, seg := range a.GetAsPath().GetSegments() {
				p.ASPath = append(p.ASPath, seg.GetNumbers()...)
				p.NoSequence = p.NoSequence || seg.GetType() != api.AsSegment_TYPE_AS_SEQUENCE
			}
		case a.GetCommunities() != nil:
			for _, c := range a.GetCommunities().GetCommunities() {
				p.Communities = append(p.Communities, filter.Community(c))
			}
		case a.GetLargeCommunities() != nil:
			for _, c := range a.GetLargeCommunities().GetCommunities() {
				p.Large = append(p.Large, filter.LargeCommunity{c.GetGlobalAdmin(), c.GetLocalData1(), c.GetLocalData2()})
			}
		}
	}
	return p
}
