package link

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"netd/netd/internal/rtnl"
	"netd/netd/layout"
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

// The links' names; vxlan4 has IPv4 outside.
const (
	ipip   = layout.OwnLinks + "ipip0"
	ip6tnl = layout.OwnLinks + "ip6tnl0"
	vxlan4 = layout.OwnLinks + "vxlan0"
	vxlan6 = layout.OwnLinks + "vxlan1"
)

// names are the links that there is at most one of. A VXLAN link has one outer family.
func names() []string {
	return []string{ipip, ip6tnl, vxlan4, vxlan6}
}

// sitPrefix begins the name of a sit link, whose end is its gateway's address in
// hexadecimal digits: there is one for each gateway.
const sitPrefix = layout.OwnLinks + "s"

func sitName(gateway netip.Addr) string { return fmt.Sprintf("%s%x", sitPrefix, gateway.As4()) }

// kinds are the tunnels that are needed, in a fixed order, as one link each.
func (n Need) kinds() []Tunnel {
	var all []Tunnel
	add := func(kind, name string, local netip.Addr, inner4, inner6, outer6 bool) {
		if !local.IsValid() || !inner4 && !inner6 || !n.over(outer6) {
			return
		}
		t := Tunnel{Inner4: inner4, Inner6: inner6, Outer6: outer6, Source: local}
		t.Tunnel = rtnl.Tunnel{Kind: kind, Name: name, Local: local, MTU: n.MTU - overhead(kind, outer6)}
		all = append(all, t)
	}
	if n.VXLAN != nil {
		add("vxlan", vxlan4, n.Local4, n.Inner4, n.Inner6, false)
		add("vxlan", vxlan6, n.Local6, n.Inner4, n.Inner6, true)
		return all
	}
	add("ipip", ipip, n.Local4, n.Inner4, false, false)
	add("sit", "", n.Local4, false, n.Inner6, false)
	add("ip6tnl", ip6tnl, n.Local6, n.Inner4, n.Inner6, true)
	return all
}

// Tunnels are the links that are needed, in a fixed order.
func (n Need) Tunnels() []Tunnel {
	var all []Tunnel
	for _, t := range n.kinds() {
		if t.Kind == "sit" {
			all = append(all, t.toEach(n.Gateways)...)
			continue
		}
		if t.Kind == "vxlan" {
			t.know(n)
		}
		all = append(all, t)
	}
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
	for _, t := range n.kinds() {
		mtu = min(mtu, t.MTU)
	}
	return mtu
}

// know fills in how a VXLAN link knows the gateways.
func (t *Tunnel) know(n Need) {
	t.Keys = map[netip.Addr]netip.Addr{}
	t.VNI, t.Port, t.MAC = n.VXLAN.VNI, n.VXLAN.Port, macOf(t.Local)
	for _, g := range n.Gateways {
		if g.Is6() == t.Outer6 {
			t.Keys[g] = linkLocal(macOf(g))
			t.Neighbours = append(t.Neighbours, neighbours(g)...)
		}
	}
}

// toEach are the links of a kind that takes one gateway each.
func (t Tunnel) toEach(gateways []netip.Addr) []Tunnel {
	var all []Tunnel
	for _, g := range gateways {
		if g.Is4() {
			t.Name, t.Remote, t.Keys = sitName(g), g, map[netip.Addr]netip.Addr{g: compatible(g)}
			all = append(all, t)
		}
	}
	return all
}

// compatible is an IPv4 address as sit takes it for a next hop of IPv6 routes (RFC
// 4291 section 2.5.5.1).
func compatible(a netip.Addr) netip.Addr {
	var six [16]byte
	four := a.As4()
	copy(six[12:], four[:])
	return netip.AddrFrom16(six)
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
func SweepTunnels(k interface {
	Links() ([]rtnl.Link, error)
	DeleteLink(name string) error
}, wanted []Tunnel,
) error {
	links, err := k.Links()
	for _, l := range links {
		ours := slices.Contains(names(), l.Name) || l.Kind == "sit" && strings.HasPrefix(l.Name, sitPrefix)
		if ours && !slices.ContainsFunc(wanted, func(t Tunnel) bool { return t.Name == l.Name }) {
			err = errors.Join(err, k.DeleteLink(l.Name))
		}
	}
	return err
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
	if err := t.quiet(k); err != nil {
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
	return l.Local == t.Local && l.PMTUDiscovery && (t.Kind != "sit" || l.Remote == t.Remote)
}

func (t *Tunnel) make(k TunnelLinks) (rtnl.Link, error) {
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
func (t *Tunnel) quiet(k Sysctls) error {
	// Off, not loose: on a link without an address the kernel's loose check
	// (fib_validate_source, last_resort) is strict, and would drop what left
	// natively and comes back by the tunnel. The guard checks the outer source.
	errs := []error{k.SetSysctl("ipv4/conf/"+t.Name+"/rp_filter", "0"), k.SetSysctl("ipv4/conf/"+t.Name+"/forwarding", "1")}
	if t.Kind == "ipip" {
		return errors.Join(errs...)
	}
	errs = append(errs,
		k.SetSysctl("ipv6/conf/"+t.Name+"/disable_ipv6", "0"),
		k.SetSysctl("ipv6/conf/"+t.Name+"/accept_ra", "0"),
	)
	if t.Inner6 {
		errs = append(errs, forward6(k, t.Name))
	}
	return errors.Join(errs...)
}
