// Package heap decides how much garbage a process may hold. Go's collector runs
// whenever the heap has doubled, from 4 MB on: a process that fills a table of routes
// spends a quarter of its time so, though there is room. So the room is used while
// there is work, and given back to the kernel when it is over. Below all; it knows
// nobody, and there is one Pace in a process.
package heap

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"netd/netd/retry"
)

const (
	// tick is how often it is looked: memory is given back at most so long after the work.
	tick = 200 * time.Millisecond
	// room is how large a heap may grow before anything is collected, if it is no more
	// than mostPercent of garbage on top of what lives; a larger heap doubles, as ever.
	room                      = 96 << 20
	leastPercent, mostPercent = 100, 300
	// A tick in which less than calm was allocated is one of rest. The memory is given
	// back then, if worth of it was allocated since the last time.
	calm  = 256 << 10
	worth = 8 << 20
)

// percent is GOGC for a heap of which so much lives.
func percent(live uint64) int {
	if live == 0 {
		return mostPercent
	}
	return int(min(max(room*100/live, leastPercent+100)-100, mostPercent))
}

// Pace sets the pace of this process's collector until ctx ends.
func Pace(ctx context.Context) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	var set int
	var before, given uint64
	for retry.Sleep(ctx, tick) {
		metrics.Read(samples)
		live, allocated := samples[0].Value.Uint64(), samples[1].Value.Uint64()
		if p := percent(live); p != set {
			set = p
			debug.SetGCPercent(p)
		}
		if allocated-before < calm && allocated-given > worth {
			debug.FreeOSMemory()
			given = allocated
		}
		before = allocated
	}
}
