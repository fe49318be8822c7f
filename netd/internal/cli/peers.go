package cli

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"netd/netd/internal/api"
)

func peers(ctx context.Context, c *call) error {
	if err := c.parse(0, 1); err != nil {
		return err
	}
	var list []api.Peer
	if err := c.agent.Get(ctx, "/v1/peers", &list); err != nil {
		return err
	}
	if len(c.args) == 0 {
		return c.show(list, func() { printPeers(c.Out, list) })
	}
	i := slices.IndexFunc(list, func(p api.Peer) bool { return p.Name == c.args[0] || p.Address.String() == c.args[0] })
	if i < 0 {
		return unknown("peer", c.args[0], names(list))
	}
	return c.show(list[i], func() { printPeer(c.Out, list[i]) })
}

func names(list []api.Peer) []string {
	all := make([]string, len(list))
	for i, p := range list {
		all[i] = p.Name
	}
	return all
}

// unknown is the error of a name that nothing has.
func unknown(what, name string, known []string) error {
	if len(known) == 0 {
		return fmt.Errorf("no %s %s: there is none", what, name)
	}
	return fmt.Errorf("no %s %s: expected one of %s", what, name, strings.Join(known, ", "))
}

func printPeers(out io.Writer, list []api.Peer) {
	w := table(out, "PEER", "KIND", "ADDRESS", "AS", "STATE", "SINCE", "FLAPS", "RECEIVED", "ACCEPTED", "SENT", "BFD", "LAST LOSS")
	for _, p := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", p.Name, p.Kind, p.Address, p.AS, state(p), ago(p.Since), p.Flaps,
			p.Received, p.Accepted, p.Sent, bfdState(p.BFD), dash(p.Reason))
	}
	_ = w.Flush()
}

// state is BGP's, or that there is to be none.
func state(p api.Peer) string {
	if p.Shutdown && p.State != "Established" {
		return "Shutdown"
	}
	return p.State
}

func printPeer(out io.Writer, p api.Peer) {
	line := func(key, format string, args ...any) {
		fmt.Fprintf(out, "%-13s %s\n", key, fmt.Sprintf(format, args...))
	}
	line("peer", "%s, %s %s, AS %d", p.Name, p.Kind, p.Address, p.AS)
	if p.Description != "" {
		line("description", "%s", p.Description)
	}
	line("state", "%s since %s, lost %d times", state(p), ago(p.Since), p.Flaps)
	if p.Reason != "" {
		line("last loss", "%s", p.Reason)
	}
	if p.Warning != "" {
		line("WARNING", "%s", p.Warning)
	}
	if s := p.Session; s != nil {
		line("session", "from %s to router id %s, hold time %ds, keepalive %ds", s.Local, s.RouterID, s.HoldTime, s.Keepalive)
		for _, f := range s.Families {
			line(f.Family, "%d received, %d accepted, %d sent", f.Received, f.Accepted, f.Sent)
		}
		line("messages", "%d in, %d out", s.MessagesIn, s.MessagesOut)
		line("peer can", "%s", strings.Join(s.Capabilities, ", "))
	}
	if b := p.BFD; b != nil {
		hops := "single-hop"
		if b.Multihop {
			hops = "multihop"
		}
		line("BFD", "%s since %s, %s, sends each %dms, notices silence of %dms, peer says %s, lost %d times",
			bfdState(b), ago(b.Since), hops, b.TransmitMS, b.DetectMS, b.RemoteState, b.Flaps)
		if b.Reason != "" {
			line("BFD's reason", "%s", b.Reason)
		}
	}
	for _, o := range p.Options {
		line("option", "%s", o)
	}
}

func routes(ctx context.Context, c *call) error {
	within := c.flags.String("prefix", "", "only `P` (an address or prefix), what is inside of it, and what covers it")
	kind := c.flags.String("kind", "", "only routes of this `kind`; none: prefixes without a route")
	peer := c.flags.String("peer", "", "only prefixes to which the peer of this `name` offers a path")
	if err := c.parse(0, 0); err != nil {
		return err
	}
	var of netip.Prefix
	if *within != "" {
		var err error
		if of, err = api.ParseQuery(*within); err != nil {
			return err
		}
	}
	var list []api.Route
	if err := c.agent.Get(ctx, "/v1/routes", &list); err != nil {
		return err
	}
	if *peer != "" {
		var known []api.Peer
		if err := c.agent.Get(ctx, "/v1/peers", &known); err != nil {
			return err
		}
		if all := names(known); !slices.Contains(all, *peer) {
			return unknown("peer", *peer, all)
		}
	}
	list = slices.DeleteFunc(list, func(r api.Route) bool {
		return of.IsValid() && !of.Overlaps(r.Prefix) ||
			*kind != "" && *kind != r.Kind && !(*kind == "none" && r.Kind == "") ||
			*peer != "" && !slices.ContainsFunc(r.Paths, func(p api.Path) bool { return p.Peer == *peer })
	})
	return c.show(list, func() {
		w := table(c.Out, "PREFIX", "KIND", "NEXT HOP", "LINK", "WHY")
		for _, r := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Prefix, dash(r.Kind), addr(r.NextHop), dash(r.Link), r.Reason)
		}
		_ = w.Flush()
	})
}
