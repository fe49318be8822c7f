package daemon

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"netd/netd/internal/api"
	"netd/netd/internal/metrics"
	"netd/netd/internal/route"
)

// scrape gathers what Prometheus sees at this moment.
func (g gateway) scrape(ctx context.Context) metrics.Facts {
	v := g.View(ctx)
	f := metrics.Facts{
		Routes: v.Status.Routes, Pods: map[string]int{}, Problems: len(v.Status.Problems), OnTrial: v.Status.Trial != nil, Drained: v.Status.Drained,
	}
	for _, p := range v.Pods {
		f.Pods[p.State]++
	}
	for _, p := range g.Peers(ctx) {
		m := metrics.Peer{
			Name: p.Name, Kind: p.Kind, Established: p.State == "Established", Since: p.Since, Flaps: p.Flaps,
			Received: p.Received, Accepted: p.Accepted, Sent: p.Sent,
		}
		if p.BFD != nil {
			m.BFD = &metrics.BFD{Up: p.BFD.State == "Up", Flaps: uint64(p.BFD.Flaps), Detect: time.Duration(p.BFD.DetectMS) * time.Millisecond}
		}
		f.Peers = append(f.Peers, m)
	}
	if s := g.d.view.Load().speaker; s != nil {
		process := s.Process()
		f.SpeakerLives, f.SpeakerMemory = process.Lives, residentMemory(process.PID)
	}
	return f
}

// residentMemory is a process' in octets, 0 if there is none.
func residentMemory(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b)) // proc(5): size, resident, … in pages
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(fields[1], 10, 64)
	return pages * uint64(os.Getpagesize())
}

// countRoutes counts what a round did to the kernel's routes.
func (d *Daemon) countRoutes(r route.Result) {
	for op, n := range map[string]int{"added": r.Added, "replaced": r.Replaced, "moved": r.Moved, "deleted": r.Deleted, "nexthop": r.NextHops, "refused": r.Refused} {
		d.metrics.Operations(op, n)
	}
}

// telling is the task that tells the metrics over TCP.
type telling struct {
	at   netip.AddrPort
	stop func()
}

// followMetrics listens where the configuration wants it. An address that is not
// there yet (a lease, say) is tried again by the next round.
func (d *Daemon) followMetrics() error {
	want := d.config.Management.Metrics
	if d.told.at == want {
		return nil
	}
	if d.told.stop != nil {
		d.told.stop()
		d.told = telling{}
	}
	if !want.IsValid() {
		return nil
	}
	l, err := net.Listen("tcp", want.String())
	if err != nil {
		return fmt.Errorf("tell the metrics on %s: %w", want, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", d.metrics.Handler())
	stop := d.start(func(ctx context.Context) error { return api.ServeHTTP(ctx, l, mux, d.opts.Log) })
	d.told = telling{want, func() {
		stop()
		_ = l.Close() // At once: the next one may want the same port.
	}}
	return nil
}
