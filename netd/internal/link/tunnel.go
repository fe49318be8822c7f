package link

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"netd/netd/internal/rtnl"
)

// Need is what tunnels are needed for.
type Need struct {
	// Inner4 and Inner6: pods of the family may have to reach other gateways so.
	Inner4, Inner6 bool
	// Local4 and Local6 are this gateway's own addresses; invalid if it has none.
	Local4, Local6 netip.Addr
	// Gateways are the others' addresses, Ranges where more of them may be. Without
	// either, any may come.
	Gateways []netip.Addr
	Ranges   []netip.Prefix
	// MTU is the uplinks', in octets.
	MTU int
	// VXLAN in place of packets in packets, for networks that drop these; nil: not.
	VXLAN *VXLAN
}

// Tunnel is a wanted link to other gateways.
type Tunnel struct {
	rtnl.Tunnel
	// Inner4 and Inner6 are the families that it carries, over IPv6 if Outer6.
	Inner4, Inner6, Outer6 bool
	// Source is the outer source address.
	Source netip.Addr
	// Keys are the gateways' addresses as next hops on the link write them; nil if as they
	// are.
	Keys map[netip.Addr]netip.Addr
	// Neighbours are all that the link has.
	Neighbours []rtnl.Neighbour
}

// overhead is what a kind adds to a packet, in octets: an IPv4 header, or an IPv6 one;
// with VXLAN headers of Ethernet, VXLAN and UDP, too.
func overhead(kind string, outer6 bool) int {
	n := 20
	if outer6 {
		n = 40
	}
	if kind == "vxlan" {
		n += 14 + 8 + 8
	}
	return n
}

// names are all links that tunnels may be, ever. A VXLAN link has one outer family.
func names() []string {
	return []string{"netd-ipip0", "netd-sit0", "netd-ip6tnl0", "netd-vxlan0", "netd-vxlan1"}
}

// Tunnels are the links that are needed, in a fixed order.
func (n Need) Tunnels() []Tunnel {
	var all []Tunnel
	add := func(kind, name string, local netip.Addr, inner4, inner6, outer6 bool) {
		if !local.IsValid() || !inner4 && !inner6 || !n.over(outer6) {
			return
		}
		t := Tunnel{Inner4: inner4, Inner6: inner6, Outer6: outer6, Source: local}
		t.Tunnel = rtnl.Tunnel{Kind: kind, Name: name, Local: local, MTU: n.MTU - overhead(kind, outer6)}
		t.know(n)
		all = append(all, t)
	}
	if n.VXLAN != nil {
		add("vxlan", "netd-vxlan0", n.Local4, n.Inner4, n.Inner6, false)
		add("vxlan", "netd-vxlan1", n.Local6, n.Inner4, n.Inner6, true)
		return all
	}
	add("ipip", "netd-ipip0", n.Local4, n.Inner4, false, false)
	add("sit", "netd-sit0", n.Local4, false, n.Inner6, false)
	add("ip6tnl", "netd-ip6tnl0", n.Local6, n.Inner4, n.Inner6, true)
	return all
}

// over tells whether there may be gateways with addresses of a family.
func (n Need) over(six bool) bool {
	return len(n.Gateways)+len(n.Ranges) == 0 ||
		slices.ContainsFunc(n.Gateways, func(g netip.Addr) bool { return g.Is6() == six }) ||
		slices.ContainsFunc(n.Ranges, func(r netip.Prefix) bool { return r.Addr().Is6() == six })
}

// PodMTU is what a pod's packets may have so that they go through the narrowest of
// the tunnels.
func (n Need) PodMTU() int {
	mtu := n.MTU
	for _, t := range n.Tunnels() {
		mtu = min(mtu, t.MTU)
	}
	return mtu
}

// know fills in how the link knows the gateways.
func (t *Tunnel) know(n Need) {
	if t.Kind == "sit" || t.Kind == "vxlan" {
		t.Keys = map[netip.Addr]netip.Addr{}
	}
	if t.Kind == "vxlan" {
		t.VNI, t.Port, t.MAC = n.VXLAN.VNI, n.VXLAN.Port, macOf(t.Local)
	}
	for _, g := range n.Gateways {
		switch {
		case g.Is6() != t.Outer6:
		case t.Kind == "sit":
			t.Keys[g] = compatible(g)
		case t.Kind == "vxlan":
			t.Keys[g] = linkLocal(macOf(g))
			t.Neighbours = append(t.Neighbours, neighbours(g)...)
		}
	}
}

// compatible is an IPv4 address as sit takes it for a next hop of IPv6 routes (RFC
// 4291 section 2.5.5.1).
func compatible(a netip.Addr) netip.Addr {
	var six [16]byte
	four := a.As4()
	copy(six[12:], four[:])
	return netip.AddrFrom16(six)
}

// TunnelKernel is what tunnels need of rtnetlink.
type TunnelKernel interface {
	LinkByName(name string) (rtnl.Link, error)
	AddTunnel(t rtnl.Tunnel) error
	DeleteLink(name string) error
	SetMTU(index, mtu int) error
	SetUp(index int) error
	Addresses(link int) ([]rtnl.Address, error)
	DeleteAddress(link int, p netip.Prefix) error
	Neighbours(link int) ([]rtnl.Neighbour, error)
	PutNeighbour(link int, n rtnl.Neighbour) error
	DeleteNeighbour(link int, n rtnl.Neighbour) error
}

// ApplyTunnels makes the links. One that differs in what can not be changed is made
// anew. Those that are not wanted stay until SweepTunnels: routes may still use them.
func ApplyTunnels(k TunnelKernel, wanted []Tunnel) error {
	var errs []error
	for _, t := range wanted {
		errs = append(errs, t.apply(k))
	}
	return errors.Join(errs...)
}

// SweepTunnels removes the tunnels that are not wanted.
func SweepTunnels(k interface{ DeleteLink(name string) error }, wanted []Tunnel) error {
	var errs []error
	for _, name := range names() {
		if !slices.ContainsFunc(wanted, func(t Tunnel) bool { return t.Name == name }) {
			errs = append(errs, k.DeleteLink(name))
		}
	}
	return errors.Join(errs...)
}

func (t *Tunnel) apply(k TunnelKernel) error {
	l, err := k.LinkByName(t.Name)
	if err != nil && !rtnl.IsNotExist(err) {
		return err
	}
	if err == nil && !t.is(l) {
		if err := k.DeleteLink(t.Name); err != nil {
			return err
		}
		l = rtnl.Link{}
	}
	if l.Index == 0 {
		if l, err = t.make(k); err != nil {
			return err
		}
	}
	if l.MTU != t.MTU {
		if err := k.SetMTU(l.Index, t.MTU); err != nil {
			return err
		}
	}
	if !l.Up {
		if err := k.SetUp(l.Index); err != nil {
			return err
		}
	}
	if err := t.quiet(k, l.Index); err != nil {
		return err
	}
	if t.Kind != "vxlan" {
		return nil
	}
	return applyNeighbours(k, l.Index, t.Neighbours)
}

// is tells whether a link is the tunnel, in what can not be changed.
func (t *Tunnel) is(l rtnl.Link) bool {
	if l.Kind != t.Kind {
		return false
	}
	switch t.Kind {
	case "ip6tnl":
		return l.External
	case "vxlan":
		return l.Local == t.Local && l.VNI == t.VNI && l.Port == t.Port && !l.Learning && bytes.Equal(l.MAC, t.MAC)
	}
	return l.Local == t.Local && l.PMTUDiscovery
}

func (t *Tunnel) make(k TunnelKernel) (rtnl.Link, error) {
	err := k.AddTunnel(t.Tunnel)
	if rtnl.IsNotSupported(err) {
		module := t.Kind
		if module == "ip6tnl" {
			module = "ip6_tunnel"
		}
		return rtnl.Link{}, fmt.Errorf(`this kernel has no %s (module %q): expected it for encapsulation "cross-subnet" or "always"; load it, or set encapsulation = "never": %w`, t.Kind, module, err)
	}
	if err == nil && t.Kind == "vxlan" && slowChecksums() {
		err = rtnl.SetTxChecksum(t.Name, false)
	}
	if err != nil {
		return rtnl.Link{}, err
	}
	return k.LinkByName(t.Name)
}

// quiet takes from the link what the kernel does of its own accord.
func (t *Tunnel) quiet(k TunnelKernel, index int) error {
	// Off, not loose: on a link without an address the kernel's loose check
	// (fib_validate_source, last_resort) is strict, and would drop what left
	// natively and comes back by the tunnel. The guard checks the outer source.
	errs := []error{rtnl.SetSysctl("ipv4/conf/"+t.Name+"/rp_filter", "0")}
	if t.Kind == "ipip" {
		return errors.Join(errs...)
	}
	errs = append(errs,
		rtnl.SetSysctl("ipv6/conf/"+t.Name+"/disable_ipv6", "0"),
		rtnl.SetSysctl("ipv6/conf/"+t.Name+"/accept_ra", "0"),
	)
	if t.Kind != "sit" {
		return errors.Join(errs...)
	}
	// A sit link gets the address ::LOCAL/96, and with it a route by which a pod
	// could send to any IPv4 address.
	have, err := k.Addresses(index)
	errs = append(errs, err)
	for _, a := range have {
		errs = append(errs, k.DeleteAddress(index, a.Prefix))
	}
	return errors.Join(errs...)
}
