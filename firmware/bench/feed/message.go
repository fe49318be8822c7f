package feed

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"
)

// The codes that are used of OPEN's optional parameters and capabilities
// (RFC 5492, 4760, 4724, 6793).
const (
	paramCapabilities      = 2
	capMultiprotocol       = 1
	capGracefulRestart     = 64
	capFourOctetAS         = 65
	asTrans                = 23456
	restartSeconds         = 120
	safiUnicast, afiIPv4   = 1, 1
	attrOrigin, attrASPath = 1, 2
	attrNextHop            = 3
	flagTransitive         = 0x40
	segmentSequence        = 2
)

// message puts a header before a body.
func message(kind byte, body []byte) []byte {
	b := bytes.Repeat([]byte{0xff}, 16)
	b = binary.BigEndian.AppendUint16(b, uint16(headerSize+len(body)))
	return append(append(b, kind), body...)
}

func open(id netip.Addr, as uint32) []byte {
	caps := []byte{capMultiprotocol, 4, 0, afiIPv4, 0, safiUnicast, capFourOctetAS, 4}
	caps = binary.BigEndian.AppendUint32(caps, as)
	caps = append(caps, capGracefulRestart, 6)
	caps = binary.BigEndian.AppendUint16(caps, restartSeconds)
	caps = append(caps, 0, afiIPv4, safiUnicast, 0)
	short := uint16(asTrans)
	if as < 1<<16 {
		short = uint16(as)
	}
	body := binary.BigEndian.AppendUint16([]byte{4}, short)
	body = binary.BigEndian.AppendUint16(body, uint16(holdTime/time.Second))
	body = append(body, id.AsSlice()...)
	body = append(body, byte(2+len(caps)), paramCapabilities, byte(len(caps)))
	return message(typeOpen, append(body, caps...))
}

// firstOrigin is the AS that the first UPDATE's prefixes come from; the next
// one's come from the next.
const firstOrigin = 4_200_000_000

// attributes are the path attributes of an UPDATE, in the order of their codes.
func attributes(nextHop netip.Addr, path ...uint32) []byte {
	b := []byte{flagTransitive, attrOrigin, 1, 0}
	b = append(b, flagTransitive, attrASPath, byte(2+4*len(path)), segmentSequence, byte(len(path)))
	for _, as := range path {
		b = binary.BigEndian.AppendUint32(b, as)
	}
	return append(append(b, flagTransitive, attrNextHop, 4), nextHop.AsSlice()...)
}

// Announce makes the UPDATEs for IPv4 prefixes, at most per of them in each, by
// way of a next hop and an AS. Each comes from another AS behind that, as in a
// fabric where each gateway has its own: so no two have the same attributes.
func Announce(prefixes []netip.Prefix, per int, nextHop netip.Addr, as uint32) []byte {
	origin := uint32(firstOrigin)
	return updates(prefixes, per, func(list []byte) []byte {
		attrs := attributes(nextHop, as, origin)
		origin++
		body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs)))
		return append(append(body, attrs...), list...)
	})
}

// Withdraw makes the UPDATEs that take them back.
func Withdraw(prefixes []netip.Prefix, per int) []byte {
	return updates(prefixes, per, func(list []byte) []byte {
		body := binary.BigEndian.AppendUint16(nil, uint16(len(list)))
		return append(append(body, list...), 0, 0)
	})
}

// EndOfRIB is the empty UPDATE (RFC 4724, 2).
func EndOfRIB() []byte { return message(typeUpdate, []byte{0, 0, 0, 0}) }

func updates(prefixes []netip.Prefix, per int, body func(list []byte) []byte) []byte {
	var b []byte
	for begin := 0; begin < len(prefixes); begin += per {
		var list []byte
		for _, p := range prefixes[begin:min(begin+per, len(prefixes))] {
			a := p.Addr().As4()
			list = append(append(list, byte(p.Bits())), a[:(p.Bits()+7)/8]...)
		}
		b = append(b, message(typeUpdate, body(list))...)
	}
	return b
}

// Prefixes are the first n of length bits of a pool, in order.
func Prefixes(pool netip.Prefix, bits, n int) []netip.Prefix {
	list := make([]netip.Prefix, 0, n)
	base := pool.Masked().Addr().As4()
	first := binary.BigEndian.Uint32(base[:])
	for i := range uint32(n) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], first+i<<(32-bits))
		list = append(list, netip.PrefixFrom(netip.AddrFrom4(a), bits))
	}
	return list
}
