package bgp

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/filter"
)

// What is ours nobody tells us: the filters refuse it (own-prefix), so that it is in no
// table. But if somebody announces our block, or a part of it, others send half of our
// pods' packets there, and a person must know.

// Claim is a peer's path to what is ours, from somebody else.
type Claim struct {
	Prefix, Own netip.Prefix
	Peer        string
	NextHop     netip.Addr
	ASPath      []uint32
}

func (c Claim) String() string {
	from := c.Peer
	if len(c.ASPath) > 0 {
		from = fmt.Sprintf("AS %d", c.ASPath[len(c.ASPath)-1])
	}
	what := "as well"
	if c.Prefix != c.Own {
		what = "as " + c.Prefix.String()
	}
	return fmt.Sprintf("%s is this gateway's, and is announced %s by %s (told by %s, next hop %s): a block is one gateway's, and flows are spread over both",
		c.Own, what, from, c.Peer, c.NextHop)
}

// owned are the prefixes no part of which is anybody else's.
func owned(origins []Origin) []netip.Prefix {
	var all []netip.Prefix
	for _, o := range origins {
		if o.Whole {
			all = append(all, o.Prefix)
		}
	}
	return all
}

// mayClaim tells whether prefixes of which something was told may be claims.
func mayClaim(own []netip.Prefix, told map[netip.Prefix]struct{}) bool {
	for p := range told {
		if slices.ContainsFunc(own, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) }) {
			return true
		}
	}
	return false
}

// ours tells whether what a peer tells of ours is what it has from us: our AS or address is
// in it, or it is a prefix that we have told, and a ToR hides whom it has it from.
func ours(c Config, claim Claim, with Session, told bool) bool {
	path := claim.ASPath
	own := func(as uint32) bool {
		return as == c.AS || as == with.LocalAS || slices.ContainsFunc(c.Peers, func(p Peer) bool { return p.LocalAS != 0 && p.LocalAS == as })
	}
	return slices.ContainsFunc(path, own) || told && with.ToR() && (len(path) == 0 || path[len(path)-1] == with.AS) ||
		slices.ContainsFunc(c.Peers, func(p Peer) bool { return p.Local.WithZone("") == claim.NextHop || p.NextHop == claim.NextHop })
}

// claims reads what peers tell of our own.
func (l *life) claims(ctx context.Context, c Config, peers []PeerState) ([]Claim, error) {
	claims, sent := []Claim{}, l.sentNow()
	for _, own := range owned(sent) {
		for _, p := range peers {
			if !p.Established() {
				continue
			}
			_, _, session, known := c.Who(p.Address)
			err := receive(func() (grpc.ServerStreamingClient[api.ListPathResponse], error) {
				return l.client.ListPath(ctx, &api.ListPathRequest{
					TableType: api.TableType_TABLE_TYPE_ADJ_IN, Name: p.Address.String(), Family: gobgp.APIFamily(filter.FamilyOf(own)),
					Prefixes: []*api.TableLookupPrefix{{Prefix: own.String(), Type: api.TableLookupPrefix_TYPE_LONGER}},
				})
			}, func(r *api.ListPathResponse) {
				prefix, err := netip.ParsePrefix(r.GetDestination().GetPrefix())
				if err != nil || !known {
					return
				}
				told := slices.ContainsFunc(sent, func(o Origin) bool { return o.Prefix == prefix })
				for _, path := range r.GetDestination().GetPaths() {
					claim := Claim{
						Prefix: prefix, Own: own, Peer: p.Name, NextHop: gobgp.NextHop(gobgp.Hops(path), path.GetIsFromExternal(), p.Address),
						ASPath: gobgp.Facts(prefix, filter.ByEBGP, path.GetPattrs()).ASPath,
					}
					if !ours(c, claim, session, told) {
						claims = append(claims, claim)
					}
				}
			})
			if err != nil {
				return nil, fmt.Errorf("list what %s tells of %s: %w", p.Name, own, err)
			}
		}
	}
	slices.SortFunc(claims, func(a, b Claim) int {
		return cmp.Or(a.Own.Compare(b.Own), a.Prefix.Compare(b.Prefix), strings.Compare(a.Peer, b.Peer))
	})
	return claims, nil
}
