package address_test

import (
	"net/netip"
	"strings"
	"testing"

	"netd/netd/internal/address"
)

func TestNotOnLink(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.1.11/24": "", "10.0.1.11/32": "", "10.0.1.0/31": "", "10.1.2.3/8": "", "2001:db8::/64": "", "2001:db8::11/128": "",
		"10.0.1.0/24": "first and last address of 10.0.1.0/24", "10.0.1.255/24": "first and last address of 10.0.1.0/24",
		"10.0.1.11/0": "every address", "10.0.1.11/1": "2147483648 addresses", "10.0.1.11/7": "33554432 addresses",
		"0.0.0.0/24": "this network", "127.0.0.1/8": "loopback", "169.254.1.1/16": "link-local", "224.0.0.5/24": "multicast",
		"239.1.1.1/24": "multicast", "240.0.0.1/24": "reserved", "255.255.255.255/32": "broadcast", "ff02::1/64": "multicast", "::1/128": "loopback",
	} {
		got := address.NotOnLink(netip.MustParsePrefix(in))
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestHolds(t *testing.T) {
	for in, want := range map[string]bool{
		"10.0.1.0/24 10.0.1.1": true, "10.0.1.0/24 10.0.1.0": false, "10.0.1.0/24 10.0.1.255": false, "10.0.1.0/24 10.0.2.1": false,
		"10.0.1.0/31 10.0.1.0": true, "10.0.1.7/32 10.0.1.7": true, "2001:db8::/64 2001:db8::": true,
	} {
		p, a, _ := strings.Cut(in, " ")
		if got := address.Holds(netip.MustParsePrefix(p), netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v, want %v", in, got, want)
		}
	}
}
