//go:build net && bench

package route_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"netd/netd/internal/ownnet"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
)

// TestRatios is make bench's: filling the FIB against ip -batch, and a lost next
// hop against rewriting its routes, interleaved. It asserts no time.
func TestRatios(t *testing.T) {
	for _, n := range []int{100, 50_000, 100_000} {
		t.Run(strconv.Itoa(n), func(t *testing.T) { ratios(t, n) })
	}
}

func ratios(t *testing.T, n int) {
	ownnet.Run(t, func(t *testing.T) {
		c := box(t)
		const rounds = 3
		batch := filepath.Join(t.TempDir(), "batch")
		var lines strings.Builder
		for _, d := range many(n, "10.0.1.12") {
			fmt.Fprintf(&lines, "route replace %s via 10.0.1.12 dev uplink0 proto 121 metric 120\n", d.Prefix)
		}
		if err := os.WriteFile(batch, []byte(lines.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		took := func(f func()) float64 {
			begin := time.Now()
			f()
			return time.Since(begin).Seconds() * 1000
		}
		var fill, rewrite []float64
		for range rounds {
			plan := many(n, "10.0.1.12")
			ours := took(func() { apply(t, c, plan, route.Options{}, route.Result{Added: n}) })
			moved := took(func() {
				hops, err := c.NextHops()
				if err != nil {
					t.Fatal(err)
				}
				for _, h := range hops {
					if len(h.Group) > 0 {
						hop := rtnl.NextHop{ID: 7, Gateway: ip("10.0.1.1"), Link: hops[0].Link, Protocol: route.Protocol}
						h.Group = []uint32{hop.ID}
						_ = c.Write([]rtnl.Change{{Do: rtnl.Add, NextHop: &hop}})
						if errs := c.MoveNextHops([]rtnl.Change{{Do: rtnl.Replace, NextHop: &h}}); errs != nil {
							t.Error(errs)
						}
					}
				}
			})
			round := took(func() { apply(t, c, plan, route.Options{}, route.Result{Moved: n}) })
			apply(t, c, nil, route.Options{}, route.Result{Deleted: n})

			theirs := took(func() { ownnet.Command(t, "ip -batch "+batch) })
			var changes []rtnl.Change
			routes, err := c.Routes(121)
			if err != nil {
				t.Fatal(err)
			}
			for i := range routes {
				routes[i].Gateway = ip("10.0.1.1")
				changes = append(changes, rtnl.Change{Route: &routes[i]})
			}
			rewritten := took(func() { _ = c.Write(changes) })
			ownnet.Command(t, "ip route flush proto 121")
			fill, rewrite = append(fill, theirs/ours), append(rewrite, moved/rewritten)
			t.Logf("%d routes: Apply %.0f ms, ip -batch %.0f ms; next hop moved %.2f ms (a round of Apply %.0f ms), routes rewritten %.0f ms",
				n, ours, theirs, moved, round, rewritten)
		}
		slices.Sort(fill)
		slices.Sort(rewrite)
		t.Logf("median: filled at %.2f× of ip -batch's rate; a lost next hop takes %.4f× of rewriting", fill[rounds/2], rewrite[rounds/2])
	})
}
