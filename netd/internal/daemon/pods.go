package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"netd/containers"
	"netd/netd/internal/pod"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
)

// podNetwork is what the container runtime asks for a pod's network.
type podNetwork struct{ d *Daemon }

// Setup gives the pod its address, link and route; when it returns, they are in
// force.
func (n podNetwork) Setup(ctx context.Context, name string) (containers.Sandbox, error) {
	var p pod.Pod
	err := n.d.do(ctx, func() (err error) {
		p, err = n.d.addPod(name)
		return err
	})
	return containers.Sandbox{NetnsPath: p.Netns, Address: p.Address}, err
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
	address, err := d.ipam.Assign(name)
	if err != nil {
		return pod.Pod{}, err
	}
	p, err := d.pods.Ensure(pod.Spec{Name: name, Address: address, MTU: d.podMTU()})
	if err != nil {
		return pod.Pod{}, fmt.Errorf("pod %s: %w", name, err)
	}
	was, known := d.podNets[name]
	d.podNets[name] = p
	// The error of another route does not concern this pod.
	if _, err := d.program(); err != nil && !d.hasRoute(address) {
		return pod.Pod{}, fmt.Errorf("pod %s: %w", name, err)
	}
	if !known || was != d.podNets[name] {
		d.opts.Log.Info("pod has its network", "pod", name, "address", address, "link", p.Link, "took", time.Since(begin).Round(time.Millisecond/10))
	}
	return d.podNets[name], nil
}

// hasRoute tells whether the kernel has our route to a pod's address.
func (d *Daemon) hasRoute(address netip.Addr) bool {
	routes, err := d.kernel.Routes(route.Protocol)
	return err == nil && slices.ContainsFunc(routes, func(r rtnl.Route) bool {
		return !r.Blackhole && r.Prefix == netip.PrefixFrom(address, address.BitLen())
	})
}

func (d *Daemon) removePod(name string) error {
	delete(d.podNets, name)
	if err := d.pods.Remove(name); err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	if _, err := d.program(); err != nil {
		d.opts.Log.Error("routes after the removal of a pod", "pod", name, "err", err)
	}
	return d.ipam.Release(name)
}
