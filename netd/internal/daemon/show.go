package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"netd/netd/internal/api"
	"netd/netd/internal/bgp"
	"netd/netd/internal/intent"
	"netd/netd/internal/pod"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
)

// How the parts' states look in the API.

// established is the state of a session that is up.
const established = "Established"

// show is the sessions as they are, and those that nobody answers for yet.
func (s *sessions) show(want intent.Sessions, accepted map[string]route.Count) []api.Peer {
	peers := make([]api.Peer, 0, len(s.peers)+len(want.Unheard))
	for _, p := range s.peers {
		about := want.About[p.Name]
		if p.Range != "" {
			about = want.Ranges[p.Range]
		}
		peers = append(peers, api.Peer{
			Name: p.Name, Address: p.Address, AS: p.AS, Kind: about.Kind, State: p.State, Since: p.Since, Reason: p.Reason,
			Received: p.Received, Accepted: uint64(accepted[p.Name].IPv4 + accepted[p.Name].IPv6), Sent: p.Sent, BFD: s.showBFD(p.Name), Flaps: s.flaps[p.Name],
			Description: p.Description, Shutdown: p.Shutdown, Warning: p.Warning, Options: about.Options,
		})
	}
	for _, p := range want.Unheard {
		about := want.About[p.Name]
		peers = append(peers, api.Peer{
			Name: p.Name, AS: about.AS, Kind: about.Kind, State: "Idle", Description: about.Description, Shutdown: about.InFile,
			Reason: "no router advertisement was heard on " + p.Interface, Options: about.Options,
		})
	}
	return peers
}

func (s *sessions) showBFD(peer string) *api.BFD {
	for _, p := range s.paths {
		if p.Peer == peer {
			return &api.BFD{
				State: p.State.String(), Since: p.Since, Lost: !p.Failed.IsZero(), Reason: p.Reason, Multihop: p.Multihop,
				RemoteState: p.RemoteState.String(), TransmitMS: p.Transmit.Milliseconds(), DetectMS: p.Detect.Milliseconds(), Flaps: p.Flaps,
			}
		}
	}
	return nil
}

func apiSession(d bgp.Detail, accepted route.Count) *api.Session {
	s := &api.Session{
		Local: d.Local, RouterID: d.RouterID, HoldTime: int(d.HoldTime.Seconds()), Keepalive: int(d.Keepalive.Seconds()),
		Capabilities: d.Capabilities, MessagesIn: d.MessagesIn, MessagesOut: d.MessagesOut,
	}
	for _, f := range d.Families {
		n := accepted.IPv4
		if f.IPv6 {
			n = accepted.IPv6
		}
		s.Families = append(s.Families, api.FamilyCount{Family: f.Family, Received: f.Received, Accepted: uint64(n), Sent: f.Sent})
	}
	slices.SortFunc(s.Families, func(a, b api.FamilyCount) int { return cmp.Compare(a.Family, b.Family) })
	return s
}

// apiRoutes are a plan's decisions.
func apiRoutes(all *route.Decisions) []api.Route {
	routes := make([]api.Route, 0, all.Len())
	for d := range all.All() {
		routes = append(routes, apiRoute(d))
	}
	return routes
}

func apiRoute(d route.Decision) api.Route {
	r := api.Route{Prefix: d.Prefix, Reason: d.Reason}
	if d.Route != nil {
		r.Kind, r.NextHop, r.Link = string(d.Route.Kind), d.Route.NextHop, d.Route.Link
	}
	for _, c := range d.Candidates {
		r.Paths = append(r.Paths, api.Path{
			Peer: c.Peer, NextHop: c.NextHop, ASPath: c.ASPath, Kind: string(c.Kind), Chosen: c.Chosen, Stale: c.Stale, Reason: c.Reason,
		})
	}
	return r
}

func apiPod(p pod.Pod, state string) api.Pod {
	a := api.Pod{Name: p.Name, State: state, Link: p.Link, Netns: p.Netns}
	a.SetAddresses(p.Addresses)
	return a
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

// kernelSays is the kernel's way to an address, in words.
func kernelSays(kernel *rtnl.Conn, a netip.Addr) string {
	way, err := kernel.Lookup(a)
	switch {
	case errors.Is(err, syscall.EINVAL): // The FIB's answer for a blackhole.
		return "dropped by a blackhole route"
	case err != nil:
		return err.Error()
	}
	name := fmt.Sprintf("#%d", way.Link)
	if links, err := kernel.Links(); err == nil {
		for _, l := range links {
			if l.Index == way.Link {
				name = l.Name
			}
		}
	}
	if name == "lo" {
		return "an address of this gateway"
	}
	via := "directly"
	if way.Gateway.IsValid() {
		via = "via " + way.Gateway.String()
	}
	if !way.Source.IsValid() { // There is no address to send from.
		return fmt.Sprintf("%s dev %s", via, name)
	}
	return fmt.Sprintf("%s dev %s src %s", via, name, way.Source)
}
