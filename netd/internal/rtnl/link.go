package rtnl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is a network interface.
type Link struct {
	Index int
	Name  string
	// AltNames are names that it had before netd renamed it, among others.
	AltNames []string
	Alias    string
	// Kind is the driver of a virtual link (veth, ipip, …), "device" for hardware.
	Kind string
	MAC  net.HardwareAddr
	MTU  int
	// Up is the administrative state; Carrier says that packets can pass.
	Up, Carrier bool
	TunnelAttrs
	// Parent and VLAN are set for vlan links, Mode for bonds; Master is the bond or
	// bridge of a link that is a member.
	Parent, VLAN int
	Mode         string
	Master       int
	// PermanentMAC is the hardware's own; empty where there is no hardware.
	PermanentMAC net.HardwareAddr
}

// TunnelAttrs are what the kernel tells of a tunnel: Local, Remote, PMTUDiscovery and TTL
// for ipip and sit links, External for ip6tnl links whose routes say the outer
// addresses, Local, VNI, Port and Learning for vxlan links.
type TunnelAttrs struct {
	Local, Remote netip.Addr
	PMTUDiscovery bool
	TTL           int
	External      bool
	VNI, Port     int
	Learning      bool
}

func fromLink(l netlink.Link) Link {
	a := l.Attrs()
	link := Link{
		Index: a.Index, Name: a.Name, AltNames: a.AltNames, Alias: a.Alias, Kind: l.Type(), MAC: a.HardwareAddr, MTU: a.MTU,
		Up: a.Flags&net.FlagUp != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
	}
	link.Master, link.PermanentMAC = a.MasterIndex, a.PermHWAddr
	readTunnel(&link, l)
	switch made := l.(type) {
	case *netlink.Vlan:
		link.Parent, link.VLAN = a.ParentIndex, made.VlanId
	case *netlink.Bond:
		link.Mode = made.Mode.String()
	}
	return link
}

// Links lists all links.
func (c *Conn) Links() ([]Link, error) {
	list, err := dump("links", c.h.LinkList)
	if err != nil {
		return nil, err
	}
	links := make([]Link, len(list))
	for i, l := range list {
		links[i] = fromLink(l)
	}
	return links, nil
}

// LinkByName finds one link; IsNotExist tells whether it is simply not there.
func (c *Conn) LinkByName(name string) (Link, error) {
	l, err := c.h.LinkByName(name)
	if err == nil && l.Attrs().Name != name {
		err = unix.ENODEV // It was called so once.
	}
	if err != nil {
		return Link{}, fmt.Errorf("find link %s: %w", name, err)
	}
	return fromLink(l), nil
}

// AddVeth makes a veth pair: name here and peerName in the namespace behind
// peerNetns (a path), both with the MTU.
func (c *Conn) AddVeth(name, alias, peerName, peerNetns string, mtu int) error {
	ns, err := openNetns(peerNetns)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: name, MTU: mtu, Alias: alias, TxQLen: -1},
		PeerName:      peerName,
		PeerNamespace: netlink.NsFd(int(ns)),
		PeerMTU:       uint32(mtu),
	}
	if err := c.h.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth %s with peer %s in %s: %w", name, peerName, peerNetns, err)
	}
	if err := c.h.LinkSetAlias(veth, alias); err != nil {
		return fmt.Errorf("set alias of %s to %q: %w", name, alias, err)
	}
	return c.note(nil, "link %s", name)
}

// DeleteLink removes a link; it is no error if it is gone already.
func (c *Conn) DeleteLink(name string) error {
	l, err := c.h.LinkByName(name)
	if err == nil {
		err = c.h.LinkDel(l)
	}
	if err != nil && !IsNotExist(err) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	if err == nil {
		return c.note(nil, "no link %s", name)
	}
	return nil
}

// SetUp sets the administrative state of a link to up.
func (c *Conn) SetUp(index int) error {
	return c.set(index, "up", c.h.LinkSetUp)
}

// SetMTU sets a link's MTU in octets.
func (c *Conn) SetMTU(index, mtu int) error {
	return c.set(index, fmt.Sprintf("MTU %d", mtu), func(l netlink.Link) error { return c.h.LinkSetMTU(l, mtu) })
}

// Rename changes a link's name. Kernels before 6.5 (and any driver without
// live renaming) refuse that while the link is up, so it is taken down first. The
// former name stays as an alternative one, by which the link can be found again.
func (c *Conn) Rename(index int, name string) error {
	return c.set(index, "name "+name, func(l netlink.Link) error {
		if err := c.h.LinkSetDown(l); err != nil {
			return err
		}
		if err := c.free(name); err != nil {
			return err
		}
		if err := c.h.LinkSetName(l, name); err != nil {
			return err
		}
		return c.h.LinkAddAltName(l, l.Attrs().Name)
	})
}

// free makes a name free that is a link's only for memory's sake.
func (c *Conn) free(name string) error {
	if other, err := c.h.LinkByName(name); err == nil && other.Attrs().Name != name {
		return c.h.LinkDelAltName(other, name)
	}
	return nil
}

func (c *Conn) set(index int, what string, do func(netlink.Link) error) error {
	l, err := c.h.LinkByIndex(index)
	if err != nil {
		return fmt.Errorf("find link #%d: %w", index, err)
	}
	if err := do(l); err != nil {
		return fmt.Errorf("set %s %s: %w", l.Attrs().Name, what, err)
	}
	return c.note(nil, "%s %s", l.Attrs().Name, what)
}

// Address is an address of a link.
type Address struct {
	Prefix netip.Prefix
	Link   int
}

// Addresses lists the addresses of one link, or of all if link is 0, IPv4's first;
// but not the link-local ones of IPv6, which every link has.
func (c *Conn) Addresses(link int) ([]Address, error) {
	list, err := c.addresses()
	var all []Address
	for _, a := range list {
		ip := a.Prefix.Addr()
		if (link == 0 || a.Link == link) && !(ip.Is6() && ip.IsLinkLocalUnicast()) {
			all = append(all, a.Address)
		}
	}
	return all, err
}

// LinkLocals lists the IPv6 addresses of a link that mean something there alone.
func (c *Conn) LinkLocals(link int) ([]netip.Prefix, error) {
	list, err := c.addresses()
	var all []netip.Prefix
	for _, a := range list {
		if ip := a.Prefix.Addr(); a.Link == link && ip.Is6() && ip.IsLinkLocalUnicast() {
			all = append(all, a.Prefix)
		}
	}
	return all, err
}

// Holders are the links that have an address.
func (c *Conn) Holders(ip netip.Addr) (map[int]bool, error) {
	all, err := c.addresses()
	holders := map[int]bool{}
	for _, a := range all {
		if a.Prefix.Addr() == ip {
			holders[a.Link] = true
		}
	}
	return holders, err
}

// ReplaceAddress adds an address to a link; one that is there already is left alone.
func (c *Conn) ReplaceAddress(link int, p netip.Prefix) error {
	return c.set(link, "address "+p.String(), func(l netlink.Link) error {
		return c.h.AddrReplace(l, &netlink.Addr{IPNet: toIPNet(p)})
	})
}

// AddAddressAtOnce adds an IPv6 address, on a link that has one end for each address,
// so that nobody needs to be asked whether it is free (IFA_F_NODAD). One that is
// there already is left alone.
func (c *Conn) AddAddressAtOnce(link int, p netip.Prefix) error {
	err := c.set(link, "address "+p.String(), func(l netlink.Link) error {
		return c.h.AddrAdd(l, &netlink.Addr{IPNet: toIPNet(p), Flags: unix.IFA_F_NODAD})
	})
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// DeleteAddress removes an address from a link; it is no error if it is gone already.
func (c *Conn) DeleteAddress(link int, p netip.Prefix) error {
	err := c.set(link, "no address "+p.String(), func(l netlink.Link) error {
		return c.h.AddrDel(l, &netlink.Addr{IPNet: toIPNet(p)})
	})
	if IsNotExist(err) {
		return nil
	}
	return err
}
