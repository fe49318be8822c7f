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

// guarding is the task that announces one link's IPv4 addresses, and hears who else has
// them.
type guarding struct {
	addresses []netip.Addr
	index     int         // of the link
	again     wake.Signal // its carrier has returned
	stop      context.CancelFunc
	found     arp.Conflicts
}

// guard starts and stops these tasks, for the addresses that the uplinks and LANs have, and
// tells in their states what was heard.
func (u *uplinks) guard(want intent.Intent, all []link.State) {
	wanted := map[string][]netip.Prefix{}
	for _, w := range want.Uplinks {
		wanted[w.Name] = w.Prefixes
	}
	for _, l := range want.LANs {
		wanted[l.Name] = l.Addresses
	}
	seen := map[string]bool{}
	for i, s := range all {
		var own []netip.Addr
		for _, p := range wanted[s.Name] {
			if p.Addr().Is4() && slices.Contains(s.Addresses, p) {
				own = append(own, p.Addr())
			}
		}
		seen[s.Name] = len(own) > 0
		u.guardLink(s, own)
		if c := u.conflict(s.Name); c != "" && s.Problem == "" {
			all[i].Problem = c
		}
	}
	for name := range u.guarding {
		if !seen[name] {
			u.unguard(name)
		}
	}
}

// guardLink has one of them for a link and its addresses.
func (u *uplinks) guardLink(s link.State, own []netip.Addr) {
	g := u.guarding[s.Name]
	if g != nil && slices.Equal(g.addresses, own) && g.index == s.Index {
		return
	}
	u.unguard(s.Name)
	if len(own) == 0 {
		return
	}
	g = &guarding{addresses: own, index: s.Index, again: wake.New()}
	u.guarding[s.Name] = g
	g.stop = u.start(func(ctx context.Context) error {
		return arp.Watch(ctx, s.Name, own, g.again, func(c arp.Conflicts) {
			u.tell(ctx, func() { g.found = c })
		})
	})
}

func (u *uplinks) unguard(uplink string) {
	if g := u.guarding[uplink]; g != nil {
		g.stop()
		delete(u.guarding, uplink)
	}
}

// conflict is what a person is told of a link whose address another host has, too; empty
// if none has. The address is used all the same: a gateway without it could not even be asked.
func (u *uplinks) conflict(link string) string {
	g := u.guarding[link]
	if g == nil {
		return ""
	}
	for _, a := range g.found.Sorted() {
		return fmt.Sprintf("another host on the link has the address %s, too: %s (ARP)", a, g.found[a])
	}
	return ""
}

// returned tells the tasks of a link that its carrier has returned.
func (u *uplinks) returned(link string) {
	if l := u.leasing[link]; l != nil {
		l.again.Send()
	}
	if g := u.guarding[link]; g != nil {
		g.again.Send()
	}
}
