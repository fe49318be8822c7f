package config

import (
	"math"
	"net/netip"
	"testing"
)

func TestRoom(t *testing.T) {
	for block, want := range map[string]int64{
		"10.64.1.0/26":         64,
		"10.64.1.0/32":         1,
		"0.0.0.0/0":            1 << 32,
		"2001:db8:64:1::/128":  1,
		"2001:db8:64:1::/127":  2,
		"2001:db8:64:1::/126":  3,
		"2001:db8:64:1::/120":  255,
		"2001:db8:64:1::/67":   1<<61 - 1,
		"2001:db8:64:1::/66":   math.MaxInt64,
		"2001:db8:64:1::/64":   math.MaxInt64,
		"2001:db8:64:8000::/1": math.MaxInt64,
	} {
		if got := Room(netip.MustParsePrefix(block)); got != want {
			t.Errorf("%s: room for %d, want %d", block, got, want)
		}
	}
}
