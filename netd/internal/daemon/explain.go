package daemon

import (
	"context"
	"net/netip"

	"netd/netd/internal/api"
	"netd/netd/internal/bgp"
	"netd/netd/internal/route"
)

// Explain finds our decision, asks the kernel what it really does, and says what the
// filters made of what peers told.
func (g gateway) Explain(ctx context.Context, p netip.Prefix) (api.Explanation, error) {
	e := api.Explanation{Query: p}
	var speaker *bgp.Speaker
	err := g.d.do(ctx, func() error {
		if dec := route.Covering(g.d.table.Decisions(), p); dec != nil {
			r := apiRoute(*dec)
			e.Route = &r
		}
		e.Kernel = g.d.kernelSays(p.Addr())
		speaker = g.d.speaker
		return nil
	})
	if err != nil || speaker == nil {
		return e, err
	}
	received, told, err := speaker.Explain(ctx, p)
	if err != nil {
		e.Problem = err.Error()
		return e, nil
	}
	e.Received, e.Told = apiFiltered(received), apiFiltered(told)
	return e, nil
}

func apiFiltered(list []bgp.Filtered) []api.Filtered {
	var out []api.Filtered
	for _, f := range list {
		p := api.Filtered{
			Peer: f.Peer, Prefix: f.Path.Prefix, NextHop: f.NextHop, ASPath: f.Path.ASPath, Accepted: f.Accepted, Rule: f.Rule,
		}
		for _, c := range f.Path.Communities {
			p.Communities = append(p.Communities, c.String())
		}
		for _, c := range f.Path.Large {
			p.Communities = append(p.Communities, c.String())
		}
		for _, c := range f.Changes {
			p.Changes = append(p.Changes, api.RuleChange{Rule: c.Rule, Change: c.Set.String()})
		}
		out = append(out, p)
	}
	return out
}
