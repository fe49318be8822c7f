package intent

import (
	"fmt"
	"net/netip"
	"slices"

	"netd/containers"
	"netd/netd/config"
	"netd/netd/internal/link"
)

// pods is what the configuration and people ask for.
func (c compiler) pods(tunnels link.Need) Pods {
	p := Pods{Blocks: c.blocks(), MTU: tunnels.PodMTU(), Wanted: map[string]bool{}}
	for _, w := range c.Workloads {
		for i := range w.Replicas {
			p.Specs = append(p.Specs, containers.Spec{
				Name: w.Name, Pod: podName(w.Name, i), Image: w.Image,
				Command: w.Command, Args: w.Args, Env: w.Env,
				Restart: containers.Restart(w.Restart), StopTimeout: w.StopTimeout,
			})
		}
	}
	for _, s := range p.Specs {
		p.Wanted[s.Pod] = true
	}
	for _, name := range c.ByHand {
		p.Wanted[name] = true
	}
	return p
}

// podName is that of one of a workload's pods.
func podName(workload string, i int) string { return fmt.Sprintf("%s-%d", workload, i) }

// blocks are this gateway's shares of the pools.
func (c compiler) blocks() []netip.Prefix {
	blocks := make([]netip.Prefix, 0, len(c.Pools))
	for _, p := range c.Pools {
		if p.Block.IsValid() {
			blocks = append(blocks, p.Block)
		}
	}
	return blocks
}

// forwards6 tells whether pods or devices have IPv6: only then is it forwarded, because
// the kernel then ignores other routers' advertisements.
func (c compiler) forwards6() bool {
	return c.pools6() || slices.ContainsFunc(c.Config.LANs, func(l config.LAN) bool {
		return slices.ContainsFunc(l.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() })
	})
}

// pools6 tells whether pods have IPv6.
func (c compiler) pools6() bool {
	return slices.ContainsFunc(c.Pools, func(p config.Pool) bool { return p.Prefix.Addr().Is6() })
}
