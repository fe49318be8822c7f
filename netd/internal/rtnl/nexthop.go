package rtnl

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// NextHop is a next-hop object of the kernel: routes refer to it by its number,
// and all of them move when it changes.
type NextHop struct {
	ID uint32
	// Gateway and Link are empty in a group.
	Gateway netip.Addr
	Link    int
	// Onlink says that Gateway is reached through Link whatever the routes say.
	Onlink bool
	// Outer and OuterSource are the IPv6 addresses of the packets that Link (of kind
	// ip6tnl) wraps around what comes; there is no Gateway then.
	Outer, OuterSource netip.Addr
	// Blackhole drops what comes.
	Blackhole bool
	// Group holds the members of a group, in order of their numbers.
	Group []uint32
	// Weighted: the members do not get equal shares.
	Weighted bool
	// Protocol says who owns the object.
	Protocol int
}

// String is the object as ip-nexthop(8) writes it, with the link as its index.
func (n NextHop) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "id %d", n.ID)
	if n.Blackhole {
		b.WriteString(" blackhole")
	}
	for i, id := range n.Group {
		fmt.Fprintf(&b, "%s%d", map[bool]string{true: " group ", false: "/"}[i == 0], id)
	}
	if n.Gateway.IsValid() {
		fmt.Fprintf(&b, " via %s", n.Gateway)
	}
	if n.Outer.IsValid() {
		fmt.Fprintf(&b, " encap ip6 src %s dst %s", n.OuterSource, n.Outer)
	}
	if n.Link != 0 {
		fmt.Fprintf(&b, " dev #%d", n.Link)
	}
	if n.Onlink {
		b.WriteString(" onlink")
	}
	return b.String()
}

// sizeofNhmsg is struct nhmsg's: family, scope, protocol, reserved, flags.
const sizeofNhmsg = 8

// linux/lwtunnel.h, which x/sys has not.
const (
	lwtunnelEncapIP6 = 4
	lwtunnelIP6Dst   = 2
	lwtunnelIP6Src   = 3
	lwtunnelIP6TTL   = 4
)

// Octets of struct nexthop_grp: number, weight less one, reserved.
const sizeofGroupEntry = 8

func (n NextHop) encode(b []byte) []byte {
	family, flags := byte(unix.AF_INET), uint32(0)
	switch {
	case len(n.Group) > 0:
		family = unix.AF_UNSPEC // Else: "Invalid nexthop family for group".
	case n.Gateway.Is6() || n.Outer.IsValid(): // IPv4 routes take these, too.
		family = unix.AF_INET6
	}
	if n.Onlink {
		flags = unix.RTNH_F_ONLINK
	}
	b = append(b, family, 0, byte(n.Protocol), 0)
	b = binary.NativeEndian.AppendUint32(b, flags)
	b = attr32(b, unix.NHA_ID, n.ID)
	if len(n.Group) > 0 {
		members := make([]byte, 0, len(n.Group)*sizeofGroupEntry)
		for _, id := range n.Group {
			members = append(binary.NativeEndian.AppendUint32(members, id), 0, 0, 0, 0)
		}
		return attr(b, unix.NHA_GROUP, members)
	}
	if n.Blackhole {
		return attr(b, unix.NHA_BLACKHOLE, nil)
	}
	b = attr32(b, unix.NHA_OIF, uint32(n.Link))
	if n.Gateway.IsValid() {
		b = attr(b, unix.NHA_GATEWAY, n.Gateway.AsSlice())
	}
	if n.Outer.IsValid() {
		outer := attr(attr(nil, lwtunnelIP6Dst, n.Outer.AsSlice()), lwtunnelIP6Src, n.OuterSource.AsSlice())
		b = attr(b, unix.NHA_ENCAP|unix.NLA_F_NESTED, attr(outer, lwtunnelIP6TTL, []byte{tunnelTTL}))
		b = attr(b, unix.NHA_ENCAP_TYPE, binary.NativeEndian.AppendUint16(nil, lwtunnelEncapIP6))
	}
	return b
}

func decodeNextHop(b []byte) (NextHop, error) {
	if len(b) < sizeofNhmsg {
		return NextHop{}, errShort
	}
	n := NextHop{Protocol: int(b[2]), Onlink: binary.NativeEndian.Uint32(b[4:])&unix.RTNH_F_ONLINK != 0}
	err := eachAttr(b[sizeofNhmsg:], func(kind uint16, v []byte) error {
		switch kind {
		case unix.NHA_ID:
			return uint32Of(v, &n.ID)
		case unix.NHA_OIF:
			return intOf(v, &n.Link)
		case unix.NHA_GATEWAY:
			n.Gateway, _ = netip.AddrFromSlice(v)
		case unix.NHA_ENCAP:
			return eachAttr(v, n.decodeOuter)
		case unix.NHA_BLACKHOLE:
			n.Blackhole = true
		case unix.NHA_GROUP:
			for ; len(v) >= sizeofGroupEntry; v = v[sizeofGroupEntry:] {
				n.Group = append(n.Group, binary.NativeEndian.Uint32(v))
				n.Weighted = n.Weighted || v[4] != 0
			}
		}
		return nil
	})
	slices.Sort(n.Group)
	return n, err
}

func (n *NextHop) decodeOuter(kind uint16, v []byte) error {
	switch kind {
	case lwtunnelIP6Dst:
		n.Outer, _ = netip.AddrFromSlice(v)
	case lwtunnelIP6Src:
		n.OuterSource, _ = netip.AddrFromSlice(v)
	}
	return nil
}

// NextHops lists the next-hop objects, everybody's.
func (c *Conn) NextHops() ([]NextHop, error) {
	return dump("next hops", func() ([]NextHop, error) {
		return dumpAll(c.fib, unix.RTM_GETNEXTHOP, make([]byte, sizeofNhmsg), decodeNextHop)
	})
}
