//go:build net

package policy_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/ownnet"
	"netd/netd/internal/policy"
)

const golden = `table ip netd {
	set gateways {
		type ipv4_addr
		elements = { 10.0.1.12, 10.0.2.13 }
	}

	chain input {
		type filter hook input priority filter; policy accept;
		meta l4proto 4 ip saddr != @gateways counter packets 0 bytes 0 drop
		iifname "pod*" meta l4proto 4 counter packets 0 bytes 0 drop
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "pod*" meta l4proto 4 counter packets 0 bytes 0 drop
	}
}
`

func present(t *testing.T, want bool) {
	t.Helper()
	if got, err := policy.Present(); err != nil || got != want {
		t.Errorf("present: %v, %v, want %v", got, err, want)
	}
}

func TestApply(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		rules := policy.Rules{PodLinks: "pod", Gateways: []netip.Addr{netip.MustParseAddr("10.0.1.12"), netip.MustParseAddr("10.0.2.13")}}
		ownnet.Command(t, "nft add table ip alien")
		present(t, false)
		for range 2 {
			if err := policy.Apply(rules); err != nil {
				t.Fatal(err)
			}
			present(t, true)
			if diff := cmp.Diff(golden, ownnet.Command(t, "nft -p list table ip netd")); diff != "" {
				t.Errorf("nft list table ip netd (-want +got):\n%s", diff)
			}
		}
		ownnet.Command(t, "nft list table ip alien")
		ownnet.Command(t, "nft flush ruleset")
		present(t, false)
		rules.Gateways = nil // a gateway alone: protocol 4 from nobody
		if err := policy.Apply(rules); err != nil {
			t.Fatal(err)
		}
		present(t, true)
	})
}
