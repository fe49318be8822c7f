package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"netd/netd/internal/api"
	"netd/netd/internal/metrics"
	"netd/netd/internal/route"
)

// exporter tells the metrics over TCP.
type exporter struct {
	*metrics.Set
	log   *slog.Logger
	start func(func(context.Context) error) context.CancelFunc
	at    netip.AddrPort
	stop  func() // nil while nothing is open
}

// apply listens where the configuration wants it. An address that is not there yet (a
// lease, say) is tried again by the next round.
func (e *exporter) apply(want netip.AddrPort) error {
	if e.at == want {
		return nil
	}
	if e.stop != nil {
		e.stop()
		e.at, e.stop = netip.AddrPort{}, nil
	}
	if !want.IsValid() {
		return nil
	}
	l, err := api.ListenToStrangers(want)
	if err != nil {
		return fmt.Errorf("tell the metrics on %s: %w", want, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", e.Handler())
	stop := e.start(func(ctx context.Context) error { return api.ServeStrangers(ctx, l, mux, e.log) })
	e.at, e.stop = want, func() {
		stop()
		_ = l.Close() // At once: the next one may want the same port.
	}
	return nil
}

// count counts what was done to the kernel's routes.
func (e *exporter) count(r route.Result) {
	for op, n := range map[string]int{"added": r.Added, "replaced": r.Replaced, "moved": r.Moved, "deleted": r.Deleted, "nexthop": r.NextHops, "refused": r.Refused} {
		e.Operations(op, n)
	}
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
