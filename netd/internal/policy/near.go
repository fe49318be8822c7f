package policy

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Near is peers of BGP that are not far away.
type Near struct {
	Peers netip.Prefix
	// MinTTL of their packets, 1 to 255 (RFC 5082).
	MinTTL uint8
}

// near drops what near peers, or others in their name, send to BGP's port from
// further away. The speaker looks at the TTL too, but only once it has accepted a
// connection: what was sent until then has passed.
func (b builder) near(input *nftables.Chain, port uint16, peers []Near) {
	if len(peers) == 0 {
		return
	}
	chain := b.AddChain(&nftables.Chain{Name: "near", Table: b.table})
	b.jump(input, chain, to(unix.IPPROTO_TCP, port))
	for _, n := range peers {
		protocol, source, ttl := byte(unix.NFPROTO_IPV4), uint32(12), uint32(8)
		if n.Peers.Addr().Is6() {
			protocol, source, ttl = unix.NFPROTO_IPV6, 8, 7
		}
		b.drop(chain, family(protocol), []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: source, Len: uint32(n.Peers.Addr().BitLen() / 8)},
		}, within(n.Peers, expr.CmpOpEq), []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: ttl, Len: 1},
			&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: []byte{n.MinTTL}},
		})
	}
}

// within compares the address in the register with a prefix.
func within(p netip.Prefix, op expr.CmpOp) []expr.Any {
	bits := p.Addr().BitLen()
	return []expr.Any{
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(bits / 8), Mask: net.CIDRMask(p.Bits(), bits), Xor: make([]byte, bits/8)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

// to is a protocol's destination port.
func to(protocol byte, port uint16) []expr.Any {
	return append(is(expr.MetaKeyL4PROTO, protocol),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	)
}
