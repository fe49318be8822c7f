package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"netd/netd/internal/rtnl"
)

// Protocol is our number in rtnetlink's rtm_protocol: it marks the routes that
// are ours (120 is taken by no one in iproute2's rt_protos).
const Protocol = 120

// Metric of all our routes. It keeps them apart from what others add with
// theirs (a person's ip route add has 0, the kernel's connected routes too).
const Metric = 120

// FIB is what Apply needs of the kernel.
type FIB interface {
	Links() ([]rtnl.Link, error)
	Routes(protocol int) ([]rtnl.Route, error)
	ReplaceRoute(rtnl.Route) error
	DeleteRoute(rtnl.Route) error
}

// Result counts what Apply did.
type Result struct {
	Added, Replaced, Deleted int
	// Held are routes of ours that are not planned, or planned otherwise, and
	// were left alone because of Options.Hold.
	Held int
}

// Changed tells whether anything was done.
func (r Result) Changed() bool { return r.Added+r.Replaced+r.Deleted > 0 }

// Options of Apply.
type Options struct {
	// Hold leaves in place the learned routes that are in the kernel already,
	// as long as their link has carrier: the plan is known to be incomplete
	// (peers have not told all yet), and what was true before still carries.
	Hold bool
	// Lost are next hops that are known to be dead: their routes are not held.
	Lost []netip.Addr
}

// Apply makes the kernel's routes of our protocol the planned ones. A route that
// the kernel refuses is an error that names it and does not stop the others; if
// the kernel could not be read, nothing is changed.
func Apply(fib FIB, plan []Decision, o Options) (Result, error) {
	var res Result
	links, err := fib.Links()
	if err != nil {
		return res, err
	}
	have, err := fib.Routes(Protocol)
	if err != nil {
		return res, err
	}
	index, carrier := map[string]int{}, map[int]bool{}
	for _, l := range links {
		index[l.Name], carrier[l.Index] = l.Index, l.Carrier
	}
	installed := map[netip.Prefix][]rtnl.Route{}
	for _, r := range have {
		installed[r.Prefix] = append(installed[r.Prefix], r)
	}
	held := func(r rtnl.Route) bool {
		return o.Hold && r.Gateway.IsValid() && carrier[r.Link] && !slices.Contains(o.Lost, r.Gateway)
	}

	var errs []error
	planned := map[netip.Prefix]bool{}
	for _, d := range plan {
		if d.Route == nil {
			continue
		}
		want, err := kernelRoute(*d.Route, index)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		planned[want.Prefix] = true
		switch was := find(installed[want.Prefix]); {
		case was == nil:
			res.Added++
		case *was == want:
			continue
		case held(*was):
			res.Held++
			continue
		default:
			res.Replaced++
		}
		errs = append(errs, fib.ReplaceRoute(want))
	}
	for _, r := range have {
		switch {
		case planned[r.Prefix] && r.Metric == Metric:
		case held(r):
			res.Held++
		default:
			res.Deleted++
			errs = append(errs, fib.DeleteRoute(r))
		}
	}
	return res, errors.Join(errs...)
}

// find returns the route that a replacement would take the place of.
func find(routes []rtnl.Route) *rtnl.Route {
	for i := range routes {
		if routes[i].Metric == Metric {
			return &routes[i]
		}
	}
	return nil
}

func kernelRoute(r Route, index map[string]int) (rtnl.Route, error) {
	k := rtnl.Route{
		Prefix: r.Prefix, Blackhole: r.Kind == Blackhole, Gateway: r.NextHop,
		Onlink: r.Kind == IPIP, Source: r.Source, Protocol: Protocol, Metric: Metric,
	}
	if k.Blackhole {
		return k, nil
	}
	if k.Link = index[r.Link]; k.Link == 0 {
		return k, fmt.Errorf("route %s via %s: there is no link %s", r.Prefix, r.NextHop, r.Link)
	}
	return k, nil
}
