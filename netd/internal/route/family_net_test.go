//go:build net

package route_test

import (
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

// box6 is box with IPv6, and an alien's routes in it.
func box6(t *testing.T) *rtnl.Conn {
	t.Helper()
	for _, line := range []string{
		"sysctl -qw net.ipv6.conf.default.disable_ipv6=0", "sysctl -qw net.ipv6.conf.lo.disable_ipv6=0", "ip link set lo up",
	} {
		ownnet.Command(t, line)
	}
	c := box(t)
	ownnet.Command(t, "ip -6 addr add 2001:db8:1::11/64 dev uplink0 nodad")
	for _, line := range []string{
		"ip -6 route add 2001:db8:64:7::/64 via 2001:db8:1::9 proto static metric 120",
		"ip -6 route add 2001:db8:64:2::/64 via 2001:db8:1::9 metric 500",
		"ip -6 route add blackhole 2001:db8:ffff::/48",
	} {
		ownnet.Command(t, line)
	}
	ownnet.Within(t, 5*time.Second, "the end of address detection", func() error {
		if out := ownnet.Command(t, "ip -6 addr show tentative"); out != "" {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	return c
}

// table6 is the main table without the kernel's own routes.
func table6(t *testing.T) []string {
	t.Helper()
	var lines []string
	table := strings.ReplaceAll(ownnet.Command(t, "ip -6 route show table main"), "\n\t", " ") // ip prints a group by lines
	for line := range strings.Lines(table) {
		if !strings.Contains(line, "proto kernel") {
			lines = append(lines, strings.Join(strings.Fields(noise.ReplaceAllString(line, "")), " "))
		}
	}
	slices.Sort(lines)
	return lines
}

// noise is what ip-route(8) says of IPv6 routes beside their way.
var noise = regexp.MustCompile(`nhid \d+ | pref medium| error -?\d+`)

func expect6(t *testing.T, what string, ours ...string) {
	t.Helper()
	want := slices.Sorted(slices.Values(append([]string{
		"2001:db8:64:2::/64 via 2001:db8:1::9 dev uplink0 metric 500",
		"2001:db8:64:7::/64 via 2001:db8:1::9 dev uplink0 proto static metric 120",
		"blackhole 2001:db8:ffff::/48 dev lo metric 1024",
	}, ours...)))
	if diff := cmp.Diff(want, table6(t)); diff != "" {
		t.Errorf("IPv6 table after %s (-want +got):\n%s", what, diff)
	}
}

func by(prefix, hop, source string, equal ...string) route.Decision {
	r := route.Route{Kind: route.Native, Way: route.Way{NextHop: ip(hop), Link: "uplink0"}, Source: ip(source)}
	for _, e := range equal {
		r.Equal = append(r.Equal, route.Way{NextHop: ip(e), Link: "uplink0"})
	}
	return decided(prefix, r)
}

// IPv6 beside IPv4: native, link-local, by two next hops, IPv4 by IPv6, pods, blocks;
// done once, and nothing the second time.
func TestApplyBothFamilies(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := box6(t)
		const own4, own6 = "10.0.1.11", "2001:db8:1::11"
		plan := []route.Decision{
			decided("2001:db8:64:1::/64", route.Route{Kind: route.Blackhole}),
			decided("2001:db8:64:1::3/128", route.Route{Kind: route.Pod, Way: route.Way{Link: "pod1"}}),
			by("2001:db8:64:2::/64", "2001:db8:1::12", own6),
			by("2001:db8:64:3::/64", "fe80::1%uplink0", own6),
			by("2001:db8:64:4::/64", "2001:db8:1::12", own6, "fe80::1%uplink0"),
			by("::/0", "fe80::1%uplink0", own6),
			by("10.64.5.0/26", "fe80::1%uplink0", own4),
			by("10.64.6.0/26", "10.0.1.12", own4, "fe80::1%uplink0"),
		}
		apply(t, c, plan, route.Options{}, route.Result{Added: 8})
		ours6 := []string{
			"blackhole 2001:db8:64:1::/64 dev lo proto 120 metric 120",
			"2001:db8:64:1::3 dev pod1 proto 120 metric 120",
			"2001:db8:64:2::/64 proto 120 src 2001:db8:1::11 metric 120 nexthop via 2001:db8:1::12 dev uplink0 weight 1",
			"2001:db8:64:3::/64 proto 120 src 2001:db8:1::11 metric 120 nexthop via fe80::1 dev uplink0 weight 1",
			"2001:db8:64:4::/64 proto 120 src 2001:db8:1::11 metric 120 nexthop via fe80::1 dev uplink0 weight 1 nexthop via 2001:db8:1::12 dev uplink0 weight 1",
			"default proto 120 src 2001:db8:1::11 metric 120 nexthop via fe80::1 dev uplink0 weight 1",
		}
		ours4 := []string{
			"10.64.5.0/26 via inet6 fe80::1 dev uplink0 proto 120 src 10.0.1.11 metric 120",
			"10.64.6.0/26 proto 120 src 10.0.1.11 metric 120", "nexthop via 10.0.1.12 dev uplink0 weight 1", "nexthop via inet6 fe80::1 dev uplink0 weight 1",
		}
		expect6(t, "the first time", ours6...)
		expect(t, "the first time", ours4...)
		m := ownnet.Watch(t, "")
		apply(t, c, plan, route.Options{}, route.Result{})
		again, err := rtnl.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		apply(t, again, plan, route.Options{}, route.Result{})
		if got := m.Changes(t); len(got) > 0 {
			t.Errorf("the second time: ip monitor saw\n%s", strings.Join(got, "\n"))
		}
		for a, want := range map[string]string{"2001:db8:64:3::9": "fe80::1", "10.64.5.9": "fe80::1", "2001:db8:99::1": "fe80::1"} {
			if hop, err := c.Lookup(ip(a)); err != nil || hop.Gateway != ip(want) {
				t.Errorf("%s goes by %+v, %v, want %s", a, hop, err, want)
			}
		}
		if hop, err := c.Lookup(ip("2001:db8:64:1::9")); err == nil {
			t.Errorf("an unused address of the own block goes by %+v", hop)
		}
		apply(t, c, nil, route.Options{}, route.Result{Deleted: 8})
		expect6(t, "an empty plan")
		expect(t, "an empty plan")
	})
}

// IPv6 routes move with their next hop as IPv4's do: by one operation, never absent,
// and under IPv4 and IPv6 alike.
func TestApplyMovesIPv6AtOnce(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		const n = 2000
		c := &counted{Conn: box6(t)}
		plan := func(hop string) []route.Decision {
			list := make([]route.Decision, n)
			for i := range list {
				list[i] = by(fmt.Sprintf("2001:db8:128:%x::/64", i), hop, "2001:db8:1::11")
			}
			return list
		}
		if res, err := anew(c, plan("2001:db8:1::12"), route.Options{}); err != nil || res != (route.Result{Added: n, NextHops: 2}) {
			t.Fatalf("fill: %+v, %v", res, err)
		}
		c.routes, c.hops = 0, 0
		m := ownnet.Watch(t, "")
		res, err := anew(c, plan("fe80::1%uplink0"), route.Options{})
		if err != nil || res != (route.Result{Moved: n, NextHops: 3}) || c.routes != 0 || c.hops != 3 {
			t.Errorf("move: %+v, %v, %d routes and %d next hops told", res, err, c.routes, c.hops)
		}
		if got := m.Changes(t); len(got) > 0 {
			t.Errorf("move: ip monitor saw %d lines, the first: %s", len(got), got[0])
		}
		if hop, err := c.Lookup(ip("2001:db8:128:7::1")); err != nil || hop.Gateway != ip("fe80::1") {
			t.Errorf("after the move: %+v, %v", hop, err)
		}
		held := route.Options{Hold: true}
		if res, err := anew(c, nil, held); err != nil || res != (route.Result{Held: n}) {
			t.Errorf("held: %+v, %v", res, err)
		}
		held.Lost = []netip.Addr{ip("fe80::1%uplink0")}
		if res, err := anew(c, nil, held); err != nil || res.Deleted != n {
			t.Errorf("a next hop that is known to be dead: %+v, %v", res, err)
		}
	})
}
