package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// read brings the table up to date: as a whole, or by the prefixes that changed.
// After an error the table is not to be used until it was read as a whole.
func (l *life) read(ctx context.Context, c Config, all bool, prefixes map[netip.Prefix]struct{}) error {
	if all {
		begin := time.Now()
		l.table = make(map[netip.Prefix][]Path, len(l.table))
		for _, family := range []bgp.Family{bgp.RF_IPv4_UC, bgp.RF_IPv6_UC} {
			if err := l.list(ctx, c, ask(family)); err != nil {
				return err
			}
		}
		l.tableRead, l.tableCost = begin, time.Since(begin)
		return nil
	}
	none4, none6 := ask(bgp.RF_IPv4_UC), ask(bgp.RF_IPv6_UC)
	some4, some6 := none4, none6
	for p := range prefixes {
		delete(l.table, p)
		if p.Addr().Is4() {
			some4 = appendValue(some4, p)
		} else {
			some6 = appendValue(some6, p)
		}
	}
	if len(some4) > len(none4) {
		if err := l.list(ctx, c, some4); err != nil {
			return err
		}
	}
	if len(some6) > len(none6) {
		return l.list(ctx, c, some6)
	}
	return nil
}

// list reads into the table what a question asks for.
func (l *life) list(ctx context.Context, c Config, question []byte) error {
	name := func(a netip.Addr) string {
		if !a.IsValid() { // our own
			return ""
		}
		name, _, _, _ := c.who(a)
		return name
	}
	err := inquire(ctx, l.conn, question, name, func(prefix netip.Prefix, told []*known) {
		paths := learned(prefix, told)
		if len(paths) == 0 {
			return
		}
		rule := c.admits(prefix)
		for i := range paths {
			paths[i].Rule = rule
		}
		l.table[prefix] = paths
	})
	if err != nil {
		return fmt.Errorf("list paths: %w", err)
	}
	return nil
}
