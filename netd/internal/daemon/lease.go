package daemon

import (
	"context"

	"netd/netd/internal/link"
)

// leasing is the task that keeps one uplink's lease.
type leasing struct {
	match string // which link it is
	stop  context.CancelFunc
}

// lease starts and stops the tasks that ask for leases. wanted has the uplinks that need
// one, and by what each one's link is found: for another link the task begins anew.
func (u *uplinks) lease(wanted map[string]string) {
	for name, l := range u.leasing {
		if match, ok := wanted[name]; !ok || match != l.match {
			l.stop()
			delete(u.leasing, name)
			delete(u.leases, name)
		}
	}
	for name, match := range wanted {
		if _, runs := u.leasing[name]; !runs {
			stop := u.start(func(ctx context.Context) error { return u.keepLease(ctx, name) })
			u.leasing[name] = leasing{match, stop}
		}
	}
}

func (u *uplinks) keepLease(ctx context.Context, uplink string) error {
	return link.RunDHCP(ctx, uplink, u.log, func(l link.Lease) {
		_ = u.loop.do(ctx, func() error { // Only the end of ctx is an error here.
			if ctx.Err() == nil {
				u.leases[uplink] = l
			}
			return nil
		})
		u.loop.wake.Send()
	})
}
