package daemon

import (
	"context"
	"path/filepath"
	"sync/atomic"

	"netd/netd/internal/arp"
	"netd/netd/internal/dhcp"
	"netd/netd/internal/intent"
	"netd/netd/wake"
)

// leasing is the task that keeps one uplink's lease.
type leasing struct {
	match string // which link it is
	taken atomic.Pointer[[]dhcp.Taken]
	again wake.Signal // its carrier has returned
	stop  context.CancelFunc
}

// lease starts and stops the tasks that ask for leases. wanted has the uplinks that need
// one: for another link the task begins anew.
func (u *uplinks) lease(wanted map[string]intent.Lease) {
	for name, l := range u.leasing {
		if w, ok := wanted[name]; !ok || w.Match != l.match {
			l.stop()
			delete(u.leasing, name)
			delete(u.leases, name)
		}
	}
	for name, w := range wanted {
		l, runs := u.leasing[name]
		if !runs {
			l = &leasing{match: w.Match, again: wake.New()}
			u.leasing[name] = l
		}
		l.taken.Store(&w.Taken)
		if !runs {
			l.stop = u.start(func(ctx context.Context) error { return u.keepLease(ctx, name, l) })
		}
	}
}

func (u *uplinks) keepLease(ctx context.Context, uplink string, l *leasing) error {
	return dhcp.Run(ctx, dhcp.Options{
		Link: uplink, Log: u.log, Again: l.again, Probe: arp.Probe, File: filepath.Join(u.runDir, "lease-"+uplink+".json"),
		Taken: func() []dhcp.Taken { return *l.taken.Load() },
		Changed: func(given dhcp.Lease) {
			u.tell(ctx, func() { u.leases[uplink] = given })
		},
	})
}

// tell has the loop take in what a task has found, and look.
func (u *uplinks) tell(ctx context.Context, note func()) {
	_ = u.loop.do(ctx, func() error { // Only the end of ctx is an error here.
		if ctx.Err() == nil {
			note()
		}
		return nil
	})
	u.loop.wake.Send()
}
