package daemon

import (
	"log/slog"

	"netd/netd/internal/intent"
	"netd/netd/internal/link"
	"netd/netd/internal/policy"
	"netd/netd/layout"
)

// policies is what the kernel forwards and drops.
type policies struct {
	log     *slog.Logger
	inForce policy.Rules
	applied bool
}

// apply puts the policy in force when it is another one.
func (p *policies) apply(want policy.Rules) error {
	if p.applied && p.inForce.Equal(want) {
		return nil
	}
	if err := policy.Apply(want); err != nil {
		return err
	}
	p.inForce, p.applied = want, true
	return nil
}

// repair puts the policy back if someone has flushed it.
func (p *policies) repair() {
	present, err := policy.Present()
	if err == nil && !present {
		p.log.Warn("nftables table is gone; putting it back", "table", layout.Table)
		err = policy.Apply(p.inForce)
	}
	if err != nil {
		p.log.Error("guard of the tunnels", "err", err)
	}
}

// forward lets the kernel forward what the pods need.
func forward(want intent.Intent) error {
	if err := link.Forward(); err != nil {
		return err
	}
	if want.Forward6 {
		return link.Forward6()
	}
	return nil
}
