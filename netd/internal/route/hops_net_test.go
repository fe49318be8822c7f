//go:build net

package route_test

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"netd/netd/internal/ownnet"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
)

// many is a plan of n prefixes by one next hop, and by more if there are any.
func many(n int, hop string, equal ...string) []route.Decision {
	one := via("10.128.0.0/32", hop)
	for _, e := range equal {
		one.Route.Equal = append(one.Route.Equal, route.Way{NextHop: ip(e), Link: "uplink0"})
	}
	plan := make([]route.Decision, n)
	for i := range plan {
		plan[i] = route.Decision{Prefix: nth(i), Outcome: one.Outcome}
	}
	return plan
}

func nth(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(128 + i>>16), byte(i >> 8), byte(i)}), 32)
}

// counted counts what Apply tells the kernel.
type counted struct {
	*rtnl.Conn
	routes, hops int
}

func (c *counted) count(changes []rtnl.Change) {
	for _, change := range changes {
		if change.Route != nil {
			c.routes++
		} else {
			c.hops++
		}
	}
}

func (c *counted) Write(changes []rtnl.Change) []error {
	c.count(changes)
	return c.Conn.Write(changes)
}

func (c *counted) MoveNextHops(changes []rtnl.Change) []error {
	c.count(changes)
	return c.Conn.MoveNextHops(changes)
}

func lookups(t *testing.T, c *rtnl.Conn, want string) {
	t.Helper()
	for _, a := range []string{"10.128.0.0", "10.128.19.136", "10.128.39.15"} {
		if hop, err := c.Lookup(ip(a)); err != nil || hop.Gateway != ip(want) {
			t.Errorf("%s goes by %+v, %v, want %s", a, hop, err, want)
		}
	}
}

// 10,000 routes, moved by what is said of one next hop; then again by an agent
// that has just started and knows only what is in the kernel.
func TestApplyMovesAtOnce(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		const n = 10_000
		c := &counted{Conn: box(t)}
		ownnet.Command(t, "ip nexthop add id 120001 via 10.0.1.9 dev uplink0 proto static")
		ownnet.Command(t, "ip nexthop add id 120004 via 10.0.1.1 dev uplink0")
		ownnet.Command(t, "ip route add 198.51.100.0/24 nhid 120001")
		alienHops := ownnet.Command(t, "ip nexthop show")
		apply := func(what string, plan []route.Decision, o route.Options, want route.Result, routes, hops int) {
			t.Helper()
			c.routes, c.hops = 0, 0
			if res, err := anew(c, plan, o); err != nil || res != want || c.routes != routes || c.hops != hops {
				t.Errorf("%s: %+v, %v, %d routes and %d next hops told, want %+v, %d and %d", what, res, err, c.routes, c.hops, want, routes, hops)
			}
		}
		apply("fill", many(n, "10.0.1.12"), route.Options{}, route.Result{Added: n, NextHops: 2}, n, 2)
		lookups(t, c.Conn, "10.0.1.12")
		if line := ownnet.Command(t, "ip route show 10.128.0.7"); !strings.Contains(line, " via 10.0.1.12 dev uplink0 proto 120 ") {
			t.Errorf("ip route does not show the way: %q", line)
		}
		m := ownnet.Watch(t, "")
		apply("move", many(n, "10.0.1.1"), route.Options{}, route.Result{Moved: n, NextHops: 3}, 0, 3)
		if got := m.Changes(t); len(got) > 0 {
			t.Errorf("move: ip monitor saw %d lines, the first: %s", len(got), got[0])
		}
		lookups(t, c.Conn, "10.0.1.1")
		again, err := rtnl.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		c.Conn = again
		apply("again, after a restart", many(n, "10.0.1.1"), route.Options{}, route.Result{}, 0, 0)
		apply("held", many(n, "10.0.1.12"), route.Options{Hold: true}, route.Result{Held: n}, 0, 0)
		apply("move to two", many(n, "10.0.1.12", "10.0.1.1"), route.Options{}, route.Result{Moved: n, NextHops: 2}, 0, 2)
		apply("one of two goes", many(n, "10.0.1.12"), route.Options{}, route.Result{Moved: n, NextHops: 2}, 0, 2)
		apply("all go", nil, route.Options{}, route.Result{Deleted: n, NextHops: 2}, n, 2)
		if got := ownnet.Command(t, "ip nexthop show"); got != alienHops {
			t.Errorf("others' next hops were\n%sand are\n%s", alienHops, got)
		}
		expect(t, "all", "198.51.100.0/24 via 10.0.1.9 dev uplink0")
		if mode, err := os.ReadFile("/proc/sys/net/ipv4/nexthop_compat_mode"); err != nil || strings.TrimSpace(string(mode)) != "1" {
			t.Errorf("nexthop_compat_mode is %s, %v", mode, err)
		}
	})
}

// Both of two equal next hops carry flows.
func TestApplySpreads(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := box(t)
		if err := rtnl.SetSysctl("ipv4/fib_multipath_hash_policy", "1"); err != nil {
			t.Fatal(err)
		}
		apply(t, c, many(1, "10.0.1.12", "10.0.1.1"), route.Options{}, route.Result{Added: 1, NextHops: 3})
		used := map[string]int{}
		gateway := regexp.MustCompile(`via (\S+)`)
		for port := range 64 {
			out := ownnet.Command(t, fmt.Sprintf("ip route get 10.128.0.0 ipproto udp sport %d dport 53", 1000+port))
			used[gateway.FindString(out)]++
		}
		if used["via 10.0.1.12"] < 8 || used["via 10.0.1.1"] < 8 || len(used) != 2 {
			t.Errorf("64 flows went %v", used)
		}
		apply(t, c, many(1, "10.0.1.12", "10.0.1.1"), route.Options{}, route.Result{})
	})
}

// What a person does to our next hops is mended.
func TestApplyMendsNextHops(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := box(t)
		apply(t, c, many(20, "10.0.1.12"), route.Options{}, route.Result{Added: 20})
		ownnet.Command(t, "ip nexthop flush proto 120")
		apply(t, c, many(20, "10.0.1.12"), route.Options{}, route.Result{Added: 20})
		hops, err := c.NextHops()
		i := slices.IndexFunc(hops, func(n rtnl.NextHop) bool { return len(n.Group) > 0 })
		if err != nil || i < 0 {
			t.Fatal(hops, err)
		}
		ownnet.Command(t, "ip nexthop add id 9 via 10.0.1.66 dev uplink0")
		ownnet.Command(t, fmt.Sprintf("ip nexthop replace id %d group 9 proto 120", hops[i].ID))
		apply(t, c, many(20, "10.0.1.12"), route.Options{}, route.Result{Moved: 20})
		if hop, err := c.Lookup(ip("10.128.0.3")); err != nil || hop.Gateway != ip("10.0.1.12") {
			t.Errorf("%+v, %v", hop, err)
		}
	})
}
