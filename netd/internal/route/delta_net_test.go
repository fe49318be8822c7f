//go:build net

package route_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"netd/netd/internal/ownnet"
	"netd/netd/internal/rib"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

// fabric is a table of n prefixes by the ToR.
func fabric(n int) (*route.Table, route.Facts) {
	f := route.Facts{
		Pools: []route.Pool{{Prefix: pfx("10.128.0.0/9")}}, Source: ip("10.0.1.11"),
		Hops: map[netip.Addr]route.Hop{ip("10.0.1.1"): {Connected: true, Link: "uplink0"}, ip("10.0.1.12"): {Connected: true, Link: "uplink0"}},
	}
	u, paths := rib.Update{Whole: true}, byToR()
	for i := range n {
		u.Entries = append(u.Entries, rib.Entry{Prefix: nth(i), Paths: paths})
	}
	t := route.NewTable()
	t.Learn(u)
	return t, f
}

func byToR() *rib.Paths {
	return &rib.Paths{Rule: rib.ByPool, List: []rib.Path{{NextHop: ip("10.0.1.1"), Peer: "tor1"}, {NextHop: ip("10.0.1.12"), Peer: "tor2", Rank: 1}}}
}

// dumps counts what is read of the kernel, too.
type dumps struct {
	counted
	links, dumped, nexthops int
}

func (d *dumps) Links() ([]rtnl.Link, error) {
	d.links++
	return d.Conn.Links()
}

func (d *dumps) EachRoute(protocol int, begin func(), each func(rtnl.Route)) error {
	d.dumped++
	return d.Conn.EachRoute(protocol, begin, each)
}

func (d *dumps) NextHops() ([]rtnl.NextHop, error) {
	d.nexthops++
	return d.Conn.NextHops()
}

// A pod, a prefix, a lost ToR beside 10,000 prefixes: each a message or three, and no dump.
// What the kernel has dropped with a link, and what others have, is there again.
func TestDeltasToKernel(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		const n = 10_000
		k := &dumps{counted: counted{Conn: box(t)}}
		table, f := fabric(n)
		fib := route.NewFIB(k)
		step := func(what string, want route.Result, routes, hops, read int) {
			t.Helper()
			k.counted.routes, k.hops, k.links, k.dumped, k.nexthops = 0, 0, 0, 0, 0
			res, err := fib.Apply(table.Plan(f), route.Options{})
			if dumped := k.links + k.dumped + k.nexthops; err != nil || res != want || k.counted.routes != routes || k.hops != hops || dumped != read {
				t.Errorf("%s: %+v, %v, %d routes and %d next hops told, %d dumps, want %+v, %d, %d, %d",
					what, res, err, k.counted.routes, k.hops, dumped, want, routes, hops, read)
			}
			if have, err := k.Conn.Routes(layout.Protocol); err != nil || len(have) != table.Decisions().Len() {
				t.Errorf("%s: %d routes, %v, want %d", what, len(have), err, table.Decisions().Len())
			}
		}
		step("fill", route.Result{Added: n, NextHops: 2}, n, 2, 3)
		step("again", route.Result{}, 0, 0, 0)
		f.Pods = []route.LocalPod{{Name: "web-0", Address: ip("10.64.5.7"), Link: "pod1"}}
		step("a pod", route.Result{Added: 1}, 1, 0, 0)
		table.Learn(rib.Update{Entries: []rib.Entry{{Prefix: nth(n), Paths: byToR()}}})
		step("a prefix", route.Result{Added: 1}, 1, 0, 0)
		f.Down = []route.Lost{{Peer: "tor1", Address: ip("10.0.1.1"), Why: "BFD"}}
		step("the ToR is lost", route.Result{Moved: n + 1, NextHops: 3}, 0, 3, 0)
		lookups(t, k.Conn, "10.0.1.12")

		fib.LinksChanged()
		step("nothing of what links do is ours", route.Result{}, 0, 0, 2)
		ownnet.Command(t, "ip link set pod1 down")
		ownnet.Command(t, "ip link set pod1 up")
		l, err := k.LinkByName("pod1")
		if err != nil {
			t.Fatal(err)
		}
		fib.LinksChanged(l.Index)
		step("the pod's link was down", route.Result{Added: 1}, 1, 0, 2)

		ownnet.Command(t, "ip link set tor down")
		carrier(t, k.Conn, false)
		ownnet.Command(t, "ip link set tor up")
		carrier(t, k.Conn, true)
		fib.LinksChanged()
		step("the uplink had no carrier", route.Result{Added: n + 1, NextHops: 2}, n+1, 2, 2)
		lookups(t, k.Conn, "10.0.1.12")

		ownnet.Command(t, fmt.Sprintf("ip route del %s proto 120", nth(4)))
		fib.Distrust()
		step("somebody deletes a route", route.Result{Added: 1}, 1, 0, 3)
		ownnet.Command(t, "ip nexthop flush proto 120")
		fib.LinksChanged()
		step("somebody flushes the next hops", route.Result{Added: n + 1, NextHops: 2}, n+1, 2, 2)
		if line := ownnet.Command(t, "ip route show 10.64.5.7"); !strings.HasPrefix(line, "10.64.5.7 dev pod1 proto 120 ") {
			t.Errorf("the pod's route: %q", line)
		}
	})
}

// carrier waits until the uplink has one, or none.
func carrier(t *testing.T, c *rtnl.Conn, want bool) {
	t.Helper()
	ownnet.Within(t, 5*time.Second, fmt.Sprintf("carrier %v", want), func() error {
		if l, err := c.LinkByName("uplink0"); err != nil || l.Carrier != want {
			return fmt.Errorf("%+v %v", l, err)
		}
		return nil
	})
}
