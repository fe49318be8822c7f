package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"netd/netd/internal/arp"
	"netd/netd/internal/intent"
	"netd/netd/internal/link"
	"netd/netd/wake"
)

// guarding is the task that announces one uplink's IPv4 addresses, and hears who else has
// them.
type guarding struct {
	addresses []netip.Addr
	index     int         // of the link
	again     wake.Signal // its carrier has returned
	stop      context.CancelFunc
	found     arp.Conflicts
}

// guard starts and stops these tasks, for the addresses that the links have.
func (u *uplinks) guard(want intent.Intent, states []link.State) {
	seen := map[string]bool{}
	for i, w := range want.Uplinks {
		var own []netip.Addr
		for _, p := range w.Prefixes {
			if p.Addr().Is4() && slices.Contains(states[i].Addresses, p) {
				own = append(own, p.Addr())
			}
		}
		g := u.guarding[w.Name]
		if seen[w.Name] = len(own) > 0; g != nil && slices.Equal(g.addresses, own) && g.index == states[i].Index {
			continue
		}
		u.unguard(w.Name)
		if len(own) == 0 {
			continue
		}
		g = &guarding{addresses: own, index: states[i].Index, again: wake.New()}
		u.guarding[w.Name] = g
		g.stop = u.start(func(ctx context.Context) error {
			return arp.Watch(ctx, w.Name, own, g.again, func(c arp.Conflicts) {
				u.tell(ctx, func() { g.found = c })
			})
		})
	}
	for name := range u.guarding {
		if !seen[name] {
			u.unguard(name)
		}
	}
}

func (u *uplinks) unguard(uplink string) {
	if g := u.guarding[uplink]; g != nil {
		g.stop()
		delete(u.guarding, uplink)
	}
}

// conflict is what a person is told of an uplink whose address another host has, too; empty
// if none has. The address is used all the same: a gateway without it could not even be asked.
func (u *uplinks) conflict(uplink string) string {
	g := u.guarding[uplink]
	if g == nil {
		return ""
	}
	for _, a := range g.found.Sorted() {
		return fmt.Sprintf("another host on the link has the address %s, too: %s (ARP)", a, g.found[a])
	}
	return ""
}

// returned tells the tasks of an uplink that its carrier has returned.
func (u *uplinks) returned(uplink string) {
	if l := u.leasing[uplink]; l != nil {
		l.again.Send()
	}
	if g := u.guarding[uplink]; g != nil {
		g.again.Send()
	}
}
