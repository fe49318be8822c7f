package rtnl

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddVLAN makes a link for one network of a trunk (IEEE 802.1Q).
func (c *Conn) AddVLAN(name, alias string, parent, id int) error {
	l := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: parent}, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	return c.add(l, alias, fmt.Sprintf("vlan link %s id %d on #%d", name, id, parent))
}

// What bonds do, all alike: milliseconds between looks at the members' carriers; LACP
// by the second, so that a silent switch is left after 3 s; flows by addresses and
// ports.
const bondInterval = 100

// AddBond makes a link of several links, none yet.
func (c *Conn) AddBond(name, alias, mode string) error {
	l := netlink.NewLinkBond(netlink.LinkAttrs{Name: name})
	l.Mode, l.Miimon = netlink.StringToBondMode(mode), bondInterval
	if l.Mode != netlink.BOND_MODE_ACTIVE_BACKUP {
		l.XmitHashPolicy = netlink.BOND_XMIT_HASH_POLICY_LAYER3_4
	}
	if l.Mode == netlink.BOND_MODE_802_3AD {
		l.LacpRate = netlink.BOND_LACP_RATE_FAST
	}
	return c.add(l, alias, fmt.Sprintf("bond %s mode %s", name, mode))
}

// AddBridge makes a link of several ports, none yet. Its MAC address is the one given, or
// else follows from its ports'. It learns and floods, and has no spanning tree: a port is
// in use at once.
func (c *Conn) AddBridge(name, alias string, mac net.HardwareAddr) error {
	l := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: mac}}
	return c.add(l, alias, "bridge "+name)
}

// SetAlias writes what a link is for where people see it; empty is nothing.
func (c *Conn) SetAlias(index int, alias string) error {
	return c.set(index, fmt.Sprintf("alias %q", alias), func(l netlink.Link) error { return c.h.LinkSetAlias(l, alias) })
}

// SetDown sets the administrative state of a link to down.
func (c *Conn) SetDown(index int) error { return c.set(index, "down", c.h.LinkSetDown) }

func (c *Conn) add(l netlink.Link, alias, what string) error {
	if err := errors.Join(c.free(l.Attrs().Name), c.h.LinkAdd(l)); err != nil {
		return fmt.Errorf("add %s: %w", what, err)
	}
	if err := c.h.LinkSetAlias(l, alias); err != nil {
		return fmt.Errorf("set alias of %s to %q: %w", l.Attrs().Name, alias, err)
	}
	return c.note(nil, "%s link %s", l.Type(), l.Attrs().Name)
}

// SetMaster makes a link a member of a bond, which it must be down for, or of a bridge, or
// of none (0).
func (c *Conn) SetMaster(index, master int) error {
	return c.set(index, fmt.Sprintf("master #%d", master), func(l netlink.Link) error {
		if err := c.h.LinkSetDown(l); err != nil {
			return err
		}
		return c.h.LinkSetMasterByIndex(l, master)
	})
}

// Duplicates lists the IPv6 addresses that another host on the link was found to
// have, too (RFC 4862 section 5.4).
func (c *Conn) Duplicates() ([]Address, error) {
	list, err := c.addresses()
	var found []Address
	for _, m := range list {
		if m.flags&unix.IFA_F_DADFAILED != 0 {
			found = append(found, m.Address)
		}
	}
	return found, err
}
