package daemon

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"netd/netd/config"
	"netd/netd/internal/bgp"
	"netd/netd/internal/pod"
	"netd/netd/internal/rtnl"
)

// announced is what is announced beside the blocks.
type announced struct {
	now []config.Announce
	// rest are those of them whose unused part has to be dropped.
	rest []netip.Prefix
}

// origins are what this gateway announces: its blocks, what the configuration names, and
// its own addresses. A block is nobody else's; of another
// prefix others may have parts.
func (d *Daemon) origins() []bgp.Origin {
	var list []bgp.Origin
	add := func(p netip.Prefix, whole bool, a config.Attributes) {
		list = append(list, bgp.Origin{Prefix: p, Whole: whole, Communities: a.Communities, Large: a.Large, MED: a.MED})
	}
	for _, p := range d.config.Pools {
		if p.Block.IsValid() {
			add(p.Block, true, p.Attributes)
		}
	}
	for _, a := range d.announced.now {
		add(a.Prefix, false, a.Attributes)
	}
	for _, own := range d.gatewayAddresses() {
		if !slices.ContainsFunc(list, func(o bgp.Origin) bool { return o.Prefix == own }) {
			add(own, true, config.Attributes{})
		}
	}
	return list
}

// localProtocols are those of routes that lead away from the fabric: of addresses, of
// hand-made routes, of router advertisements, of DHCP.
func localProtocols() []int {
	return []int{unix.RTPROT_KERNEL, unix.RTPROT_BOOT, unix.RTPROT_STATIC, unix.RTPROT_RA, unix.RTPROT_DHCP}
}

// followAnnounces decides which prefixes are announced beside the blocks: those that
// this gateway has a way to. If the kernel can not be read all stays as it is.
func (d *Daemon) followAnnounces() error {
	var now announced
	if len(d.config.BGP.Announces) > 0 {
		ways, err := d.localWays()
		if err != nil {
			return err
		}
		for _, a := range d.config.BGP.Announces {
			within := func(p netip.Prefix) bool { return a.Prefix.Bits() <= p.Bits() && a.Prefix.Contains(p.Addr()) }
			if a.Always || slices.ContainsFunc(ways, within) {
				now.now = append(now.now, a)
				if !slices.Contains(ways, a.Prefix) {
					now.rest = append(now.rest, a.Prefix)
				}
			}
		}
	}
	d.logAnnounces(d.announced.now, now.now)
	d.announced = now
	return nil
}

func (d *Daemon) logAnnounces(before, now []config.Announce) {
	has := func(list []config.Announce, p netip.Prefix) bool {
		return slices.ContainsFunc(list, func(a config.Announce) bool { return a.Prefix == p })
	}
	for _, a := range now {
		if !has(before, a.Prefix) {
			d.opts.Log.Info("announced", "prefix", a.Prefix, "always", a.Always)
		}
	}
	for _, a := range before {
		if !has(now, a.Prefix) {
			d.opts.Log.Info("announced no more: there is no way to any part of it", "prefix", a.Prefix)
		}
	}
}

// localWays are the prefixes that this gateway has its own way to: pods, addresses, and
// routes of others than netd that leave by no uplink, by links that packets can pass.
func (d *Daemon) localWays() ([]netip.Prefix, error) {
	var ways []netip.Prefix
	for _, p := range d.podNets {
		for _, a := range p.Addresses {
			ways = append(ways, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	links, err := d.kernel.Links()
	if err != nil {
		return nil, err
	}
	usable := map[int]bool{}
	for _, l := range links {
		usable[l.Index] = d.isLocal(l)
	}
	addresses, err := d.kernel.Addresses(0)
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if usable[a.Link] {
			ways = append(ways, netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen()))
		}
	}
	for _, protocol := range localProtocols() {
		routes, err := d.kernel.Routes(protocol)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if usable[r.Link] {
				ways = append(ways, r.Prefix)
			}
		}
	}
	return ways, nil
}

// isLocal tells whether a link leads elsewhere than to the fabric and to pods.
func (d *Daemon) isLocal(l rtnl.Link) bool {
	const ownLinks = "netd" // the tunnels' names begin so
	return l.Up && l.Carrier && !strings.HasPrefix(l.Name, ownLinks) && !strings.HasPrefix(l.Name, pod.LinkPrefix) &&
		!slices.ContainsFunc(d.config.Uplinks, func(u config.Uplink) bool { return u.Name == l.Name })
}
