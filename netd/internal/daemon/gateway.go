package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"netd/containers"
	"netd/netd/internal/api"
	"netd/netd/internal/metrics"
	"netd/netd/internal/pod"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
)

// detailTimeout bounds a question for what the speaker has to count or to look for.
const detailTimeout = 3 * time.Second

// gateway answers the API, in goroutines of the API's: questions from the board, so that
// none waits for the loop; what changes something is a job of the loop.
type gateway struct{ d *Daemon }

// View joins what the loop published with what the containers do.
func (g gateway) View(ctx context.Context, after uint64) api.View {
	v := g.d.board.view()
	if after > 0 {
		v = g.d.board.after(ctx, after)
	}
	return g.join(v)
}

func (g gateway) join(v *view) api.View {
	out := api.View{Status: v.status, Peers: v.peers, Routes: v.routes, Pods: []api.Pod{}}
	out.Status.Revision = v.revision
	if still := g.d.loop.problem(); still != "" {
		out.Status.Problems = append([]string{still}, out.Status.Problems...)
	}
	for _, s := range g.d.runtime.Status() {
		p := api.Pod{
			Name: s.Pod, Workload: s.Workload, Image: s.Image, State: string(s.State), PID: s.PID,
			Restarts: s.Restarts, Since: s.Since, Reason: s.Reason, Link: v.pods[s.Pod].Link, Netns: v.pods[s.Pod].Netns,
		}
		p.SetAddresses(s.Addresses)
		if net, ok := v.pods[s.Pod]; ok { // It may have others by now.
			p.SetAddresses(net.Addresses)
		}
		if s.State == containers.StateRunning || s.State == containers.StateCompleted {
			out.Status.Pods.Up++
		}
		out.Pods = append(out.Pods, p)
	}
	for name, n := range v.pods {
		if !slices.ContainsFunc(out.Pods, func(p api.Pod) bool { return p.Name == name }) {
			out.Pods = append(out.Pods, apiPod(n, "network"))
			out.Status.Pods.Up++
		}
	}
	slices.SortFunc(out.Pods, func(a, b api.Pod) int { return strings.Compare(a.Name, b.Name) })
	out.Status.Pods.Total = len(out.Pods)
	return out
}

// Peers are the view's, with what the speaker is asked for.
func (g gateway) Peers(ctx context.Context) []api.Peer {
	v := g.d.board.view()
	peers := slices.Clone(v.peers)
	if v.speaker == nil {
		return peers
	}
	ctx, cancel := context.WithTimeout(ctx, detailTimeout)
	defer cancel()
	details, err := v.speaker.Details(ctx)
	if err != nil { // It is away, or busy: the rest is still true.
		g.d.opts.Log.Debug("details of sessions", "err", err)
		return peers
	}
	for i, p := range peers {
		detail, ok := details[p.Address]
		if !ok || p.State != established || len(detail.Families) == 0 {
			continue
		}
		peers[i].Sent = detail.Sent()
		peers[i].Session = apiSession(detail, v.accepted[p.Name])
	}
	return peers
}

// Explain finds our decision, asks the kernel what it really does, and says what the
// filters made of what peers told.
func (g gateway) Explain(ctx context.Context, p netip.Prefix) (api.Explanation, error) {
	e, v := api.Explanation{Query: p}, g.d.board.view()
	if d := route.Covering(v.decisions, p); d != nil {
		r := apiRoute(*d)
		e.Route = &r
	}
	kernel, err := rtnl.Open()
	if err != nil {
		return e, err
	}
	defer kernel.Close()
	e.Kernel = kernelSays(kernel, p.Addr())
	if v.speaker == nil {
		return e, nil
	}
	ctx, cancel := context.WithTimeout(ctx, detailTimeout)
	defer cancel()
	received, advertised, err := v.speaker.Explain(ctx, p)
	if err != nil {
		e.Problem = err.Error()
		return e, nil
	}
	e.Received, e.Told = apiFiltered(received), apiFiltered(advertised)
	return e, nil
}

// AddPod makes a pod's network without a workload.
func (g gateway) AddPod(ctx context.Context, name string) (api.Pod, error) {
	p, err := g.d.pods.add(ctx, name, pod.ByHand)
	if err == nil {
		err = g.d.pods.remember(ctx, name)
	}
	return apiPod(p, "network"), err
}

// RemovePod takes it away; a workload's pod is not removed by hand.
func (g gateway) RemovePod(ctx context.Context, name string) error {
	if err := checkPodName(name); err != nil {
		return err
	}
	if slices.ContainsFunc(g.d.runtime.Status(), func(s containers.Status) bool { return s.Pod == name }) {
		return fmt.Errorf("pod %s belongs to a workload: remove it from the configuration", name)
	}
	if err := g.d.pods.remove(ctx, name); err != nil {
		return err
	}
	return g.d.pods.forget(ctx, name)
}

// scrape gathers what Prometheus sees at this moment.
func (g gateway) scrape(ctx context.Context) metrics.Facts {
	v := g.View(ctx, 0)
	f := metrics.Facts{
		Routes: v.Status.Routes, Pods: map[string]int{}, Problems: len(v.Status.Problems), Repairs: v.Status.Repairs.Count(), OnTrial: v.Status.Trial != nil, Drained: v.Status.Drained,
	}
	for _, p := range v.Pods {
		f.Pods[p.State]++
	}
	for _, p := range g.Peers(ctx) {
		m := metrics.Peer{
			Name: p.Name, Kind: p.Kind, Established: p.State == established, Since: p.Since, Flaps: p.Flaps,
			Received: p.Received, Accepted: p.Accepted, Sent: p.Sent,
		}
		if p.BFD != nil {
			m.BFD = &metrics.BFD{Up: p.BFD.State == "Up", Flaps: uint64(p.BFD.Flaps), Detect: time.Duration(p.BFD.DetectMS) * time.Millisecond}
		}
		f.Peers = append(f.Peers, m)
	}
	if s := g.d.board.view().speaker; s != nil {
		process := s.Process()
		f.SpeakerLives, f.SpeakerMemory = process.Lives, residentMemory(process.PID)
	}
	return f
}

// problems are those of the last round, those of single links, and what was wrong from
// the start.
func (d *Daemon) problems() []string {
	all := slices.Clone(d.health.problems)
	for _, u := range d.uplinks.states {
		if u.Problem != "" {
			all = append(all, fmt.Sprintf("uplink %s: %s", u.Name, u.Problem))
		}
	}
	for _, l := range d.uplinks.lans {
		if l.Problem != "" {
			all = append(all, fmt.Sprintf("LAN %s: %s", l.Name, l.Problem))
		}
	}
	for _, p := range d.sessions.peers {
		if why := d.sessions.missing(p); why != "" {
			all = append(all, fmt.Sprintf("peer %s %s", p.Name, why))
		}
	}
	return slices.Concat(all, d.health.fought(time.Now()), d.health.lasting)
}
