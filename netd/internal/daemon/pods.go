package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"netd/containers"
	"netd/netd/internal/pod"
)

// podNetwork is what the container runtime asks for a pod's network.
type podNetwork struct{ d *Daemon }

// Setup gives the pod its addresses, link and routes; when it returns, they are in
// force.
func (n podNetwork) Setup(ctx context.Context, name string) (containers.Sandbox, error) {
	var p pod.Pod
	err := n.d.do(ctx, func() (err error) {
		p, err = n.d.addPod(name)
		return err
	})
	return containers.Sandbox{NetnsPath: p.Netns, Addresses: p.Addresses}, err
}

// Teardown takes it all back.
func (n podNetwork) Teardown(ctx context.Context, name string) error {
	return n.d.do(ctx, func() error { return n.d.removePod(name) })
}

// podName is what may be a pod's name: it becomes a host name and a file name.
var podName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (d *Daemon) addPod(name string) (pod.Pod, error) {
	if !podName.MatchString(name) {
		return pod.Pod{}, fmt.Errorf("pod name %q: expected at most 63 of a-z, 0-9 and -, e.g. web-0", name)
	}
	begin := time.Now()
	addresses, err := d.assign(name)
	if err != nil {
		return pod.Pod{}, err
	}
	p, err := d.pods.Ensure(pod.Spec{Name: name, Addresses: addresses, MTU: d.podMTU()})
	if err != nil {
		return pod.Pod{}, fmt.Errorf("pod %s: %w", name, err)
	}
	was, known := d.podNets[name]
	d.podNets[name] = p
	// The error of another route does not concern this pod.
	if _, err := d.program(); err != nil && !d.hasRoutes(addresses) {
		return pod.Pod{}, fmt.Errorf("pod %s: %w", name, err)
	}
	if !known || !was.Equal(p) {
		d.opts.Log.Info("pod has its network", "pod", name, "addresses", addresses, "link", p.Link, "took", time.Since(begin).Round(time.Millisecond/10))
	}
	return p, nil
}

// assign gives the pod its addresses; they are durable when it returns.
func (d *Daemon) assign(name string) ([]netip.Addr, error) {
	t, err := d.ipam.Assign(name)
	if err != nil {
		return nil, err
	}
	return t.Addresses, d.ipam.Settle(t, <-t.Durable)
}

// hasRoutes tells whether the kernel has our routes to all of a pod's addresses.
func (d *Daemon) hasRoutes(addresses []netip.Addr) bool {
	return !slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !d.fib.Has(netip.PrefixFrom(a, a.BitLen())) })
}

// fitPods gives the pods that are there what has changed for all of them: the MTU,
// when the uplinks' does, and an address of a family that has a block now.
func (d *Daemon) fitPods() error {
	d.ipam.SetBlocks(d.blocks())
	mtu := d.podMTU()
	var errs []error
	for _, p := range d.podNets {
		addresses, err := d.assign(p.Name)
		if err != nil {
			errs = append(errs, err)
			addresses = p.Addresses
		}
		if mtu == d.netsMTU && slices.Equal(addresses, p.Addresses) {
			continue
		}
		fitted, err := d.pods.Ensure(pod.Spec{Name: p.Name, Addresses: addresses, MTU: mtu})
		if err != nil {
			errs = append(errs, fmt.Errorf("pod %s: %w", p.Name, err))
			continue
		}
		if !fitted.Equal(p) {
			d.opts.Log.Info("pod has other addresses", "pod", p.Name, "addresses", addresses, "before", p.Addresses)
		}
		d.podNets[p.Name] = fitted
	}
	if errs == nil {
		d.netsMTU = mtu
	}
	return errors.Join(errs...)
}

// mendPods makes whole what somebody has damaged on the host's side.
func (d *Daemon) mendPods() {
	damaged, err := d.pods.Damaged(slices.Collect(maps.Values(d.podNets)))
	if err != nil {
		d.opts.Log.Error("look at the pods' links", "err", err)
	}
	for _, p := range damaged {
		d.opts.Log.Warn("pod's link is damaged; mending it", "pod", p.Name, "link", p.Link)
		if _, err := d.pods.Ensure(pod.Spec{Name: p.Name, Addresses: p.Addresses, MTU: d.podMTU()}); err != nil {
			d.opts.Log.Error("mend a pod's link", "pod", p.Name, "err", err)
		}
	}
}

func (d *Daemon) removePod(name string) error {
	delete(d.podNets, name)
	if err := d.pods.Remove(name); err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	if _, err := d.program(); err != nil {
		d.opts.Log.Error("routes after the removal of a pod", "pod", name, "err", err)
	}
	if err := <-d.ipam.Release(name); err != nil {
		return fmt.Errorf("release the addresses of pod %s: %w", name, err)
	}
	return nil
}
