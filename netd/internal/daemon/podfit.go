package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"netd/netd/internal/intent"
	"netd/netd/internal/pod"
)

// fitted is what all pods were last fitted to.
type fitted struct {
	blocks []netip.Prefix
	mtu    int // in octets
}

// fit gives the pods that are there what has changed for all of them: the MTU, when the
// uplinks' has changed, and an address of a family that has a block now. Whether to is
// decided here; start does it beside the loop. The error is that of the last time;
// repair has it tried again.
func (p *pods) fit(want intent.Pods, start func(func(context.Context) error) context.CancelFunc) error {
	p.ipam.SetBlocks(want.Blocks)
	p.mtu = want.MTU
	if p.fitting || p.fits.mtu == want.MTU && slices.Equal(p.fits.blocks, want.Blocks) {
		return p.problem
	}
	p.fitting, p.fits = true, fitted{slices.Clone(want.Blocks), want.MTU}
	all := slices.Collect(maps.Values(p.records))
	start(func(ctx context.Context) error {
		var errs []error
		for _, r := range all {
			if err := p.fitOne(ctx, r, want.MTU); err != nil && ctx.Err() == nil {
				errs = append(errs, err)
			}
		}
		_ = p.loop.do(ctx, func() error { // Only the end of ctx is an error here.
			p.fitting, p.problem = false, errors.Join(errs...)
			return nil
		})
		p.loop.wake.Send()
		return nil
	})
	return p.problem
}

func (p *pods) fitOne(ctx context.Context, before pod.Pod, mtu int) error {
	end, err := p.busy.begin(ctx, before.Name)
	if err != nil {
		return err
	}
	defer end()
	addresses, _, cause := p.assign(ctx, before.Name)
	if cause != nil {
		addresses = before.Addresses
	}
	made, err := p.make(pod.Spec{Name: before.Name, Owner: before.Owner, Addresses: addresses, MTU: mtu})
	if err != nil {
		return errors.Join(cause, fmt.Errorf("pod %s: %w", before.Name, err))
	}
	return errors.Join(cause, p.replace(ctx, before, made))
}

// replace puts a record in the place of the one before, if that is still there.
func (p *pods) replace(ctx context.Context, before, made pod.Pod) error {
	return p.loop.run(ctx, &job{do: func() error {
		if now, there := p.records[before.Name]; !there || !now.Equal(before) {
			return nil // It was removed, or made anew, meanwhile.
		}
		if !slices.Equal(made.Addresses, before.Addresses) {
			p.log.Info("pod has other addresses", "pod", made.Name, "addresses", made.Addresses, "before", before.Addresses)
		}
		p.records[made.Name] = made
		return nil
	}, settled: func(error) error { return nil }}) // A route's error is the round's to tell.
}

// repair looks after what no event tells of, beside the loop.
func (p *pods) repair(start func(func(context.Context) error) context.CancelFunc) {
	if p.problem != nil {
		p.fits = fitted{}
	}
	if !p.mending {
		p.mending = true
		start(p.mend)
	}
}

// mend makes whole what somebody has damaged on the host's side.
func (p *pods) mend(ctx context.Context) error {
	all, mtu := []pod.Pod{}, 0
	_ = p.loop.do(ctx, func() error { // Only the end of ctx is an error here.
		all, mtu, p.mending = slices.Collect(maps.Values(p.records)), p.mtu, false
		return nil
	})
	damaged, err := p.manager.Damaged(all)
	if err != nil {
		p.log.Error("look at the pods' links", "err", err)
	}
	for _, r := range damaged {
		p.log.Warn("pod's link is damaged; mending it", "pod", r.Name, "link", r.Link)
		if err := p.fitOne(ctx, r, mtu); err != nil && ctx.Err() == nil {
			p.log.Error("mend a pod's link", "pod", r.Name, "err", err)
		}
	}
	return nil
}
