package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

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
			if _, err := p.fitOne(ctx, r, want.MTU); err != nil && ctx.Err() == nil {
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

// fitOne makes a pod so again, and tells what was to do.
func (p *pods) fitOne(ctx context.Context, before pod.Pod, mtu int) (done []string, err error) {
	end, err := p.busy.begin(ctx, before.Name)
	if err != nil {
		return nil, err
	}
	defer end()
	addresses, _, cause := p.assign(ctx, before.Name)
	if cause != nil {
		addresses = before.Addresses
	}
	made, done, err := p.make(pod.Spec{Name: before.Name, Owner: before.Owner, Addresses: addresses, MTU: mtu})
	if err != nil {
		return done, errors.Join(cause, fmt.Errorf("pod %s: %w", before.Name, err))
	}
	return done, errors.Join(cause, p.replace(ctx, before, made))
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

// mostInside is how many pods are looked into at a time, of which no event tells.
const mostInside = 20

// mend makes whole what somebody has damaged: on the host's side of all pods, and inside
// of some in turn.
func (p *pods) mend(ctx context.Context) error {
	all, look, mtu := []pod.Pod{}, []pod.Pod{}, 0
	_ = p.loop.do(ctx, func() error { // Only the end of ctx is an error here.
		all, mtu, p.mending = slices.Collect(maps.Values(p.records)), p.mtu, false
		if p.inside && len(all) > 0 {
			names := slices.Sorted(maps.Keys(p.records))
			for range min(mostInside, len(names)) {
				look = append(look, p.records[names[p.looked%len(names)]])
				p.looked++
			}
		}
		p.inside = false
		return nil
	})
	damaged, err := p.manager.Damaged(all, mtu)
	if err != nil {
		p.log.Error("look at the pods' links", "err", err)
	}
	for _, r := range look {
		if !slices.ContainsFunc(damaged, r.Equal) {
			damaged = append(damaged, r)
		}
	}
	for _, r := range damaged {
		done, err := p.fitOne(ctx, r, mtu)
		if err != nil && ctx.Err() == nil {
			p.log.Error("mend a pod's link", "pod", r.Name, "err", err)
		}
		for i := range done {
			done[i] = fmt.Sprintf("pod %s: %s", r.Name, done[i])
		}
		_ = p.loop.do(ctx, func() error {
			p.told(time.Now(), done...)
			return nil
		})
	}
	return nil
}
