package rawbgp

import (
	"encoding/binary"
	"net/netip"
)

// Message types (RFC 4271 section 4.1).
const (
	Open         = 1
	UpdateType   = 2
	Notification = 3
	Keepalive    = 4
)

// Attribute flags (RFC 4271 section 4.3) and types.
const (
	Optional   = 0x80
	Transitive = 0x40
	Extended   = 0x10

	Origin  = 1
	ASPath  = 2
	NextHop = 3
	MPReach = 14
)

const headerLen = 19

// Message is a whole message.
func Message(kind byte, body []byte) []byte {
	m := make([]byte, headerLen, headerLen+len(body))
	for i := range 16 {
		m[i] = 0xff
	}
	binary.BigEndian.PutUint16(m[16:], uint16(headerLen+len(body)))
	m[18] = kind
	return append(m, body...)
}

// Update is a whole UPDATE. The lengths are right; what is in the fields is the
// caller's.
func Update(withdrawn, attributes, nlri []byte) []byte {
	body := binary.BigEndian.AppendUint16(nil, uint16(len(withdrawn)))
	body = append(body, withdrawn...)
	body = binary.BigEndian.AppendUint16(body, uint16(len(attributes)))
	return Message(UpdateType, append(append(body, attributes...), nlri...))
}

// Attribute is a path attribute, with a length of two octets where it needs them.
func Attribute(flags, code byte, value []byte) []byte {
	if len(value) > 255 {
		a := []byte{flags | Extended, code, byte(len(value) >> 8), byte(len(value))}
		return append(a, value...)
	}
	return append([]byte{flags, code, byte(len(value))}, value...)
}

// Sequence is the value of an AS_PATH of one AS_SEQUENCE with 4-octet numbers.
func Sequence(path ...uint32) []byte {
	v := []byte{2, byte(len(path))}
	for _, as := range path {
		v = binary.BigEndian.AppendUint32(v, as)
	}
	return v
}

// Route is the three attributes that each route has.
func Route(nextHop netip.Addr, path ...uint32) []byte {
	a := Attribute(Transitive, Origin, []byte{0})
	a = append(a, Attribute(Transitive, ASPath, Sequence(path...))...)
	return append(a, Attribute(Transitive, NextHop, nextHop.AsSlice())...)
}

// NLRI is the prefixes as an UPDATE carries them.
func NLRI(prefixes ...netip.Prefix) []byte {
	var b []byte
	for _, p := range prefixes {
		b = append(b, byte(p.Bits()))
		b = append(b, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
	}
	return b
}
