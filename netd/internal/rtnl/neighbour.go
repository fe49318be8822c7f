package rtnl

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Neighbour is a permanent entry of a link's table: an address, or with Remote a
// MAC address and the tunnel's other end that has it.
type Neighbour struct {
	Address netip.Addr
	MAC     string // as octets, to be comparable
	Remote  netip.Addr
}

// Neighbours lists a link's permanent neighbours, and what a vxlan link forwards
// where.
func (c *Conn) Neighbours(link int) ([]Neighbour, error) {
	all, err := c.AllNeighbours()
	return all[link], err
}

// AllNeighbours lists those of all links, by the links' indices.
func (c *Conn) AllNeighbours() (map[int][]Neighbour, error) {
	all := map[int][]Neighbour{}
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
		request := make([]byte, unix.SizeofNdMsg)
		request[0] = family
		list, err := dump("neighbours", func() ([]known, error) {
			return dumpAll(c.fib, unix.RTM_GETNEIGH, request, decodeNeighbour)
		})
		if err != nil {
			return nil, err
		}
		for _, n := range list {
			if n.family == family && n.state&netlink.NUD_PERMANENT != 0 {
				all[n.link] = append(all[n.link], n.Neighbour)
			}
		}
	}
	return all, nil
}

// known is a neighbour as it is dumped.
type known struct {
	Neighbour
	family byte
	link   int
	state  int
}

func decodeNeighbour(b []byte) (known, error) {
	if len(b) < unix.SizeofNdMsg {
		return known{}, errShort
	}
	n := known{family: b[0], link: int(binary.NativeEndian.Uint32(b[4:])), state: int(binary.NativeEndian.Uint16(b[8:]))}
	err := eachAttr(b[unix.SizeofNdMsg:], func(kind uint16, v []byte) error {
		a, _ := netip.AddrFromSlice(v)
		switch {
		case kind == unix.NDA_LLADDR:
			n.MAC = string(v)
		case kind == unix.NDA_DST && n.family == unix.AF_BRIDGE:
			n.Remote = a
		case kind == unix.NDA_DST:
			n.Address = a
		}
		return nil
	})
	return n, err
}

// PutNeighbour adds an entry to a link, or replaces the one of the same address.
func (c *Conn) PutNeighbour(link int, n Neighbour) error {
	if err := c.h.NeighSet(n.message(link)); err != nil {
		return fmt.Errorf("put neighbour %s dev #%d: %w", n, link, err)
	}
	return c.note(nil, "neighbour %s dev %s", n, c.name(link))
}

// DeleteNeighbour removes an entry; it is no error if it is gone already.
func (c *Conn) DeleteNeighbour(link int, n Neighbour) error {
	err := c.h.NeighDel(n.message(link))
	if IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete neighbour %s dev #%d: %w", n, link, err)
	}
	return c.note(nil, "no neighbour %s dev %s", n, c.name(link))
}

func (n Neighbour) message(link int) *netlink.Neigh {
	m := &netlink.Neigh{LinkIndex: link, State: netlink.NUD_PERMANENT, HardwareAddr: net.HardwareAddr(n.MAC), IP: toIP(n.Address)}
	if n.Remote.IsValid() {
		m.Family, m.Flags, m.IP = unix.AF_BRIDGE, netlink.NTF_SELF, toIP(n.Remote)
		m.State |= netlink.NUD_NOARP
	}
	return m
}

// String is the entry as ip-neighbour(8) and bridge(8) write it.
func (n Neighbour) String() string {
	if n.Remote.IsValid() {
		return fmt.Sprintf("%s dst %s", net.HardwareAddr(n.MAC), n.Remote)
	}
	return fmt.Sprintf("%s lladdr %s", n.Address, net.HardwareAddr(n.MAC))
}
