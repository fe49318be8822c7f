package bgp

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/filter"
)

// Filtered is a path, and what a peer's filters make of it.
type Filtered struct {
	Peer    string
	NextHop netip.Addr // of a path that was told to us
	// Path is as it came.
	Path filter.Path
	filter.Outcome
}

// Explain says of all prefixes that cover p what peers have told, and what became of
// it; and what of ours that covers p or is inside of it peers are told.
func (s *Speaker) Explain(ctx context.Context, p netip.Prefix) (received, advertised []Filtered, err error) {
	l, err := s.alive()
	if err != nil {
		return nil, nil, err
	}
	client, c, own, sent := l.client, s.wantedNow().Config, l.ownNow(), l.sentNow()
	all := c.Neighbors(own)
	var sessions []*api.Peer
	err = receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
		return client.ListPeer(ctx, &api.ListPeerRequest{})
	}, func(r *api.ListPeerResponse) { sessions = append(sessions, r.GetPeer()) })
	if err != nil {
		return nil, nil, fmt.Errorf("list peers: %w", err)
	}
	for _, session := range sessions {
		a, err := netip.ParseAddr(session.GetState().GetNeighborAddress())
		if err != nil {
			continue
		}
		name, in, with, ok := c.Who(a)
		if !ok {
			continue
		}
		steps := gobgp.Find(all, a)
		list, err := covering(ctx, client, a, p)
		if err != nil {
			return nil, nil, fmt.Errorf("list what %s has told: %w", name, err)
		}
		for _, f := range list {
			f.Peer, f.Outcome = name, filter.Evaluate(steps.Imports, f.Path)
			received = append(received, f)
		}
		if session.GetState().GetSessionState() != api.PeerState_SESSION_STATE_ESTABLISHED {
			continue
		}
		for _, o := range sent {
			if o.Prefix.Overlaps(p) {
				path := o.Facts(c.FilterPeer(gobgp.Configured(name, in), with))
				advertised = append(advertised, Filtered{Peer: name, Path: path, Outcome: filter.Evaluate(steps.Exports, path)})
			}
		}
	}
	for _, list := range [][]Filtered{received, advertised} {
		slices.SortStableFunc(list, func(a, b Filtered) int {
			return cmp.Or(cmp.Compare(b.Path.Prefix.Bits(), a.Path.Prefix.Bits()), a.Path.Prefix.Addr().Compare(b.Path.Prefix.Addr()), cmp.Compare(a.Peer, b.Peer))
		})
	}
	return received, advertised, nil
}

// covering reads what a peer has told of p and all that covers it, as it was before any
// filter. (With enable_filtered GoBGP would write the filtered paths over these.)
func covering(ctx context.Context, client api.GoBgpServiceClient, peer netip.Addr, p netip.Prefix) ([]Filtered, error) {
	var list []Filtered
	err := receive(func() (grpc.ServerStreamingClient[api.ListPathResponse], error) {
		return client.ListPath(ctx, &api.ListPathRequest{
			TableType: api.TableType_TABLE_TYPE_ADJ_IN, Name: peer.String(), Family: gobgp.APIFamily(filter.FamilyOf(p)),
			Prefixes: []*api.TableLookupPrefix{{Prefix: p.Masked().String(), Type: api.TableLookupPrefix_TYPE_SHORTER}},
		})
	}, func(r *api.ListPathResponse) {
		prefix, err := netip.ParsePrefix(r.GetDestination().GetPrefix())
		if err != nil {
			return
		}
		for _, path := range r.GetDestination().GetPaths() {
			from := filter.ByIBGP
			if path.GetIsFromExternal() {
				from = filter.ByEBGP
			}
			list = append(list, Filtered{NextHop: gobgp.NextHop(gobgp.Hops(path), path.GetIsFromExternal(), peer), Path: gobgp.Facts(prefix, from, path.GetPattrs())})
		}
	})
	return list, err
}
