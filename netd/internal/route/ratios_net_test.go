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
	"netd/netd/internal/rib"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

// TestRatios is make bench's: filling the FIB against ip -batch, and a lost next
// hop against rewriting its routes, interleaved; and what a change takes of a whole
// comparison. It asserts no time.
func TestRatios(t *testing.T) {
	for _, n := range []int{100, 50_000, 100_000} {
		t.Run(strconv.Itoa(n), func(t *testing.T) { ratios(t, n) })
		t.Run(strconv.Itoa(n)+" by delta", func(t *testing.T) { deltas(t, n) })
	}
}

// deltas measures rounds of plan and Apply.
func deltas(t *testing.T, n int) {
	ownnet.Run(t, func(t *testing.T) {
		c := box(t)
		table, f := fabric(n)
		fib := route.NewFIB(c)
		round := func() float64 {
			begin := time.Now()
			if _, err := fib.Apply(table.Plan(f), route.Options{}); err != nil {
				t.Fatal(err)
			}
			return time.Since(begin).Seconds() * 1000
		}
		fill := round()
		took := map[string][]float64{}
		for i := range 5 {
			note := func(what string) { took[what] = append(took[what], round()) }
			f.Pods = append(slices.Clip(f.Pods), route.LocalPod{Name: "web", Address: nth(n + i).Addr(), Link: "pod1"})
			note("pod")
			table.Learn(rib.Update{Entries: []rib.Entry{{Prefix: nth(2*n + i), Paths: byToR()}}})
			note("prefix")
			f.Down = []route.Lost{{Peer: "tor1", Address: ip("10.0.1.1"), Why: "BFD"}}
			note("lost")
			f.Down = nil
			note("back")
			fib.Distrust()
			note("whole")
		}
		median := func(what string) float64 {
			slices.Sort(took[what])
			return took[what][len(took[what])/2]
		}
		t.Logf("%d prefixes: filled in %.0f ms; a round for one more pod %.2f ms, for one more prefix %.2f ms, for a lost next hop %.2f ms, for one that is back %.2f ms, for a whole comparison with the kernel %.0f ms",
			n, fill, median("pod"), median("prefix"), median("lost"), median("back"), median("whole"))
		t.Logf("median: one more pod takes %.4f× of a whole comparison, a lost next hop %.4f×", median("pod")/median("whole"), median("lost")/median("whole"))
	})
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
						hop := rtnl.NextHop{ID: 7, Gateway: ip("10.0.1.1"), Link: hops[0].Link, Protocol: layout.Protocol}
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
