package daemon

import (
	"context"
	"log/slog"

	"netd/netd/internal/intent"
	"netd/netd/internal/link"
	"netd/netd/internal/policy"
	"netd/netd/internal/rtnl"
	"netd/netd/retry"
	"netd/netd/wake"
)

// policies is what the kernel forwards and drops.
type policies struct {
	log     *slog.Logger
	guard   policy.Guard
	touched wake.Signal // somebody may have changed our table
	// forward6 is what was asked for of forwarding, if asked.
	asked, forward6 bool
	mended          []string // of forwarding, in the last round
}

// apply puts the policy in force when it is another one.
func (p *policies) apply(want policy.Rules) error { return p.guard.Apply(want) }

// repair puts the policy back if someone has changed anything of it, and returns what.
func (p *policies) repair() []string {
	mended, err := p.guard.Repair()
	if err != nil {
		p.log.Error("the guard's table", "err", err)
	}
	return mended
}

// watch wakes the loop when somebody has changed our table.
func (p *policies) watch(ctx context.Context) error {
	for {
		err := policy.Watch(ctx, p.touched.Send)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.log.Warn("nftables' events lost; reading the table again", "err", err)
		if !retry.Sleep(ctx, rewatch) {
			return ctx.Err()
		}
	}
}

// forward lets the kernel forward what the pods need.
func (p *policies) forward(k *rtnl.Conn, want intent.Intent) error {
	_ = k.Written() // What the last round did last, as to sweep tunnels, was its own work.
	err := link.Forward(k)
	if err == nil && want.Forward6 {
		err = link.Forward6(k)
	}
	p.mended = k.Written()
	if !p.asked || p.forward6 != want.Forward6 {
		p.mended = nil // Nobody else's doing: it was not wanted before.
	}
	p.asked, p.forward6 = err == nil, want.Forward6
	return err
}
