package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"netd/containers"
	"netd/netd/internal/api"
	"netd/netd/internal/bgp"
	"netd/netd/internal/pod"
	"netd/netd/internal/route"
)

// view is what the loop publishes; it is never changed afterwards.
type view struct {
	status api.Status
	peers  []api.Peer
	routes func() []api.Route // made when somebody asks, once
	nets   map[string]pod.Pod
	// speaker may be asked for more; nil until there is one.
	speaker *bgp.Speaker
}

// publish makes a new view from the loop's state.
func (d *Daemon) publish() {
	v := &view{speaker: d.speaker, nets: map[string]pod.Pod{}, peers: []api.Peer{}, routes: sync.OnceValue(apiRoutes(d.table.Decisions()))}
	for name, p := range d.podNets {
		v.nets[name] = p
	}
	v.status = api.Status{
		Gateway: d.config.Gateway.Name, Version: d.opts.Version, Started: d.started,
		ConfigFile: d.loaded.file, ConfigProblem: d.loaded.problem,
		AS: d.config.BGP.AS, RouterID: d.config.BGP.RouterID, PodMTU: d.podMTU(),
		Routes: map[string]int{}, Settled: d.settled, Work: d.work, Problems: d.allProblems(), Trial: d.trial.api(), TrialEnded: d.trialEnded,
		Drained: d.orders.Drain, Down: maps.Clone(d.orders.Down),
	}
	// Stage 1 leaves this file when it had to put /data into memory.
	if reason, err := os.ReadFile(filepath.Join(d.opts.RunDir, "data-failed")); err == nil {
		v.status.Problems = append(v.status.Problems, "nothing survives a reboot: "+strings.TrimSpace(string(reason)))
	}
	if !v.status.RouterID.IsValid() {
		v.status.RouterID = d.source
	}
	for _, u := range d.uplinks {
		v.status.Uplinks = append(v.status.Uplinks, api.Uplink{
			Name: u.Name, MAC: u.MAC, MTU: u.MTU, Carrier: u.Carrier, Addresses: u.Addresses, Router: u.Router, Router6: u.Router6, Problem: u.Problem,
		})
	}
	for _, t := range d.tunnels {
		v.status.Tunnels = append(v.status.Tunnels, api.Tunnel{Name: t.Name, Kind: t.Kind, Local: t.Source, MTU: t.MTU})
	}
	d.publishPeers(v)
	for kind, n := range d.table.Decisions().Kinds() {
		v.status.Routes[string(kind)] = n
	}
	d.view.Store(v)
}

// allProblems are those of the last round, those of single uplinks and the store's.
func (d *Daemon) allProblems() []string {
	all := slices.Clone(d.problems)
	for _, u := range d.uplinks {
		if u.Problem != "" {
			all = append(all, fmt.Sprintf("uplink %s: %s", u.Name, u.Problem))
		}
	}
	if err := d.store.Problem(); err != nil {
		all = append(all, err.Error())
	}
	return all
}

// apiRoutes translates a plan, which nobody changes any more.
func apiRoutes(plan *route.Decisions) func() []api.Route {
	return func() []api.Route {
		routes := make([]api.Route, 0, plan.Len())
		for dec := range plan.All() {
			routes = append(routes, apiRoute(dec))
		}
		return routes
	}
}

func apiRoute(dec route.Decision) api.Route {
	r := api.Route{Prefix: dec.Prefix, Reason: dec.Reason}
	if dec.Route != nil {
		r.Kind, r.NextHop, r.Link = string(dec.Route.Kind), dec.Route.NextHop, dec.Route.Link
	}
	for _, c := range dec.Candidates {
		r.Paths = append(r.Paths, api.Path{
			Peer: c.Peer, NextHop: c.NextHop, ASPath: c.ASPath, Kind: string(c.Kind), Chosen: c.Chosen, Stale: c.Stale, Reason: c.Reason,
		})
	}
	return r
}

// gateway answers the API; its calls come from any goroutine.
type gateway struct{ d *Daemon }

// View joins what the loop published with what the containers do.
func (g gateway) View(context.Context) api.View {
	v := g.d.view.Load()
	out := api.View{Status: v.status, Peers: v.peers, Routes: v.routes(), Pods: []api.Pod{}}
	for _, s := range g.d.runtime.Status() {
		p := api.Pod{
			Name: s.Pod, Workload: s.Workload, Image: s.Image, State: string(s.State), PID: s.PID,
			Restarts: s.Restarts, Since: s.Since, Reason: s.Reason, Link: v.nets[s.Pod].Link, Netns: v.nets[s.Pod].Netns,
		}
		p.SetAddresses(s.Addresses)
		if net, ok := v.nets[s.Pod]; ok { // It may have others by now.
			p.SetAddresses(net.Addresses)
		}
		if s.State == containers.StateRunning {
			out.Status.Pods.Up++
		}
		out.Pods = append(out.Pods, p)
	}
	for name, n := range v.nets {
		if !slices.ContainsFunc(out.Pods, func(p api.Pod) bool { return p.Name == name }) {
			out.Pods = append(out.Pods, apiPod(n, "network"))
			out.Status.Pods.Up++
		}
	}
	slices.SortFunc(out.Pods, func(a, b api.Pod) int { return strings.Compare(a.Name, b.Name) })
	out.Status.Pods.Total = len(out.Pods)
	return out
}

func apiPod(n pod.Pod, state string) api.Pod {
	p := api.Pod{Name: n.Name, State: state, Link: n.Link, Netns: n.Netns}
	p.SetAddresses(n.Addresses)
	return p
}

// kernelSays is the kernel's way to an address, in words.
func (d *Daemon) kernelSays(a netip.Addr) string {
	way, err := d.kernel.Lookup(a)
	switch {
	case errors.Is(err, syscall.EINVAL): // The FIB's answer for a blackhole.
		return "dropped by a blackhole route"
	case err != nil:
		return err.Error()
	}
	name := fmt.Sprintf("#%d", way.Link)
	if links, err := d.kernel.Links(); err == nil {
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

// AddPod makes a pod's network without a workload.
func (g gateway) AddPod(ctx context.Context, name string) (api.Pod, error) {
	var p pod.Pod
	err := g.d.do(ctx, func() (err error) {
		if p, err = g.d.addPod(name); err != nil {
			return err
		}
		if err := os.MkdirAll(g.d.handMade(), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(g.d.handMade(), name), nil, 0o600)
	})
	return apiPod(p, "network"), err
}

// RemovePod takes it away; a workload's pod is not removed by hand.
func (g gateway) RemovePod(ctx context.Context, name string) error {
	if !podName.MatchString(name) {
		return fmt.Errorf("pod name %q: expected at most 63 of a-z, 0-9 and -, e.g. web-0", name)
	}
	if slices.ContainsFunc(g.d.runtime.Status(), func(s containers.Status) bool { return s.Pod == name }) {
		return fmt.Errorf("pod %s belongs to a workload: remove it from the configuration", name)
	}
	return g.d.do(ctx, func() error {
		if err := g.d.removePod(name); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(g.d.handMade(), name)); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
}
