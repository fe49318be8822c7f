//go:build net

package bgp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"netd/netd/internal/rawbgp"
)

// unhex is the octets of a dump; white space is for the reader.
func unhex(dump string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(dump), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// octets is a message that is the same for any prefix.
func octets(message []byte) func(netip.Prefix) []byte {
	return func(netip.Prefix) []byte { return message }
}

// route is an UPDATE with these attributes and no others.
func route(attributes ...[]byte) func(netip.Prefix) []byte {
	return func(p netip.Prefix) []byte { return rawbgp.Update(nil, slices.Concat(attributes...), rawbgp.NLRI(p)) }
}

func origin(v byte) []byte     { return rawbgp.Attribute(wellKnown, 1, []byte{v}) }
func asPathOf(v []byte) []byte { return rawbgp.Attribute(wellKnown, 2, v) }
func hop(text string) []byte   { return rawbgp.Attribute(wellKnown, 3, ip(text).AsSlice()) }

// through is a right UPDATE but for its next hop.
func through(text string) func(netip.Prefix) []byte {
	return route(origin(0), asPathOf(rawbgp.Sequence(toAS)), hop(text))
}

// along is a right UPDATE but for its AS_PATH.
func along(v []byte) func(netip.Prefix) []byte {
	return route(origin(0), asPathOf(v), rawbgp.Attribute(wellKnown, 3, rawAddress(0).AsSlice()))
}

// fields is an UPDATE with the attributes of a right one and other fields as given.
func fields(withdrawn, nlri []byte) func(netip.Prefix) []byte {
	return octets(rawbgp.Update(withdrawn, rawbgp.Route(rawAddress(0), toAS), nlri))
}

// lengths is an UPDATE whose two lengths are as given.
func lengths(withdrawn, attributes byte) func(netip.Prefix) []byte {
	return func(p netip.Prefix) []byte {
		body := append([]byte{0, withdrawn, 0, attributes}, rawbgp.Route(rawAddress(0), toAS)...)
		return rawbgp.Message(rawbgp.UpdateType, append(body, rawbgp.NLRI(p)...))
	}
}

// header changes octets of a KEEPALIVE.
func header(change func(m []byte)) func(netip.Prefix) []byte {
	m := rawbgp.Message(rawbgp.Keepalive, nil)
	change(m)
	return octets(m)
}

// pathCases are UPDATEs that are well-formed, but not right.
func pathCases() []robustCase {
	return []robustCase{
		{"no ORIGIN", route(asPathOf(rawbgp.Sequence(toAS)), hop("10.0.9.1")), 0, withdraw, "RFC 7606 3(d)"},
		{"no AS_PATH", route(origin(0), hop("10.0.9.1")), 0, withdraw, "RFC 7606 3(d)"},
		{"no NEXT_HOP", route(origin(0), asPathOf(rawbgp.Sequence(toAS))), 0, withdraw, "RFC 7606 3(d)"},
		{"no attributes", route(), 0, withdraw, "RFC 7606 3(d)"},
		{"ORIGIN 3", route(origin(3), asPathOf(rawbgp.Sequence(toAS)), hop("10.0.9.1")), 0, withdraw, "RFC 7606 7.1"},
		{"AS 0", along(rawbgp.Sequence(toAS, 0)), 0, withdraw, "RFC 7607 2"},
		{"our own AS", along(rawbgp.Sequence(toAS, ownAS)), 0, withdraw, "RFC 4271 9.1.2"},
		{"the first AS is not the peer's", along(rawbgp.Sequence(64999)), 0, accepted | withdraw, "RFC 7606 7.2: MAY"},
		{"AS_TRANS", along(rawbgp.Sequence(toAS, 23456)), 0, accepted, "RFC 6793"},
		{"250 AS numbers", along(rawbgp.Sequence(append([]uint32{toAS}, make250()...)...)), 0, accepted, "RFC 4271 4.3"},
		{"an empty segment", along(append(rawbgp.Sequence(toAS), 2, 0)), 0, withdraw, "RFC 7606 7.2"},
		{"a segment of type 9", along(append(rawbgp.Sequence(toAS), 9, 1, 0, 0, 1, 1)), 0, withdraw, "RFC 7606 7.2"},
		{"a segment that is longer than the path", along([]byte{2, 9, 0, 0, 253, 233}), 0, withdraw, "RFC 7606 7.2"},
		{"a confederation's segment", along(append([]byte{3, 1, 0, 0, 1, 1}, rawbgp.Sequence(toAS)...)), 0, withdraw, "RFC 5065 5"},
		{"next hop 0.0.0.0", through("0.0.0.0"), 0, withdraw, "RFC 4271 6.3"},
		{"next hop 127.0.0.1", through("127.0.0.1"), 0, withdraw, "RFC 4271 6.3"},
		{"next hop 224.0.0.5", through("224.0.0.5"), 0, withdraw, "RFC 4271 6.3"},
		{"next hop 240.0.0.1", through("240.0.0.1"), 0, withdraw, "RFC 4271 6.3"},
		{"next hop 255.255.255.255", through("255.255.255.255"), 0, withdraw, "RFC 4271 6.3"},
		{"announced and withdrawn in one", func(p netip.Prefix) []byte {
			return rawbgp.Update(rawbgp.NLRI(p), rawbgp.Route(rawAddress(0), toAS), rawbgp.NLRI(p))
		}, 0, accepted, "RFC 4271 4.3"},
		{"End-of-RIB", octets(rawbgp.Update(nil, nil, nil)), 0, ignore, "RFC 4724 2"},
		{"a prefix of a family that was not agreed on", octets(rawbgp.Update(nil, slices.Concat(origin(0), asPathOf(rawbgp.Sequence(toAS)),
			rawbgp.Attribute(optional, 14, unhex("0002 01 10 20010db8000000000000000000000001 00 40 20010db800000000"))), nil)), 0, ignore | reset, "RFC 4760 7"},
	}
}

func make250() []uint32 {
	as := make([]uint32, 249)
	for i := range as {
		as[i] = uint32(1000 + i)
	}
	return as
}

// messageCases are messages that are not well-formed.
func messageCases() []robustCase {
	return []robustCase{
		{"a prefix of 33 bits", fields(nil, []byte{33, 10, 64, 0, 0, 0}), 0, reset, "RFC 7606 5.3"},
		{"a prefix that is cut off", fields(nil, []byte{32, 10, 64}), 0, reset, "RFC 7606 5.3"},
		{"a withdrawn prefix of 33 bits", fields([]byte{33, 10, 64, 0, 0, 0}, nil), 0, reset, "RFC 7606 5.3"},
		{"withdrawn prefixes are longer than the message", lengths(200, 0), 0, reset, "RFC 7606 3(b)"},
		{"attributes are longer than the message", lengths(0, 200), 0, reset, "RFC 7606 3(b)"},
		{"attributes end within one", lengths(0, 19), 0, withdraw | reset, "RFC 7606 4"},
		{"an UPDATE without lengths", octets(rawbgp.Message(rawbgp.UpdateType, []byte{0})), 0, reset, "RFC 4271 6.1"},
		{"MP_REACH_NLRI that is cut off", octets(rawbgp.Update(nil, unhex("80 0e 03 00 02 02"), nil)), 0, reset, "RFC 7606 7.11"},
		{"a length of 18", header(func(m []byte) { m[17] = 18 }), 0, reset, "RFC 4271 6.1"},
		{"a length of 0", header(func(m []byte) { m[17] = 0 }), 0, reset, "RFC 4271 6.1"},
		{"a length of 4097", func(netip.Prefix) []byte { return rawbgp.Message(rawbgp.UpdateType, make([]byte, 4097-19)) }, 0, reset, "RFC 4271 6.1"},
		{"a length of 65535", func(netip.Prefix) []byte { return rawbgp.Message(rawbgp.UpdateType, make([]byte, 65535-19)) }, 0, reset, "RFC 4271 6.1"},
		{"a marker that is none", header(func(m []byte) { m[3] = 0 }), 0, reset, "RFC 4271 6.1"},
		{"type 0", header(func(m []byte) { m[18] = 0 }), 0, reset, "RFC 4271 6.1"},
		{"type 255 in 19 octets", header(func(m []byte) { m[18] = 255 }), 0, reset, "RFC 4271 6.1"},
		{"a KEEPALIVE with a body", octets(rawbgp.Message(rawbgp.Keepalive, []byte{1})), 0, reset, "RFC 4271 6.1"},
		{"a NOTIFICATION without code", octets(rawbgp.Message(rawbgp.Notification, nil)), 0, reset, "RFC 4271 6.1"},
		{"a second OPEN", octets(rawbgp.Message(rawbgp.Open, unhex("04 fde9 005a 0a000901 00"))), 0, reset, "RFC 4271 8.2.2"},
		{"ROUTE-REFRESH that is too short", octets(rawbgp.Message(5, []byte{0})), 0, reset | ignore, "RFC 7313 5"},
		{"ROUTE-REFRESH of no family", octets(rawbgp.Message(5, []byte{99, 99, 0, 99})), 0, ignore, "RFC 2918 4"},
	}
}

// advisoryCases are what broke earlier versions of GoBGP, as its advisories and
// issues tell. What else is in them has no way in: BMP (CVE-2026-7737) and MRT
// (CVE-2026-7736) are not used, and no peer is of a confederation (GHSA-frrj-87jh-2772,
// of which the empty AS_PATH is in the table).
func advisoryCases() []robustCase {
	whatever := accepted | discard | withdraw | reset | ignore // but not the end of the process
	base := slices.Concat(origin(0), asPathOf(rawbgp.Sequence(toAS)), hop("10.0.9.1"))
	with := func(a ...byte) func(netip.Prefix) []byte { return route(base, a) }
	var cases []robustCase
	for n := range 4 {
		cases = append(cases, robustCase{
			"CVE-2026-30405, issue 3305: NEXT_HOP of " + string(rune('0'+n)),
			route(origin(0), asPathOf(rawbgp.Sequence(toAS)), rawbgp.Attribute(wellKnown, 3, make([]byte, n))), 0, withdraw, "RFC 7606 7.3",
		}, robustCase{
			"issue 3325: flags and length of NEXT_HOP, " + string(rune('0'+n)),
			route(origin(0), asPathOf(rawbgp.Sequence(toAS)), rawbgp.Attribute(0, 3, make([]byte, n))), 0, withdraw, "RFC 7606 7.3",
		})
	}
	return append(cases, []robustCase{
		{"CVE-2026-41642: a well-known attribute that nobody knows", with(0x40, 0x63, 0x01, 0x00), 0, reset, "RFC 4271 6.3"},
		{"CVE-2026-41643, issue 3308: AS4_PATH of one octet before AS_PATH", octets(rawbgp.Update(nil, unhex("40 11 01 02 40 02 04 ffff dead"), nil)), 0, whatever, "none"},
		{"CVE-2026-41643, with prefix", route(unhex("c0 11 01 02"), base), 0, whatever, "none"},
		{"CVE-2026-42285: inconsistent lengths", route(origin(0), unhex("40 02 50 02 01"), hop("10.0.9.1")), 0, whatever, "none"},
		{"CVE-2026-42285: of nothing", octets(rawbgp.Update(nil, unhex("40 01 ff"), nil)), 0, whatever, "none"},
		{"issue 3392: ORIGIN without Transitive", route(rawbgp.Attribute(0, 1, []byte{0}), asPathOf(rawbgp.Sequence(toAS)), hop("10.0.9.1")), 0, withdraw, "RFC 7606 3(c)"},
		{"issue 3392: and nothing else", octets(rawbgp.Update(nil, unhex("00 01 01 00"), nil)), 0, whatever, "none"},
		{"CVE-2026-37461: an IPv6 extended community that is cut off", with(0xc0, 25, 3, 0, 2, 1), 0, withdraw, "RFC 7606 7.15"},
		{"CVE-2026-37461: one of 8 octets", with(0xc0, 25, 8, 0, 2, 0, 0, 0, 0, 0, 0), 0, withdraw, "RFC 7606 7.15"},
		{"CVE-2026-37462: the lengths underflow", octets(rawbgp.Message(rawbgp.UpdateType, unhex("0000 0002 4001"))), 0, whatever, "none"},
		{"CVE-2026-37462: withdrawn prefixes underflow", octets(rawbgp.Message(rawbgp.UpdateType, unhex("0001 20 0000"))), 0, whatever, "none"},
		{"CVE-2026-7734: SRv6 service TLV with an unknown sub-TLV of length 0", with(0xc0, 40, 9, 5, 0, 6, 0, 0xff, 0, 0, 0xff, 0), 0, whatever, "none"},
		{"CVE-2026-7734: and of length 0xffff", with(0xc0, 40, 9, 5, 0, 6, 0, 0xff, 0xff, 0xff, 0, 0), 0, whatever, "none"},
		{"AIGP of length 0", with(0x80, 26, 3, 1, 0, 0), 0, whatever, "none"},
		{"AIGP of length 2", with(0x80, 26, 3, 1, 0, 2), 0, whatever, "none"},
		{"BGP-LS sub-TLV that underflows", with(0x80, 29, 5, 4, 0, 0, 1, 0), 0, whatever, "none"},
		{"tunnel segment list that is cut off", with(0xc0, 23, 9, 0, 15, 0, 5, 128, 0, 2, 0, 1), 0, whatever, "none"},
		{"flow specification that is cut off", octets(rawbgp.Update(nil, unhex("80 0e 07 00 01 85 00 00 02 01"), nil)), 0, whatever, "none"},
		{"EVPN that is cut off", octets(rawbgp.Update(nil, unhex("80 0e 0b 00 19 46 04 0a000901 00 02 21"), nil)), 0, whatever, "none"},
		{"MP_UNREACH_NLRI that is cut off", octets(rawbgp.Update(nil, unhex("80 0f 02 00 01"), nil)), 0, whatever, "none"},
		{"four kilobytes of 0xff", octets(rawbgp.Message(rawbgp.UpdateType, bytes.Repeat([]byte{0xff}, 4077))), 0, reset, "RFC 7606 3(b)"},
	}...)
}
