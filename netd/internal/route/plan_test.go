package route

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/rib"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

// given is what is known: facts, and paths that were learned or are of routers.
type given struct {
	Facts
	Paths []told
}

// told is a path of a prefix.
type told struct {
	Prefix  netip.Prefix
	NextHop netip.Addr
	Peer    string
	Rank    int
	ASPath  []uint32
	// Static: of a router, and not learned.
	Static bool
	// Named: a filter asks for it, though it is outside every pool.
	Named bool
}

// update is what is learned. Prefixes of which the same is told share their paths.
func (g given) update() rib.Update {
	u := rib.Update{Whole: true}
	at := map[netip.Prefix]*rib.Paths{}
	var order []netip.Prefix
	for _, p := range g.Paths {
		if p.Static {
			continue
		}
		if at[p.Prefix] == nil {
			at[p.Prefix] = &rib.Paths{Rule: rib.ByPool}
			order = append(order, p.Prefix)
		}
		if p.Named {
			at[p.Prefix].Rule = rib.ByFilter
		}
		at[p.Prefix].List = append(at[p.Prefix].List, rib.Path{NextHop: p.NextHop, Peer: p.Peer, Rank: p.Rank, ASPath: p.ASPath})
	}
	shared := map[string]*rib.Paths{}
	for _, p := range order {
		key := fmt.Sprint(*at[p])
		if shared[key] == nil {
			shared[key] = at[p]
		}
		u.Entries = append(u.Entries, rib.Entry{Prefix: p, Paths: shared[key]})
	}
	return u
}

func (g given) facts() Facts {
	for _, p := range g.Paths {
		if p.Static {
			g.Routers = append(slices.Clip(g.Routers), Router{Uplink: p.Peer, Address: p.NextHop})
		}
	}
	return g.Facts
}

// Plan is what a table that knew nothing decides.
func Plan(g given) *Decisions {
	t := NewTable()
	t.Learn(g.update())
	t.Plan(g.facts())
	return t.Decisions()
}

// lab is gw-a of the lab: gw-b on its subnet, gw-c in another, tor1 between.
func lab() given {
	return given{Facts: Facts{
		Pools:  []Pool{{pfx("10.64.0.0/16"), CrossSubnet}},
		Blocks: []netip.Prefix{pfx("10.64.1.0/26")},
		Hops: map[netip.Addr]Hop{
			ip("10.0.1.1"):  {Connected: true, Link: "uplink0"},
			ip("10.0.1.12"): {Connected: true, Link: "uplink0"},
			ip("10.0.2.13"): {Via: ip("10.0.1.1"), Link: "uplink0"},
		},
		Gateways: map[netip.Addr]string{ip("10.0.1.12"): "gw-b", ip("10.0.2.13"): "gw-c"},
		Peers:    []netip.Addr{ip("10.0.1.1"), ip("10.0.1.12"), ip("10.0.2.13")},
		Tunnels:  []Tunnel{{Kind: IPIP, Link: "netd-ipip0", Inner: IPv4, Outer: IPv4}},
		Source:   ip("10.0.1.11"),
	}}
}

// lab6 is the lab with IPv6 pods: the underlay has both families, tor1 and gw-b
// speak from their link-local addresses, and gw-d has IPv4 only.
func lab6() given {
	f := lab()
	f.Pools = append(f.Pools, Pool{pfx("2001:db8:64::/48"), CrossSubnet})
	f.Blocks = append(f.Blocks, pfx("2001:db8:64:1::/64"))
	f.Hops[ip("fe80::1%uplink0")] = f.Hops[ip("10.0.1.1")]
	f.Hops[ip("2001:db8:1::12")] = f.Hops[ip("10.0.1.12")]
	f.Hops[ip("2001:db8:2::13")] = f.Hops[ip("10.0.2.13")]
	f.Hops[ip("10.0.2.14")] = f.Hops[ip("10.0.2.13")]
	f.Gateways[ip("2001:db8:1::12")], f.Gateways[ip("2001:db8:2::13")], f.Gateways[ip("10.0.2.14")] = "gw-b", "gw-c", "gw-d"
	f.Source6 = ip("2001:db8:1::11")
	f.Tunnels = append(f.Tunnels,
		Tunnel{Kind: SIT, Link: "netd-s0a00020e", Inner: IPv6, Outer: IPv4, Keys: map[netip.Addr]netip.Addr{ip("10.0.2.14"): ip("::10.0.2.14")}},
		Tunnel{Kind: SIT, Link: "netd-s0a00010c", Inner: IPv6, Outer: IPv4, Keys: map[netip.Addr]netip.Addr{ip("10.0.1.12"): ip("::10.0.1.12")}},
		Tunnel{Kind: IP6Tnl, Link: "netd-ip6tnl0", Inner: IPv4, Outer: IPv6, Local: f.Source6},
		Tunnel{Kind: IP6Tnl, Link: "netd-ip6tnl0", Inner: IPv6, Outer: IPv6, Local: f.Source6},
	)
	return f
}

func path(prefix, nexthop, peer string, rank int) told {
	return told{Prefix: pfx(prefix), NextHop: ip(nexthop), Peer: peer, Rank: rank}
}

func lost(peer, address string) []Lost {
	return []Lost{{Peer: peer, Address: ip(address), Why: "BFD: " + peer + " is down", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
}

// text is a whole plan as golden text: prefix, route, reason.
func text(plan *Decisions) string {
	var b strings.Builder
	for d := range plan.All() {
		if d.Route == nil {
			fmt.Fprintf(&b, "%s none: %s\n", d.Prefix, d.Reason)
			continue
		}
		fmt.Fprintf(&b, "%s %s", d.Prefix, d.Route.Kind)
		for _, part := range []struct {
			word string
			a    netip.Addr
		}{{"via", d.Route.NextHop}, {"as", d.Route.Key}} {
			if part.a.IsValid() {
				fmt.Fprintf(&b, " %s %s", part.word, part.a)
			}
		}
		if d.Route.Link != "" {
			fmt.Fprintf(&b, " dev %s", d.Route.Link)
		}
		if d.Route.Local.IsValid() {
			fmt.Fprintf(&b, " from %s", d.Route.Local)
		}
		for _, w := range d.Route.Equal {
			fmt.Fprintf(&b, " nexthop via %s dev %s", w.NextHop, w.Link)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	tests := []struct {
		name string
		edit func(*given)
		want string
	}{
		{"nothing learned", func(*given) {}, `
10.64.1.0/26 blackhole
`},
		{"a gateway names another one as next hop; an iBGP one may reflect", func(f *given) {
			f.Paths = []told{path("10.64.3.0/26", "10.0.1.12", "gw-c", 0), path("10.64.4.0/26", "10.0.1.12", "gw-c", 0)}
			f.Paths[0].ASPath = []uint32{65103}
		}, `
10.64.1.0/26 blackhole
10.64.3.0/26 none: no route: gw-c announces what it does not own: next hop 10.0.1.12 is gw-b
10.64.4.0/26 native via 10.0.1.12 dev uplink0
`},
		{"gateways of a range: not a peer in its prefix, nor the router; nor one that is known by name", func(f *given) {
			f.Ranges = []Range{{"racks", pfx("10.0.0.0/16")}}
			f.Hops[ip("10.0.3.14")], f.Hops[ip("10.0.9.1")], f.Hops[ip("10.0.1.254")] = f.Hops[ip("10.0.2.13")], Hop{}, f.Hops[ip("10.0.1.1")]
			f.Peers = append(f.Peers, ip("10.0.9.1"))
			f.Paths = []told{
				path("10.64.3.0/26", "10.0.2.13", "gw-c", 0), path("10.64.4.0/26", "10.0.3.14", "tor1", 0), path("10.64.5.0/26", "10.0.9.1", "tor1", 0),
				{Prefix: pfx("0.0.0.0/0"), NextHop: ip("10.0.1.254"), Peer: "uplink0", Static: true},
				path("10.64.6.0/26", "10.0.2.13", "racks[10.0.3.14]", 0), path("10.64.7.0/26", "10.0.3.14", "racks[10.0.3.14]", 0),
				path("10.64.8.0/26", "2001:db8::14", "tor1", 0),
			}
			f.Paths[4].ASPath, f.Paths[5].ASPath = []uint32{65103}, []uint32{65103}
		}, `
0.0.0.0/0 native via 10.0.1.254 dev uplink0
10.64.1.0/26 blackhole
10.64.3.0/26 ipip via 10.0.2.13 dev netd-ipip0
10.64.4.0/26 ipip via 10.0.3.14 dev netd-ipip0
10.64.5.0/26 none: no route: next hop is not on a connected subnet, and it is no known gateway
10.64.6.0/26 none: no route: racks[10.0.3.14] announces what it does not own: next hop 10.0.2.13 is gw-c
10.64.7.0/26 ipip via 10.0.3.14 dev netd-ipip0
10.64.8.0/26 none: no route: next hop is not on a connected subnet, and it is no known gateway
`},
		{"next hops on a LAN, a gateway's too", func(f *given) {
			f.Hops[ip("192.168.10.2")] = Hop{Link: "cameras", LAN: true}
			f.Hops[ip("10.0.2.13")] = f.Hops[ip("192.168.10.2")]
			f.Paths = []told{path("10.64.3.0/26", "10.0.2.13", "gw-c", 0), path("10.64.5.0/26", "192.168.10.2", "tor1", 0)}
		}, `
10.64.1.0/26 blackhole
10.64.3.0/26 none: no route: next hop is on cameras, which is a LAN: no route leads there
10.64.5.0/26 none: no route: next hop is on cameras, which is a LAN: no route leads there
`},
		{"own pods", func(f *given) {
			f.Pods = []LocalPod{{Name: "web-0", Address: ip("10.64.1.0"), Link: "pod1"}}
		}, `
10.64.1.0/26 blackhole
10.64.1.0/32 pod dev pod1
`},
		{"a block of one address does not hide its pod", func(f *given) {
			f.Blocks = []netip.Prefix{pfx("10.64.1.7/32")}
			f.Pods = []LocalPod{{Name: "web-0", Address: ip("10.64.1.7"), Link: "pod1"}}
		}, `
10.64.1.7/32 pod dev pod1
`},
		{"a gateway on the same subnet beats the ToR, whatever BGP ranks first", func(f *given) {
			f.Paths = []told{path("10.64.2.0/26", "10.0.1.1", "tor1", 0), path("10.64.2.0/26", "10.0.1.12", "gw-b", 1)}
		}, `
10.64.1.0/26 blackhole
10.64.2.0/26 native via 10.0.1.12 dev uplink0
`},
		{"the ToR beats the tunnel, though its AS path is longer", func(f *given) {
			f.Paths = []told{path("10.64.3.0/26", "10.0.2.13", "gw-c", 0), path("10.64.3.0/26", "10.0.1.1", "tor1", 1)}
		}, `
10.64.1.0/26 blackhole
10.64.3.0/26 native via 10.0.1.1 dev uplink0
`},
		{"without the ToR: the tunnel", func(f *given) {
			f.Paths = []told{path("10.64.3.0/26", "10.0.2.13", "gw-c", 0)}
		}, `
10.64.1.0/26 blackhole
10.64.3.0/26 ipip via 10.0.2.13 dev netd-ipip0
`},
		{"two ToRs of one rank", func(f *given) {
			f.Hops[ip("10.0.1.2")] = f.Hops[ip("10.0.1.1")]
			f.Paths = []told{
				path("10.64.3.0/26", "10.0.1.1", "tor1", 0), path("10.64.3.0/26", "10.0.1.2", "tor2", 0), path("10.64.3.0/26", "10.0.2.13", "gw-c", 0),
				path("10.64.4.0/26", "10.0.1.1", "tor1", 0), path("10.64.4.0/26", "10.0.1.2", "tor2", 1),
			}
		}, `
10.64.1.0/26 blackhole
10.64.3.0/26 native via 10.0.1.1 dev uplink0 nexthop via 10.0.1.2 dev uplink0
10.64.4.0/26 native via 10.0.1.1 dev uplink0
`},
		{"mode never", func(f *given) {
			f.Pools[0].Encapsulation = Never
			f.Paths = []told{path("10.64.3.0/26", "10.0.2.13", "gw-c", 0)}
		}, `
10.64.1.0/26 blackhole
10.64.3.0/26 none: no route: next hop is in another subnet, and the pool's mode is never
`},
		{"mode always", func(f *given) {
			f.Pools[0].Encapsulation = Always
			f.Paths = []told{path("10.64.2.0/26", "10.0.1.12", "gw-b", 0), path("10.64.3.0/26", "10.0.1.1", "tor1", 0)}
		}, `
10.64.1.0/26 blackhole
10.64.2.0/26 ipip via 10.0.1.12 dev netd-ipip0
10.64.3.0/26 native via 10.0.1.1 dev uplink0
`},
		{"never a tunnel to a ToR (kube-router #728)", func(f *given) {
			f.Paths = []told{path("10.64.3.0/26", "10.0.2.1", "tor1", 0)}
			f.Hops[ip("10.0.2.1")] = Hop{Via: ip("10.0.1.1")}
		}, `
10.64.1.0/26 blackhole
10.64.3.0/26 none: no route: next hop is not on a connected subnet, and it is no known gateway
`},
		{"a next hop through the tunnel itself", func(f *given) {
			f.Paths = []told{path("10.64.3.0/26", "10.0.2.13", "gw-c", 0)}
			f.Hops[ip("10.0.2.13")] = Hop{Tunnel: true}
		}, `
10.64.1.0/26 blackhole
10.64.3.0/26 none: no route: next hop would itself be reached through the tunnel
`},
		{"no carrier: the other way at once", func(f *given) {
			f.Hops[ip("10.0.1.1")] = Hop{Dark: "uplink0", Error: "network is unreachable"}
			f.Paths = []told{
				path("10.64.3.0/26", "10.0.1.1", "tor1", 0), path("10.64.3.0/26", "10.0.2.13", "gw-c", 1), path("10.64.4.0/26", "10.0.1.1", "tor1", 0),
			}
		}, `
10.64.1.0/26 blackhole
10.64.3.0/26 ipip via 10.0.2.13 dev netd-ipip0
10.64.4.0/26 none: no route: next hop 10.0.1.1 is on uplink0, which has no carrier
`},
		{"no carrier on the common subnet, and another way to the gateway", func(f *given) {
			f.Hops[ip("10.0.1.12")] = Hop{Dark: "uplink0", Via: ip("10.0.9.1"), Link: "uplink1"}
			f.Paths = []told{path("10.64.2.0/26", "10.0.1.12", "gw-b", 0)}
		}, `
10.64.1.0/26 blackhole
10.64.2.0/26 ipip via 10.0.1.12 dev netd-ipip0
`},
		{"BFD has lost the ToR: the other way at once", func(f *given) {
			f.Down = lost("tor1", "10.0.1.1")
			f.Paths = []told{path("10.64.3.0/26", "10.0.1.1", "tor1", 0), path("10.64.3.0/26", "10.0.2.13", "gw-c", 1)}
		}, `
10.64.1.0/26 blackhole
10.64.3.0/26 ipip via 10.0.2.13 dev netd-ipip0
`},
		{"BFD has lost the next hop, which another peer told", func(f *given) {
			f.Down = lost("gw-b", "10.0.1.12")
			f.Paths = []told{path("10.64.2.0/26", "10.0.1.12", "tor1", 0)}
		}, `
10.64.1.0/26 blackhole
10.64.2.0/26 none: no route: BFD: gw-b is down since 2026-01-02T03:04:05Z
`},
		{"BFD has lost the ToR: its default route goes, the configured router stays", func(f *given) {
			f.Down = lost("tor1", "10.0.1.1")
			f.Paths = []told{
				path("0.0.0.0/0", "10.0.1.1", "tor1", 0),
				{Prefix: pfx("0.0.0.0/0"), NextHop: ip("10.0.1.1"), Peer: "uplink0", Rank: 1, Static: true},
			}
		}, `
0.0.0.0/0 native via 10.0.1.1 dev uplink0
10.64.1.0/26 blackhole
`},
		{"a hijack of an own block, whole or in part", func(f *given) {
			f.Paths = []told{path("10.64.1.0/26", "10.0.1.1", "tor1", 0), path("10.64.1.4/32", "10.0.1.1", "tor1", 0)}
		}, `
10.64.1.0/26 blackhole
10.64.1.0/26 none: no route: inside 10.64.1.0/26, which this gateway owns
10.64.1.4/32 none: no route: inside 10.64.1.0/26, which this gateway owns
`},
		{"the default route from a ToR, never from a gateway", func(f *given) {
			f.Paths = []told{path("0.0.0.0/0", "10.0.1.12", "gw-b", 0), path("0.0.0.0/0", "10.0.1.1", "tor1", 1)}
		}, `
0.0.0.0/0 native via 10.0.1.1 dev uplink0
10.64.1.0/26 blackhole
`},
		{"the configured router, until a ToR gives a default route", func(f *given) {
			f.Paths = []told{{Prefix: pfx("0.0.0.0/0"), NextHop: ip("10.0.1.1"), Peer: "uplink0", Static: true}}
		}, `
0.0.0.0/0 native via 10.0.1.1 dev uplink0
10.64.1.0/26 blackhole
`},
		{"a route that covers a peer (calico PR 7149), and one outside the pools", func(f *given) {
			f.Pools = append(f.Pools, Pool{pfx("10.0.0.0/8"), CrossSubnet})
			f.Paths = []told{path("10.0.0.0/14", "10.0.1.1", "tor1", 0), path("192.0.2.0/24", "10.0.1.1", "tor1", 0)}
		}, `
10.0.0.0/14 none: no route: covers the peer 10.0.1.1, whose session would then run over its own routes
10.64.1.0/26 blackhole
192.0.2.0/24 none: no route: outside every pool
`},
		{"outside the pools, but a filter asks for it: native only, and never over a peer", func(f *given) {
			lan, far, peer := path("192.0.2.0/24", "10.0.1.1", "tor1", 0), path("198.51.100.0/24", "10.0.2.13", "gw-c", 0), path("10.0.0.0/14", "10.0.1.1", "tor1", 0)
			lan.Named, far.Named, peer.Named = true, true, true
			f.Paths = []told{lan, path("192.0.2.0/24", "10.0.1.2", "tor2", 1), far, peer}
		}, `
10.0.0.0/14 none: no route: covers the peer 10.0.1.1, whose session would then run over its own routes
10.64.1.0/26 blackhole
192.0.2.0/24 native via 10.0.1.1 dev uplink0
198.51.100.0/24 none: no route: next hop is in another subnet, and the pool's mode is never
`},
		{"the whole pool is announced: others' blocks are theirs, the rest is dropped", func(f *given) {
			f.Announced = []netip.Prefix{pfx("10.64.0.0/16")}
			f.Paths = []told{path("10.64.0.0/16", "10.0.1.1", "tor1", 0), path("10.64.3.0/26", "10.0.1.1", "tor1", 0)}
		}, `
10.64.0.0/16 blackhole
10.64.0.0/16 none: no route: this gateway announces it itself
10.64.1.0/26 blackhole
10.64.3.0/26 native via 10.0.1.1 dev uplink0
`},
		{"the fabric offers the whole pool: less specific than the own block", func(f *given) {
			f.Paths = []told{path("10.64.0.0/16", "10.0.1.1", "tor1", 0)}
		}, `
10.64.0.0/16 native via 10.0.1.1 dev uplink0
10.64.1.0/26 blackhole
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := lab()
			tt.edit(&f)
			if diff := cmp.Diff(strings.TrimLeft(tt.want, "\n"), text(Plan(f))); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// Prefixes of one family by next hops of the other.
func TestPlanFamilies(t *testing.T) {
	tests := []struct {
		name string
		edit func(*given)
		want string
	}{
		{"a gateway that the tunnel link does not know", func(f *given) {
			f.Gateways[ip("10.0.2.13")] = "gw-x"
			f.Paths = []told{path("2001:db8:64:3::/64", "10.0.2.13", "gw-x", 0)}
		}, `
2001:db8:64:3::/64 none: no route: not possible: IPv6 packets do not go to the IPv4 next hop 10.0.2.13 without a tunnel, and there is no tunnel link for IPv6 over IPv4 to it
`},
		{"IPv6 natively: by a link-local ToR, by a gateway on the subnet, through the ToR's default route", func(f *given) {
			f.Paths = []told{
				path("2001:db8:64:2::/64", "fe80::1%uplink0", "tor1", 0), path("2001:db8:64:2::/64", "2001:db8:1::12", "gw-b", 1),
				path("2001:db8:64:3::/64", "fe80::1%uplink0", "tor1", 0), path("2001:db8:64:3::/64", "2001:db8:2::13", "gw-c", 1),
				path("::/0", "fe80::1%uplink0", "tor1", 0),
			}
		}, `
::/0 native via fe80::1%uplink0 dev uplink0
2001:db8:64:2::/64 native via 2001:db8:1::12 dev uplink0
2001:db8:64:3::/64 native via fe80::1%uplink0 dev uplink0
`},
		{"IPv4 by an IPv6 next hop (RFC 8950)", func(f *given) {
			f.Paths = []told{path("10.64.3.0/26", "fe80::1%uplink0", "tor1", 0), path("0.0.0.0/0", "fe80::1%uplink0", "tor1", 0)}
		}, `
0.0.0.0/0 native via fe80::1%uplink0 dev uplink0
10.64.3.0/26 native via fe80::1%uplink0 dev uplink0
`},
		{"each tunnel where it is called for", func(f *given) {
			f.Paths = []told{
				path("10.64.3.0/26", "10.0.2.13", "gw-c", 0), path("10.64.4.0/26", "2001:db8:2::13", "gw-c", 0),
				path("2001:db8:64:3::/64", "2001:db8:2::13", "gw-c", 0), path("2001:db8:64:4::/64", "10.0.2.14", "gw-d", 0),
			}
		}, `
10.64.3.0/26 ipip via 10.0.2.13 dev netd-ipip0
10.64.4.0/26 ip6tnl via 2001:db8:2::13 dev netd-ip6tnl0 from 2001:db8:1::11
2001:db8:64:3::/64 ip6tnl via 2001:db8:2::13 dev netd-ip6tnl0 from 2001:db8:1::11
2001:db8:64:4::/64 sit via 10.0.2.14 as ::a00:20e dev netd-s0a00020e
`},
		{"IPv6 to an IPv4 next hop on the subnet: by a tunnel too", func(f *given) {
			f.Paths = []told{path("2001:db8:64:2::/64", "10.0.1.12", "gw-b", 0)}
		}, `
2001:db8:64:2::/64 sit via 10.0.1.12 as ::a00:10c dev netd-s0a00010c
`},
		{"what is not possible", func(f *given) {
			f.Pools = append(f.Pools, Pool{pfx("2001:db8:65::/48"), Never})
			f.Tunnels = f.Tunnels[:1]
			f.Paths = []told{
				path("2001:db8:64:2::/64", "10.0.1.1", "tor1", 0), path("2001:db8:64:3::/64", "10.0.2.14", "gw-d", 0),
				path("2001:db8:64:4::/64", "2001:db8:2::13", "gw-c", 0), path("2001:db8:65::/64", "10.0.1.12", "gw-b", 0),
			}
		}, `
2001:db8:64:2::/64 none: no route: not possible: IPv6 packets do not go to the IPv4 next hop 10.0.1.1 without a tunnel, and it is no known gateway
2001:db8:64:3::/64 none: no route: not possible: IPv6 packets do not go to the IPv4 next hop 10.0.2.14 without a tunnel, and there is no tunnel link for IPv6 over IPv4 to it
2001:db8:64:4::/64 none: no route: next hop is in another subnet, and there is no tunnel link for IPv6 over IPv6 to it
2001:db8:65::/64 none: no route: not possible: IPv6 packets do not go to the IPv4 next hop 10.0.1.12 without a tunnel, and the pool's mode is never
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := lab6()
			tt.edit(&f)
			f.Blocks = nil
			if diff := cmp.Diff(strings.TrimLeft(tt.want, "\n"), text(Plan(f))); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanExplains(t *testing.T) {
	f := lab()
	f.Paths = []told{path("10.64.3.0/26", "10.0.2.13", "gw-c", 0), path("10.64.3.0/26", "10.0.1.1", "tor1", 1)}
	d := Covering(Plan(f), pfx("10.64.3.9/32"))
	if d == nil || len(d.Candidates) != 2 {
		t.Fatalf("decision for 10.64.3.9: %+v, want two candidates", d)
	}
	if c := d.Candidates[0]; c.Chosen || c.Kind != IPIP {
		t.Errorf("path from gw-c: %+v, want an unchosen tunnel", c)
	}
	if c := d.Candidates[1]; !c.Chosen || c.Kind != Native {
		t.Errorf("path from tor1: %+v, want the chosen native one", c)
	}
}
