package route

import (
	"fmt"
	"runtime"
	"testing"

	"netd/netd/internal/rib"
	"netd/netd/internal/rtnl"
)

// takesAll is a kernel that takes every route and keeps none: what is measured is ours.
type takesAll struct{ *fakeFIB }

func (k takesAll) Write(changes []rtnl.Change) []error {
	if len(changes) > 0 && changes[0].NextHop != nil {
		return k.fakeFIB.Write(changes)
	}
	return nil
}

func (k takesAll) MoveNextHops(changes []rtnl.Change) []error { return k.Write(changes) }

// BenchmarkRound is a plan and its way to a kernel that costs nothing.
func BenchmarkRound(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		for _, bench := range []struct {
			what string
			do   func(table *Table, f *Facts, fib *FIB, i int)
		}{
			{"nothing", func(*Table, *Facts, *FIB, int) {}},
			{"pod", func(_ *Table, f *Facts, _ *FIB, i int) {
				f.Pods = []LocalPod{{Name: "web-0", Address: ip("10.64.1.3"), Link: "pod1", Index: 4}}[:i%2]
			}},
			{"prefix", func(t *Table, _ *Facts, _ *FIB, i int) { t.Learn(swap(t, 1, i)) }},
			{"1000 prefixes", func(t *Table, _ *Facts, _ *FIB, i int) { t.Learn(swap(t, 1000, i)) }},
			{"lost next hop", func(_ *Table, f *Facts, _ *FIB, i int) { f.Down = lost("tor1", "10.0.1.1")[:i%2] }},
			{"links changed", func(_ *Table, _ *Facts, fib *FIB, _ int) { fib.LinksChanged() }},
			{"all compared", func(t *Table, f *Facts, _ *FIB, _ int) { t.Plan(Facts{}); t.Plan(*f) }},
		} {
			b.Run(fmt.Sprintf("%d/%s", n, bench.what), func(b *testing.B) {
				table, f := many(n)
				fib := NewFIB(takesAll{newFIB()})
				if _, err := fib.Apply(table.Plan(f), Options{}); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					i++
					bench.do(table, &f, fib, i)
					if _, err := fib.Apply(table.Plan(f), Options{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// swap tells of n prefixes what was told of their neighbours.
func swap(t *Table, n, i int) rib.Update {
	u := rib.Update{}
	kinds := []*rib.Paths{t.all.learned(nth(5000)).alike.paths, t.all.learned(nth(5001)).alike.paths}
	for k := range n {
		u.Entries = append(u.Entries, rib.Entry{Prefix: nth(k), Paths: kinds[(i+k)%2]})
	}
	return u
}

// BenchmarkFirst is the first plan of all, filled in; and what stays in memory of it.
func BenchmarkFirst(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			var kept float64
			for b.Loop() {
				b.StopTimer()
				before := heap()
				table, f := many(n)
				b.StartTimer()
				fib := NewFIB(takesAll{newFIB()})
				if _, err := fib.Apply(table.Plan(f), Options{}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				kept = float64(heap()-before) / float64(n)
				runtime.KeepAlive(table)
				runtime.KeepAlive(fib)
				b.StartTimer()
			}
			b.ReportMetric(kept, "kept-B/prefix")
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
