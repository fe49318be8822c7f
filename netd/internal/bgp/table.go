package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"
)

// read brings the table up to date: as a whole, or by the prefixes that changed.
// After an error the table is not to be used until it was read as a whole.
func (l *life) read(ctx context.Context, c Config, all bool, prefixes map[netip.Prefix]struct{}) error {
	if all {
		begin := time.Now()
		l.table = map[netip.Prefix][]Path{}
		for _, family := range []*api.Family{ipv4(), ipv6()} {
			if err := l.list(ctx, c, family, nil); err != nil {
				return err
			}
		}
		l.tableRead, l.tableCost = begin, time.Since(begin)
		return nil
	}
	var v4, v6 []*api.TableLookupPrefix
	for p := range prefixes {
		delete(l.table, p)
		lookup := &api.TableLookupPrefix{Prefix: p.String()}
		if p.Addr().Is4() {
			v4 = append(v4, lookup)
		} else {
			v6 = append(v6, lookup)
		}
	}
	if len(v4) > 0 {
		if err := l.list(ctx, c, ipv4(), v4); err != nil {
			return err
		}
	}
	if len(v6) > 0 {
		return l.list(ctx, c, ipv6(), v6)
	}
	return nil
}

// list reads the paths of one family into the table: all, or those of some prefixes.
func (l *life) list(ctx context.Context, c Config, family *api.Family, some []*api.TableLookupPrefix) error {
	sources := map[string]source{}
	from := func(neighbour string) (source, bool) {
		if known, ok := sources[neighbour]; ok {
			return known, known.name != ""
		}
		var known source
		if a, err := netip.ParseAddr(neighbour); err == nil {
			known.name, _, _, _ = c.who(a)
			known.address = a
		}
		sources[neighbour] = known
		return known, known.name != ""
	}
	err := receive(func() (grpc.ServerStreamingClient[api.ListPathResponse], error) {
		return l.client.ListPath(ctx, &api.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: family, Prefixes: some})
	}, func(r *api.ListPathResponse) {
		paths := learned(r.Destination, from)
		for i := range paths {
			paths[i].Rule = c.admits(paths[i].Prefix)
		}
		if len(paths) > 0 {
			l.table[paths[0].Prefix] = paths
		}
	})
	if err != nil {
		return fmt.Errorf("list paths: %w", err)
	}
	return nil
}
