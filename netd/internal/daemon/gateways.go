package daemon

import (
	"net/netip"
	"slices"

	"netd/netd/config"
)

// gatewayRanges are where gateways are that are not known one by one.
func (d *Daemon) gatewayRanges() []config.Range {
	var ranges []config.Range
	for _, r := range d.config.BGP.Ranges {
		if r.Type == config.TypeGateway {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// metGateways are the addresses of gateways of a range that paths lead to.
func (d *Daemon) metGateways() []netip.Addr {
	var met []netip.Addr
	for _, r := range d.gatewayRanges() {
		for _, paths := range d.snapshot.Paths {
			for _, p := range paths.List {
				if r.Prefix.Contains(p.NextHop) {
					met = append(met, p.NextHop)
				}
			}
		}
	}
	slices.SortFunc(met, netip.Addr.Compare)
	return slices.Compact(met)
}
