//go:build net

package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"netd/netd/internal/rawbgp"
)

// action is what a speaker does about an UPDATE (RFC 7606 section 2); several
// where the RFCs leave the choice.
type action uint8

const (
	accepted action = 1 << iota // the route is there, with the attribute
	discard                     // the route is there, without it
	withdraw                    // the route is gone
	reset                       // the session is gone
	ignore                      // the route is as it was before: never right
)

func (a action) String() string {
	var names []string
	for i, name := range []string{"accept", "discard", "withdraw", "reset", "ignore"} {
		if a&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " or ")
}

// attribute is one kind of path attribute and what is to be done about it, from an
// eBGP peer.
type attribute struct {
	code  byte
	name  string
	flags byte
	value []byte
	// good is the action for a right one, bad for a wrong length, flags for wrong
	// Optional or Transitive bits.
	good, bad, badFlags action
	// fits names wrong lengths that are none.
	fits []string
	// source of bad and badFlags.
	source string
}

const (
	wellKnown     = rawbgp.Transitive
	optional      = rawbgp.Optional
	optTransitive = rawbgp.Optional | rawbgp.Transitive
)

// knownAttributes are those that the speaker knows.
func knownAttributes() []attribute {
	return []attribute{
		{1, "ORIGIN", wellKnown, []byte{0}, accepted, withdraw, withdraw, nil, "RFC 7606 7.1"},
		{2, "AS_PATH", wellKnown, rawbgp.Sequence(toAS), accepted, withdraw, withdraw, []string{"length 0"}, "RFC 7606 7.2; an empty one is well-formed"},
		{3, "NEXT_HOP", wellKnown, rawAddress(0).AsSlice(), accepted, withdraw, withdraw, nil, "RFC 7606 7.3"},
		{4, "MULTI_EXIT_DISC", optional, []byte{0, 0, 0, 5}, accepted, withdraw, withdraw, nil, "RFC 7606 7.4"},
		{5, "LOCAL_PREF", wellKnown, []byte{0, 0, 0, 200}, discard, discard, discard | withdraw, nil, "RFC 7606 7.5: from an external peer"},
		{6, "ATOMIC_AGGREGATE", wellKnown, nil, accepted, discard, withdraw, []string{"length 0", "one less"}, "RFC 7606 7.6, 3(c)"},
		{7, "AGGREGATOR", optTransitive, []byte{0, 0, 253, 233, 10, 0, 9, 1}, accepted, discard, withdraw, nil, "RFC 7606 7.7, 3(c)"},
		{8, "COMMUNITIES", optTransitive, []byte{253, 233, 0, 1}, accepted, withdraw, withdraw, nil, "RFC 7606 7.8"},
		{9, "ORIGINATOR_ID", optional, []byte{10, 0, 9, 77}, discard, discard, discard | withdraw, nil, "RFC 7606 7.9: from an external peer"},
		{10, "CLUSTER_LIST", optional, []byte{10, 0, 9, 77}, discard, discard, discard | withdraw, nil, "RFC 7606 7.10: from an external peer"},
		{14, "MP_REACH_NLRI", optional, nil, accepted, reset, reset | withdraw, nil, "RFC 7606 7.11, 5.3"},
		{15, "MP_UNREACH_NLRI", optional, nil, withdraw, reset, reset | withdraw, nil, "RFC 7606 7.12, 5.3"},
		{16, "EXTENDED_COMMUNITIES", optTransitive, []byte{0, 2, 253, 233, 0, 0, 0, 1}, accepted, withdraw, withdraw, nil, "RFC 7606 7.14"},
		{17, "AS4_PATH", optTransitive, rawbgp.Sequence(toAS), discard, discard, discard | withdraw, []string{"length 0"}, "RFC 6793 6: from a peer with 4-octet numbers"},
		{18, "AS4_AGGREGATOR", optTransitive, []byte{0, 0, 253, 233, 10, 0, 9, 1}, discard, discard, discard | withdraw, nil, "RFC 6793 6"},
		{22, "PMSI_TUNNEL", optTransitive, []byte{0, 6, 0, 0, 16, 10, 0, 9, 1}, accepted, withdraw, withdraw, nil, "RFC 6514 5"},
		{23, "TUNNEL_ENCAP", optTransitive, []byte{0, 8, 0, 10, 4, 8, 3, 11, 0, 0, 0, 0, 0, 1}, accepted, discard, discard | withdraw, nil, "RFC 9012 13"},
		{25, "IPV6_EXT_COMMUNITIES", optTransitive, append([]byte{0, 2}, make([]byte, 18)...), accepted, withdraw, withdraw, nil, "RFC 7606 7.15"},
		{26, "AIGP", optional, []byte{1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 9}, accepted | discard, discard, discard | withdraw, []string{"length 0"}, "RFC 7311 3, 3.4: of use on configured sessions only"},
		{32, "LARGE_COMMUNITY", optTransitive, []byte{0, 0, 253, 233, 0, 0, 0, 1, 0, 0, 0, 2}, accepted, withdraw, withdraw, nil, "RFC 8092 6"},
		{40, "PREFIX_SID", optTransitive, []byte{1, 0, 7, 0, 0, 0, 0, 0, 0, 5}, accepted | discard, discard, discard | withdraw, []string{"length 0"}, "RFC 8669 6"},
	}
}

// attributes are the known ones, and all that are unknown up to 41 and at the
// end, as optional transitive and not.
func attributes() []attribute {
	table := knownAttributes()
	for code := 1; code <= 255; code++ {
		known := slices.ContainsFunc(table, func(a attribute) bool { return int(a.code) == code && a.name != "unknown" })
		if known || code > 41 && code != 128 && code != 255 || code == 29 { // 29, BGP-LS, is known but means nothing here
			continue
		}
		a := attribute{byte(code), fmt.Sprintf("unknown %d", code), optTransitive, []byte{1, 2, 3, 4}, accepted, accepted, 0, nil, "RFC 4271 9, 6.3"}
		table = append(table, a)
		a.name, a.flags, a.good, a.bad = a.name+" not transitive", optional, accepted|discard, accepted|discard
		table = append(table, a)
	}
	return table
}

// malformations are what is done to each attribute.
func malformations() []string {
	return []string{"good", "optional bit", "transitive bit", "length 0", "one less", "one more", "0xffff", "twice", "first"}
}

// robustCase is one UPDATE and what is to become of it.
type robustCase struct {
	name   string
	update func(p netip.Prefix) []byte
	code   byte // whose presence tells accept from discard; 0 if none does
	want   action
	source string
}

// valueFor is the attribute's value, for those that carry the prefix.
func (a attribute) valueFor(p netip.Prefix) []byte {
	switch a.code {
	case 14:
		v := append([]byte{0, 1, 1, 4}, rawAddress(0).AsSlice()...)
		return append(append(v, 0), rawbgp.NLRI(p)...)
	case 15:
		return append([]byte{0, 1, 1}, rawbgp.NLRI(p)...)
	}
	return a.value
}

// octets is the attribute, malformed.
func (a attribute) octets(how string, p netip.Prefix) []byte {
	v, flags := slices.Clone(a.valueFor(p)), a.flags
	switch how {
	case "optional bit":
		flags ^= rawbgp.Optional
	case "transitive bit":
		flags ^= rawbgp.Transitive
	case "length 0":
		v = nil
	case "one less":
		v = v[:max(0, len(v)-1)]
	case "one more":
		v = append(v, 0xff)
	case "0xffff":
		return append([]byte{flags | rawbgp.Extended, a.code, 0xff, 0xff}, v...)
	case "twice":
		return append(rawbgp.Attribute(flags, a.code, v), rawbgp.Attribute(flags, a.code, v)...)
	}
	return rawbgp.Attribute(flags, a.code, v)
}

// update is an UPDATE for the prefix with this attribute beside the mandatory ones.
func (a attribute) update(how string, p netip.Prefix) []byte {
	var all [][]byte
	for _, base := range []attribute{
		{code: 1, flags: wellKnown, value: []byte{0}},
		{code: 2, flags: wellKnown, value: rawbgp.Sequence(toAS)},
		{code: 3, flags: wellKnown, value: rawAddress(0).AsSlice()},
	} {
		replaced := base.code == a.code || a.code == 14 && base.code == 3 || a.code == 15
		if !replaced {
			all = append(all, base.octets("good", p))
		}
	}
	if how == "first" {
		all = slices.Insert(all, 0, a.octets(how, p))
	} else {
		all = append(all, a.octets(how, p))
	}
	nlri := rawbgp.NLRI(p)
	if a.code == 14 || a.code == 15 {
		nlri = nil
	}
	return rawbgp.Update(nil, slices.Concat(all...), nlri)
}

// expected is what the RFCs say.
func (a attribute) expected(how string) (action, string) {
	multi := a.code == 14 || a.code == 15
	known := !strings.HasPrefix(a.name, "unknown")
	switch how {
	case "good", "first":
		return a.good, "RFC 4271 5: in any order"
	case "optional bit":
		if !known {
			return reset | withdraw, "RFC 4271 6.3: unrecognized well-known attribute; RFC 7606 3(c): without Transitive"
		}
		return a.badFlags, a.source
	case "transitive bit":
		if !known {
			return accepted | discard, a.source
		}
		return a.badFlags, a.source
	case "0xffff":
		if multi {
			return reset, "RFC 7606 4, 5.1: the prefixes can not be found"
		}
		return withdraw, "RFC 7606 4"
	case "twice":
		if multi {
			return reset, "RFC 7606 3(g)"
		}
		return a.good, "RFC 7606 3(g): the first counts"
	}
	if slices.Contains(a.fits, how) {
		return a.good | accepted | withdraw&a.bad, a.source
	}
	return a.bad, a.source
}

// attributeCases is the table.
func attributeCases() []robustCase {
	var cases []robustCase
	for _, a := range attributes() {
		for _, how := range malformations() {
			want, source := a.expected(how)
			cases = append(cases, robustCase{
				name: a.name + ": " + how, code: a.code, want: want, source: source,
				update: func(p netip.Prefix) []byte { return a.update(how, p) },
			})
		}
	}
	return cases
}
