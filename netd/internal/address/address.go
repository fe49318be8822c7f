// Package address says which addresses a host may have: the same for those that a person
// has written into the file and for those that a DHCP server gives. It is pure; packages
// config and dhcp are its callers.
package address

import (
	"fmt"
	"net/netip"
)

// SpecialUse says what a range overlaps that hosts and pods can not have (RFC 6890, among
// others); empty if nothing.
func SpecialUse(p netip.Prefix) string {
	for _, s := range []struct{ prefix, use string }{
		{"0.0.0.0/8", "this network"},
		{"127.0.0.0/8", "loopback"},
		{"169.254.0.0/16", "link-local; pods reach the gateway by 169.254.1.1"},
		{"224.0.0.0/4", "multicast"},
		{"240.0.0.0/4", "reserved and broadcast"},
		{"::/8", "unspecified, loopback and IPv4-mapped"},
		{"64:ff9b::/32", "translation to IPv4"},
		{"100::/64", "discard-only"},
		{"2002::/16", "6to4"},
		{"fe80::/10", "link-local; pods reach the gateway by fe80::1"},
		{"fec0::/10", "site-local, which is no more"},
		{"ff00::/8", "multicast"},
	} {
		if p.Overlaps(netip.MustParsePrefix(s.prefix)) {
			return fmt.Sprintf("overlaps %s (%s)", s.prefix, s.use)
		}
	}
	return ""
}

// NotHost says why an address can be no host's; empty if it can.
func NotHost(a netip.Addr) string { return SpecialUse(netip.PrefixFrom(a, a.BitLen())) }

// NotOnLink says why an address with its subnet's prefix length can not be a link's; empty
// if it can.
func NotOnLink(p netip.Prefix) string {
	switch why := NotHost(p.Addr()); {
	case why != "":
		return why
	case p.Bits() == 0:
		return "a subnet that holds every address"
	case p.Addr().Is4() && p.Bits() < leastBits:
		return fmt.Sprintf("a subnet of %d addresses, wider than any network is", uint64(1)<<(32-p.Bits()))
	case !Holds(p, p.Addr()):
		return fmt.Sprintf("the first and last address of %s are not a host's", p.Masked())
	}
	return ""
}

// leastBits is the length of the widest network that there is: 10.0.0.0/8 (RFC 1918).
const leastBits = 8

// Holds says whether a is in p's subnet and neither its network's nor its broadcast
// address, which /31 (RFC 3021), /32 and IPv6 do not have.
func Holds(p netip.Prefix, a netip.Addr) bool {
	if !p.Contains(a) || a.Is6() || p.Bits() >= 31 {
		return p.Contains(a)
	}
	return a != p.Masked().Addr() && a != last(p)
}

// last is the last address of an IPv4 prefix.
func last(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}
