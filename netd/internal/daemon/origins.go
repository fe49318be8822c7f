package daemon

import (
	"netd/netd/internal/bgp"
)

// origins are what this gateway announces.
func (d *Daemon) origins() []bgp.Origin {
	return bgp.Prefixes(d.blocks()...)
}
