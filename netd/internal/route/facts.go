package route

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Kind is how a route carries its packets.
type Kind string

// The kinds of route, in the words that `netd routes` prints.
const (
	Pod       Kind = "pod"       // to a pod of this gateway
	Blackhole Kind = "blackhole" // the unused part of an own block
	OnLink    Kind = "onlink"    // to what is on an uplink's link and in no subnet
	Native    Kind = "native"    // to a next hop on a connected subnet
	// Through a tunnel to another gateway: IPv4 in IPv4 (RFC 2003), IPv6 in IPv4 (RFC
	// 4213), either in IPv6 (RFC 2473), or either in UDP (RFC 7348).
	IPIP   Kind = "ipip"
	SIT    Kind = "sit"
	IP6Tnl Kind = "ip6tnl"
	VXLAN  Kind = "vxlan"
)

// tunnelled tells whether packets go inside of others.
func (k Kind) tunnelled() bool { return k == IPIP || k == SIT || k == IP6Tnl || k == VXLAN }

// Encapsulation says when traffic to other gateways is encapsulated.
type Encapsulation int

// The words are Calico's.
const (
	CrossSubnet Encapsulation = iota
	Never
	Always
)

// Pool is a range of pod addresses.
type Pool struct {
	Prefix        netip.Prefix
	Encapsulation Encapsulation
}

// LocalPod is a pod of this gateway that has its link.
type LocalPod struct {
	Name    string
	Address netip.Addr
	Link    string
	// Index is Link's, so that one that was made anew is another; 0 if it is not known:
	// then it is looked up by name.
	Index int
}

// Router is the router that the configuration or DHCP names for an uplink.
type Router struct {
	Uplink  string
	Address netip.Addr
}

// Static is a route that is known without BGP: to a router that is in no subnet of its
// uplink, or what a DHCP server gives (RFC 3442).
type Static struct {
	Uplink string
	Prefix netip.Prefix
	// Router is invalid for what is on the link.
	Router netip.Addr
	// Why there is no way at the moment; empty if there is one.
	Why string
}

// Range is where gateways are that are not known one by one.
type Range struct {
	Name   string
	Prefix netip.Prefix
}

// Hop is what the kernel says about a next hop.
type Hop struct {
	// Connected: on the subnet of an uplink, which is Link and has carrier.
	Connected bool
	Link      string
	// Via is the router on the way to a next hop that is not connected.
	Via netip.Addr
	// Dark is an uplink without carrier on whose subnet the next hop is; empty if there is
	// none. The kernel may have another way to it.
	Dark string
	// Tunnel: the kernel would send through a tunnel of ours to get there.
	Tunnel bool
	// LAN: Link is one, where devices are and no routers.
	LAN bool
	// Error says why the kernel has no way; empty if it has one.
	Error string
}

// Lost is a peer that can not be reached, whatever its BGP session still says.
type Lost struct {
	Peer    string
	Address netip.Addr
	Since   time.Time
	// Why is for a person: "BFD: tor1 is down".
	Why string
}

// Facts is all that Table.Plan looks at beside the learned paths. It keeps them: what
// they refer to is not changed any more.
type Facts struct {
	Pools  []Pool
	Blocks []netip.Prefix // that this gateway owns
	// Announced are prefixes that it announces beside them; others own parts of
	// them, and what nobody does is dropped.
	Announced []netip.Prefix
	Pods      []LocalPod
	Routers   []Router
	Statics   []Static
	// Hops has an entry for each of Table.NextHops.
	Hops map[netip.Addr]Hop
	// Gateways are the known gateways' addresses and names.
	Gateways map[netip.Addr]string
	// Ranges are of gateways: a next hop in there that is no peer's is one.
	Ranges []Range
	// Peers are the addresses that BGP sessions run to.
	Peers []netip.Addr
	// Down are the peers that can not be reached.
	Down []Lost
	// Tunnels are those that there are.
	Tunnels []Tunnel
	// Source and Source6 are this gateway's own addresses.
	Source, Source6 netip.Addr
	// LeaveDelay is for how long a ToR's way has to stand before prefixes leave their
	// tunnel for it; 0: they leave at once.
	LeaveDelay time.Duration
	// Now is the time, and no reason by itself to judge anything again.
	Now time.Time
}

// admitsAs tells whether the same prefixes may have routes.
func (f *Facts) admitsAs(o *Facts) bool {
	return slices.Equal(f.Pools, o.Pools) && slices.Equal(f.Blocks, o.Blocks) && slices.Equal(f.Announced, o.Announced) && slices.Equal(f.Peers, o.Peers)
}

// judgesAs tells whether paths are worth the same, where the same are admitted.
func (f *Facts) judgesAs(o *Facts) bool {
	return maps.Equal(f.Hops, o.Hops) && maps.Equal(f.Gateways, o.Gateways) && slices.Equal(f.Ranges, o.Ranges) &&
		slices.Equal(f.Down, o.Down) && slices.EqualFunc(f.Tunnels, o.Tunnels, Tunnel.equal) && slices.Equal(f.Routers, o.Routers) && slices.Equal(f.Peers, o.Peers) &&
		f.Source == o.Source && f.Source6 == o.Source6 && f.LeaveDelay == o.LeaveDelay
}

// ownsAs tells whether this gateway's own prefixes are the same.
func (f *Facts) ownsAs(o *Facts) bool {
	return slices.Equal(f.Pods, o.Pods) && slices.Equal(f.Blocks, o.Blocks) && slices.Equal(f.Announced, o.Announced) && slices.Equal(f.Statics, o.Statics)
}
