//go:build net || vm

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"netd/netd/internal/api"
)

// condition is what a freeze and a jump of the clock must leave alone, or bring back.
type condition struct {
	// Processes are the agent and its children.
	Processes []int
	// Kept is policy, links, routes and pods.
	Kept     string
	Sessions map[string]string
}

var hopID = regexp.MustCompile(`nhid \d+ `)

// condition reads the one of a gateway; the sessions are Established.
func (s *site) condition(ctx context.Context, gw string) (c condition, err error) {
	if c.Processes, err = s.hosts[gw].Processes(ctx); err != nil {
		return c, err
	}
	c.Processes = slices.DeleteFunc(c.Processes, func(pid int) bool {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return string(name) != "netd\n"
	})
	slices.Sort(c.Processes)
	c.Kept = hopID.ReplaceAllString(s.kept(gw), "")
	c.Sessions, err = s.sessions(ctx, gw)
	status, errS := s.gw[gw].Ask(ctx, "status")
	if strings.Contains(status, "PROBLEM") || strings.Contains(status, "have not told all") {
		err = errors.Join(err, errors.New(status))
	}
	return c, errors.Join(err, errS)
}

// sessions reads a gateway's: for each peer when they began, and how often they were lost.
// The error says which is not up.
func (s *site) sessions(ctx context.Context, gw string) (map[string]string, error) {
	var peers []api.Peer
	err := s.gw[gw].JSON(ctx, &peers, "peers")
	all := map[string]string{}
	for _, p := range peers {
		all[p.Name] = fmt.Sprintf("BGP since %s, lost %d times", p.Since.UTC(), p.Flaps)
		bfd := p.BFD == nil || p.BFD.State == "Up" && p.BFD.RemoteState == "Up"
		if p.State != "Established" || p.Accepted == 0 || !bfd {
			err = errors.Join(err, fmt.Errorf("%s: %+v, BFD %+v", gw, p, p.BFD))
		}
		if p.BFD != nil {
			all[p.Name] += fmt.Sprintf(", BFD since %s, lost %d times", p.BFD.Since.UTC(), p.BFD.Flaps)
		}
	}
	return all, err
}

// steady waits for a gateway that has all, and returns it.
func (s *site) steady(gw string) (c condition) {
	s.Helper()
	within(s.T, time.Minute, "all sessions of "+gw, func(ctx context.Context) (err error) {
		c, err = s.condition(ctx, gw)
		return err
	})
	return c
}

// kept is what must not change when a speaker dies: policy, pods' links, routes.
func (s *site) kept(gw string) string {
	s.Helper()
	var all strings.Builder
	for _, command := range []string{"nft list ruleset", "ip -o link show type veth", "ip route show proto 120", "ip -6 route show proto 120"} {
		out, err := s.hosts[gw].Run(s.Context(), strings.Fields(command)...)
		s.must(err)
		all.WriteString(out)
	}
	out, err := s.gw[gw].Ask(s.Context(), "pods")
	s.must(err)
	return all.String() + out
}
