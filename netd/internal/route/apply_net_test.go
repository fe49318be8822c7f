//go:build net

package route_test

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/ownnet"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

// box is a gateway with an uplink and a pod's link, and aliens' routes.
func box(t *testing.T) *rtnl.Conn {
	t.Helper()
	c, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, line := range []string{
		"ip link add uplink0 type veth peer name tor", "ip link set tor up", "ip link set uplink0 up",
		"ip link add pod1 type veth peer name eth0", "ip link set eth0 up", "ip link set pod1 up",
		"ip addr add 10.0.1.11/24 dev uplink0",
		"ip route add 10.64.7.0/26 via 10.0.1.9 proto static metric 120",
		"ip route add 10.64.2.0/26 via 10.0.1.9 metric 500",
		"ip route add 10.64.3.0/26 via 10.0.1.9 proto bird metric 32",
		"ip route add blackhole 192.0.2.0/24",
	} {
		ownnet.Command(t, line)
	}
	ownnet.Within(t, 5*time.Second, "carrier", func() error {
		for _, name := range []string{"uplink0", "pod1"} {
			if l, err := c.LinkByName(name); err != nil || !l.Carrier {
				return errors.Join(err, errors.New("none on "+name))
			}
		}
		return nil
	})
	return c
}

func via(prefix, hop string) route.Decision {
	return decided(prefix, route.Route{Kind: route.Native, Way: route.Way{NextHop: ip(hop), Link: "uplink0"}, Source: ip("10.0.1.11")})
}

func decided(prefix string, r route.Route) route.Decision {
	return route.Decision{Prefix: pfx(prefix), Outcome: &route.Outcome{Route: &r}}
}

func plan() []route.Decision {
	return []route.Decision{
		decided("10.64.1.0/26", route.Route{Kind: route.Blackhole}),
		decided("10.64.1.3/32", route.Route{Kind: route.Pod, Way: route.Way{Link: "pod1"}}),
		decided("10.64.5.7/32", route.Route{Kind: route.Pod, Way: route.Way{Link: "pod1"}}),
		via("10.64.2.0/26", "10.0.1.12"),
		via("0.0.0.0/0", "10.0.1.1"),
		{Prefix: pfx("10.64.4.0/26"), Outcome: &route.Outcome{Reason: "no route"}},
	}
}

// table is the main table without the kernel's own routes, in ip-route(8)'s words.
func table(t *testing.T) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(ownnet.Command(t, "ip route show table main")) {
		if !strings.Contains(line, "proto kernel") {
			lines = append(lines, nhid.ReplaceAllString(strings.TrimSpace(line), ""))
		}
	}
	slices.Sort(lines)
	return lines
}

// nhid is the number of a next-hop object, which says nothing to a reader.
var nhid = regexp.MustCompile(`nhid \d+ `)

// alien is what box put there.
var alien = []string{
	"10.64.2.0/26 via 10.0.1.9 dev uplink0 metric 500",
	"10.64.3.0/26 via 10.0.1.9 dev uplink0 proto bird metric 32",
	"10.64.7.0/26 via 10.0.1.9 dev uplink0 proto static metric 120",
	"blackhole 192.0.2.0/24",
}

func expect(t *testing.T, what string, ours ...string) {
	t.Helper()
	want := slices.Sorted(slices.Values(slices.Concat(alien, ours)))
	if diff := cmp.Diff(want, table(t)); diff != "" {
		t.Errorf("table after %s (-want +got):\n%s", what, diff)
	}
}

// anew applies a plan as an agent does that has just started.
func anew(k route.Kernel, plan []route.Decision, o route.Options) (route.Result, error) {
	return route.NewFIB(k).Apply(route.Planned(plan), o)
}

func apply(t *testing.T, c *rtnl.Conn, plan []route.Decision, o route.Options, want route.Result) {
	t.Helper()
	res, err := anew(c, plan, o)
	if want.NextHops == 0 && want.Changed() {
		res.NextHops = 0 // Not this test's subject.
	}
	if err != nil || res != want {
		t.Errorf("apply: %+v, %v, want %+v", res, err, want)
	}
}

func TestApplyToKernel(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := box(t)
		ours := []string{
			"blackhole 10.64.1.0/26 proto 120 metric 120",
			"10.64.1.3 dev pod1 proto 120 scope link metric 120",
			"10.64.5.7 dev pod1 proto 120 scope link metric 120",
			"10.64.2.0/26 via 10.0.1.12 dev uplink0 proto 120 src 10.0.1.11 metric 120",
			"default via 10.0.1.1 dev uplink0 proto 120 src 10.0.1.11 metric 120",
		}
		apply(t, c, plan(), route.Options{}, route.Result{Added: 5})
		expect(t, "the first time", ours...)

		m := ownnet.Watch(t, "")
		apply(t, c, plan(), route.Options{}, route.Result{})
		if got := m.Changes(t); len(got) > 0 {
			t.Errorf("the second time: ip monitor saw\n%s", strings.Join(got, "\n"))
		}
		apply(t, c, nil, route.Options{}, route.Result{Deleted: 5})
		expect(t, "an empty plan")
	})
}

// A route that moves with its next hop is never absent: the kernel reports nothing
// of it, and its stale neighbour's end.
func TestApplyReplaces(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := box(t)
		apply(t, c, []route.Decision{via("10.64.2.0/26", "10.0.1.12"), via("10.64.9.0/26", "10.0.1.12")}, route.Options{}, route.Result{Added: 2})
		m := ownnet.Watch(t, "")
		apply(t, c, []route.Decision{via("10.64.2.0/26", "10.0.1.1")}, route.Options{}, route.Result{Moved: 1, Deleted: 1})
		want := []string{"Deleted 10.64.9.0/26 via 10.0.1.1 dev uplink0 proto 120 src 10.0.1.11 metric 120"}
		if diff := cmp.Diff(want, trim(m.Changes(t))); diff != "" {
			t.Errorf("ip monitor (-want +got):\n%s", diff)
		}
		expect(t, "a move", "10.64.2.0/26 via 10.0.1.1 dev uplink0 proto 120 src 10.0.1.11 metric 120")
	})
}

func trim(lines []string) []string {
	for i := range lines {
		lines[i] = nhid.ReplaceAllString(strings.TrimSpace(lines[i]), "")
	}
	return lines
}

func TestApplyHolds(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := box(t)
		apply(t, c, []route.Decision{via("10.64.2.0/26", "10.0.1.12"), via("10.64.9.0/26", "10.0.1.12")}, route.Options{}, route.Result{Added: 2})
		m := ownnet.Watch(t, "")
		apply(t, c, []route.Decision{via("10.64.2.0/26", "10.0.1.1")}, route.Options{Hold: true}, route.Result{Held: 2})
		if got := m.Changes(t); len(got) > 0 {
			t.Errorf("held: ip monitor saw\n%s", strings.Join(got, "\n"))
		}
		ownnet.Command(t, "ip link set tor down")
		ownnet.Within(t, 5*time.Second, "the loss of carrier", func() error {
			if l, err := c.LinkByName("uplink0"); err != nil || l.Carrier {
				return fmt.Errorf("%+v %v", l, err)
			}
			return nil
		})
		// The kernel itself has thrown out next hops without carrier, and their routes.
		apply(t, c, nil, route.Options{Hold: true}, route.Result{})
		if hops, err := c.NextHops(); err != nil || len(hops) > 0 {
			t.Errorf("next hops on a link without carrier: %v, %v", hops, err)
		}
	})
}

// A block of one address and its pod are one route, before and after the pod comes.
func TestApplyBlockOfOne(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := box(t)
		table, fib := route.NewTable(), route.NewFIB(c)
		f := route.Facts{Blocks: []netip.Prefix{pfx("10.64.5.7/32")}}
		follow := func(want route.Result) {
			t.Helper()
			if res, err := fib.Apply(table.Plan(f), route.Options{}); err != nil || res != want {
				t.Errorf("apply: %+v, %v, want %+v", res, err, want)
			}
		}
		follow(route.Result{Added: 1})
		expect(t, "a block without its pod", "blackhole 10.64.5.7 proto 120 metric 120")
		f.Pods = []route.LocalPod{{Name: "web-0", Address: ip("10.64.5.7"), Link: "pod1"}}
		follow(route.Result{Replaced: 1})
		expect(t, "the pod", "10.64.5.7 dev pod1 proto 120 scope link metric 120")
		f.Pods = nil
		follow(route.Result{Replaced: 1})
		expect(t, "its end", "blackhole 10.64.5.7 proto 120 metric 120")
	})
}

// One route that the kernel refuses does not keep the others out.
func TestApplyRefused(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := box(t)
		res, err := anew(c, []route.Decision{via("10.64.2.0/26", "203.0.113.1"), via("10.64.9.0/26", "10.0.1.12")}, route.Options{})
		if err == nil || !strings.Contains(err.Error(), "10.64.2.0/26 via 203.0.113.1") || strings.Contains(err.Error(), "10.64.9.0") {
			t.Errorf("apply: %+v, %v, want an error that names the refused route only", res, err)
		}
		expect(t, "a refusal", "10.64.9.0/26 via 10.0.1.12 dev uplink0 proto 120 src 10.0.1.11 metric 120")
	})
}
