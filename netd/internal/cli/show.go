package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"netd/netd/internal/api"
)

func status(ctx context.Context, c *call) error {
	if err := c.parse(0, 0); err != nil {
		return err
	}
	var s api.Status
	if err := c.agent.Get(ctx, "/v1/status", &s); err != nil {
		return err
	}
	return c.show(s, func() { printStatus(c.Out, s) })
}

func printStatus(out io.Writer, s api.Status) {
	fmt.Fprintf(out, "gateway  %s, AS %d, router id %s\n", s.Gateway, s.AS, s.RouterID)
	fmt.Fprintf(out, "netd     %s, up %s, configuration %s\n", s.Version, ago(s.Started), s.ConfigFile)
	if s.Trial != nil {
		fmt.Fprintf(out, "trial    %s is on trial for another %s: netd confirm keeps it\n", s.Trial.File, left(*s.Trial))
	}
	if s.TrialEnded != "" {
		fmt.Fprintf(out, "trial    %s\n", s.TrialEnded)
	}
	if s.Drained {
		fmt.Fprintln(out, "drained  peers are asked to use other gateways; netd drain --undo ends that")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Down)) {
		said := "without a word"
		if s.Down[name] != "" {
			said = strconv.Quote(s.Down[name])
		}
		fmt.Fprintf(out, "down     %s, by hand: %s; netd peer up %[1]s ends that\n", name, said)
	}
	for _, u := range s.Uplinks {
		fmt.Fprintf(out, "uplink   %s %s, MTU %d, %s\n", u.Name, join(u.Addresses), u.MTU, carrier(u.Carrier))
	}
	for _, l := range s.LANs {
		fmt.Fprintf(out, "lan      %s %s, MTU %d, %s\n", l.Name, join(l.Addresses), l.MTU, carrier(l.Carrier))
	}
	for _, t := range s.Tunnels {
		fmt.Fprintf(out, "tunnel   %s local %s, MTU %d\n", t.Name, t.Local, t.MTU)
	}
	fmt.Fprintf(out, "peers    %d of %d established\n", s.Peers.Up, s.Peers.Total)
	kinds := make([]string, 0, len(s.Routes))
	for kind, n := range s.Routes {
		kinds = append(kinds, fmt.Sprintf("%d %s", n, kind))
	}
	slices.Sort(kinds)
	settled := ""
	if !s.Settled && s.AS != 0 {
		settled = " (peers have not told all yet; learned routes of before are kept)"
	}
	fmt.Fprintf(out, "routes   %s%s\n", strings.Join(kinds, ", "), settled)
	fmt.Fprintf(out, "pods     %d of %d up, MTU %d\n", s.Pods.Up, s.Pods.Total, s.PodMTU)
	if s.ConfigProblem != "" {
		fmt.Fprintf(out, "PROBLEM  not the first choice of configuration, because:\n%s\n", s.ConfigProblem)
	}
	if r := s.Repairs; r != nil {
		fmt.Fprintf(out, "repairs  %d since the agent's start, the last %s ago: %s\n", r.Times, ago(r.Last), r.What)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(out, "PROBLEM  %s\n", p)
	}
}

func carrier(has bool) string {
	if has {
		return "carrier"
	}
	return "no carrier"
}

func join(addresses []netip.Prefix) string {
	if len(addresses) == 0 {
		return "without address"
	}
	var s []string
	for _, a := range addresses {
		s = append(s, a.String())
	}
	return strings.Join(s, " ")
}

// ago is a time span to the second, or "-" for a time that never was.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return max(time.Since(t), 0).Round(time.Second).String()
}

func table(out io.Writer, rows ...string) *tabwriter.Writer {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(rows, "\t"))
	return w
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

func addrs(list []netip.Addr) string { return strings.Trim(fmt.Sprint(list), "[]") }

// bfdState is BFD in a word, and how soon it would notice.
func bfdState(b *api.BFD) string {
	switch {
	case b == nil:
		return "-"
	case b.Lost:
		return "LOST"
	case b.State == "Up":
		return fmt.Sprintf("Up %dms", b.DetectMS)
	}
	return b.State
}

func pods(ctx context.Context, c *call) error {
	if err := c.parse(0, 0); err != nil {
		return err
	}
	var list []api.Pod
	if err := c.agent.Get(ctx, "/v1/pods", &list); err != nil {
		return err
	}
	return c.show(list, func() {
		w := table(c.Out, "POD", "STATE", "ADDRESSES", "SINCE", "RESTARTS", "IMAGE", "LINK", "REASON")
		for _, p := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n",
				p.Name, p.State, dash(addrs(p.Addresses)), ago(p.Since), p.Restarts, dash(p.Image), dash(p.Link), dash(p.Reason))
		}
		_ = w.Flush()
	})
}

func explain(ctx context.Context, c *call) error {
	if err := c.parse(1, 1); err != nil {
		return err
	}
	if _, err := api.ParseQuery(c.args[0]); err != nil {
		return err
	}
	e, err := c.agent.Explain(ctx, c.args[0])
	if err != nil {
		return err
	}
	return c.show(e, func() { printExplanation(c.Out, e) })
}

func printExplanation(out io.Writer, e api.Explanation) {
	defer printFiltered(out, e)
	defer fmt.Fprintf(out, "kernel: %s\n", e.Kernel)
	if e.Route == nil {
		fmt.Fprintf(out, "%s: no prefix that netd knows covers it\n", e.Query)
		return
	}
	r := e.Route
	switch {
	case r.Kind == "":
		fmt.Fprintf(out, "%s: %s\n", r.Prefix, r.Reason)
	case r.NextHop.IsValid():
		fmt.Fprintf(out, "%s: %s via %s dev %s, because %s\n", r.Prefix, r.Kind, r.NextHop, r.Link, r.Reason)
	default:
		fmt.Fprintf(out, "%s: %s, because %s\n", r.Prefix, strings.TrimSpace(r.Kind+" "+r.Link), r.Reason)
	}
	for _, p := range r.Paths {
		mark := "  "
		if p.Chosen {
			mark = "* "
		}
		stale := ""
		if p.Stale {
			stale = ", stale: its peer is restarting"
		}
		fmt.Fprintf(out, "%sfrom %s, next hop %s, AS path %v%s: %s\n", mark, p.Peer, p.NextHop, p.ASPath, stale, p.Reason)
	}
}

func podVerb(ctx context.Context, c *call) error {
	if err := c.parse(2, 2); err != nil {
		return err
	}
	switch name := c.args[1]; c.args[0] {
	case "add":
		p, err := c.agent.AddPod(ctx, name)
		if err != nil {
			return err
		}
		return c.show(p, func() { fmt.Fprintf(c.Out, "%s %s dev %s netns %s\n", p.Name, addrs(p.Addresses), p.Link, p.Netns) })
	case "del":
		var list []api.Pod
		if err := c.agent.Get(ctx, "/v1/pods", &list); err != nil {
			return err
		}
		if !slices.ContainsFunc(list, func(p api.Pod) bool { return p.Name == name }) {
			all := make([]string, len(list))
			for i, p := range list {
				all[i] = p.Name
			}
			return unknown("pod", name, all)
		}
		if err := c.agent.RemovePod(ctx, name); err != nil {
			return err
		}
		return c.done(fmt.Sprintf("pod %s has no network any more", name))
	}
	c.flags.Usage()
	return ErrUsage
}

func metrics(ctx context.Context, c *call) error {
	if err := c.parse(0, 0); err != nil {
		return err
	}
	if c.json {
		return errors.New("--json: the metrics are in Prometheus' text format only; netd status --json has the same facts")
	}
	text, err := c.agent.Metrics(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(c.Out, text)
	return err
}
