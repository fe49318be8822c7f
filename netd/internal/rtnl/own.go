package rtnl

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Addresses have an owner since Linux 5.18, as routes always had: the number in
// IFA_PROTO. The library does not know it, so these messages are our own.

// ifaProto is IFA_PROTO of linux/if_addr.h.
const ifaProto = 11

// PutAddress adds an address to a link, marked as the protocol's. Of one that is
// there already only the mark changes. Kernels before 5.18 ignore it.
func (c *Conn) PutAddress(link int, p netip.Prefix, protocol int) error {
	family := byte(unix.AF_INET)
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	body := binary.NativeEndian.AppendUint32([]byte{family, byte(p.Bits()), 0, 0}, uint32(link))
	body = attr(body, unix.IFA_LOCAL, p.Addr().AsSlice())
	body = attr(body, unix.IFA_ADDRESS, p.Addr().AsSlice())
	body = attr(body, ifaProto, []byte{byte(protocol)})
	if p.Addr().Is4() && p.Bits() < 31 {
		body = attr(body, unix.IFA_BROADCAST, broadcast(p))
	}
	errs, err := c.fib.chunk([]message{{unix.RTM_NEWADDR, unix.NLM_F_CREATE | unix.NLM_F_REPLACE, body}})
	if err == nil {
		err = errs[0]
	}
	if err != nil {
		return fmt.Errorf("put address %s on link #%d: %w", p, link, err)
	}
	return c.note(nil, "%s address %s", c.name(link), p)
}

// broadcast is the last address of a subnet.
func broadcast(p netip.Prefix) []byte {
	a := p.Addr().As4()
	last := binary.BigEndian.Uint32(a[:]) | (1<<(32-p.Bits()) - 1)
	return binary.BigEndian.AppendUint32(nil, last)
}

// OwnAddresses lists the addresses of both families, on all links, that are marked
// as the protocol's.
func (c *Conn) OwnAddresses(protocol int) ([]Address, error) {
	list, err := c.addresses()
	var own []Address
	for _, m := range list {
		if m.protocol == protocol {
			own = append(own, m.Address)
		}
	}
	return own, err
}

// marked is an address as it is dumped.
type marked struct {
	Address
	protocol int
	flags    uint32
}

func (c *Conn) addresses() ([]marked, error) {
	return dump("addresses", func() ([]marked, error) {
		return dumpAll(c.fib, unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg), decodeAddress)
	})
}

func decodeAddress(b []byte) (marked, error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return marked{}, errShort
	}
	m := marked{Address: Address{Link: int(binary.NativeEndian.Uint32(b[4:]))}, flags: uint32(b[2])}
	var at, local netip.Addr
	err := eachAttr(b[unix.SizeofIfAddrmsg:], func(kind uint16, v []byte) error {
		switch {
		case kind == unix.IFA_ADDRESS:
			at, _ = netip.AddrFromSlice(v)
		case kind == unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(v)
		case kind == ifaProto && len(v) == 1:
			m.protocol = int(v[0])
		case kind == unix.IFA_FLAGS:
			return uint32Of(v, &m.flags)
		}
		return nil
	})
	if local.IsValid() { // IPv6 has IFA_LOCAL only with a peer.
		at = local
	}
	m.Prefix = netip.PrefixFrom(at, int(b[1]))
	return m, err
}
