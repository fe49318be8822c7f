package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"netd/netd/internal/bgp/wire"
)

// read brings the table up to date: as a whole, or by the prefixes that changed.
// After an error the table is not to be used until it was read as a whole.
func (l *life) read(ctx context.Context, c Config, all bool, prefixes map[netip.Prefix]struct{}) error {
	if all {
		begin := time.Now()
		l.table = make(map[netip.Prefix][]Path, len(l.table))
		for _, six := range []bool{false, true} {
			if err := l.list(ctx, c, wire.Question{IPv6: six}); err != nil {
				return err
			}
		}
		l.tableRead, l.tableCost = begin, time.Since(begin)
		return nil
	}
	some4, some6 := wire.Question{}, wire.Question{IPv6: true}
	for p := range prefixes {
		delete(l.table, p)
		if p.Addr().Is4() {
			some4.Prefixes = append(some4.Prefixes, p)
		} else {
			some6.Prefixes = append(some6.Prefixes, p)
		}
	}
	for _, q := range []wire.Question{some4, some6} {
		if len(q.Prefixes) == 0 {
			continue
		}
		if err := l.list(ctx, c, q); err != nil {
			return err
		}
	}
	return nil
}

// list reads into the table what a question asks for.
func (l *life) list(ctx context.Context, c Config, q wire.Question) error {
	names := map[netip.Addr]string{{}: ""} // of our own there is none
	name := func(a netip.Addr) string {
		n, known := names[a]
		if !known {
			n, _, _, _ = c.Who(a)
			names[a] = n
		}
		return n
	}
	err := wire.Ask(ctx, l.conn, q, func(told wire.Told) {
		paths := learned(told.Prefix, told.Reports, name)
		if len(paths) == 0 {
			return
		}
		rule := admits(c.Pools, told.Prefix)
		for i := range paths {
			paths[i].Rule = rule
		}
		l.table[told.Prefix] = paths
	})
	if err != nil {
		return fmt.Errorf("list paths: %w", err)
	}
	return nil
}
