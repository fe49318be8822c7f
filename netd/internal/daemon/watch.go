package daemon

import (
	"context"
	"time"

	"netd/netd/internal/rtnl"
	"netd/netd/layout"
	"netd/netd/retry"
)

// rewatch is the pause before rtnetlink's events are asked for again.
const rewatch = time.Second

// watch passes rtnetlink's events on to the loop. When events were lost, the loop looks
// at everything.
func (d *Daemon) watch(ctx context.Context) error {
	for {
		err := d.routes.kernel.Watch(ctx, layout.Protocol, d.loop.heard)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.opts.Log.Warn("rtnetlink events lost; reading everything again", "err", err)
		d.loop.heard(rtnl.Event{What: rtnl.WatchBegun})
		if !retry.Sleep(ctx, rewatch) {
			return ctx.Err()
		}
	}
}
