//go:build net

package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/ownnet"
	"netd/netd/internal/policy"
)

const golden = `table inet netd {
	set tunnels {
		type inet_proto
		elements = { 4, 41 }
	}

	set gateways {
		type ipv4_addr
		elements = { 10.0.1.12, 10.0.2.13 }
	}

	set gateways6 {
		type ipv6_addr
		elements = { 2001:db8:1::12 }
	}

	set pings {
		type iface_index
		size 4096
		flags dynamic,timeout
		timeout 1m
	}

	set strangers {
		type iface_index
		size 4096
		flags dynamic,timeout
		timeout 1m
	}

	set met {
		type ipv4_addr
		size 256
		flags dynamic,timeout
		timeout 5s
	}

	set met6 {
		type ipv6_addr
		size 256
		flags dynamic,timeout
		timeout 5s
	}

	chain input {
		type filter hook input priority filter; policy accept;
		ip saddr != @gateways ip saddr != 10.0.8.0/22 ip saddr != 10.0.16.0/24 meta l4proto @tunnels counter packets 0 bytes 0 drop
		ip saddr != @gateways ip saddr != 10.0.8.0/22 ip saddr != 10.0.16.0/24 udp dport 4789 counter packets 0 bytes 0 drop
		ip6 saddr != @gateways6 ip6 saddr != 2001:db8:8::/47 meta l4proto @tunnels counter packets 0 bytes 0 drop
		ip6 saddr != @gateways6 ip6 saddr != 2001:db8:8::/47 udp dport 4789 counter packets 0 bytes 0 drop
		iifname "pod*" meta l4proto @tunnels counter packets 0 bytes 0 drop
		tcp dport 179 jump near
		iifname "pod*" jump ours
	}

	chain near {
		ip saddr 10.0.1.1 ip ttl < 255 counter packets 0 bytes 0 drop
		ip saddr 10.0.0.0/22 ip ttl < 254 counter packets 0 bytes 0 drop
		ip6 saddr fe80::1 ip6 hoplimit < 255 counter packets 0 bytes 0 drop
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "pod*" meta l4proto @tunnels counter packets 0 bytes 0 drop
		iifname "pod*" ip daddr 10.0.1.0/24 jump resolve-met
		iifname "pod*" ip6 daddr 2001:db8:0:1::/64 jump resolve-met6
	}

	chain prerouting {
		type filter hook prerouting priority raw; policy accept;
		iifname "pod*" meta nfproto ipv6 fib saddr . iif oif missing counter packets 0 bytes 0 drop
		iifname "pod*" ip6 saddr fe80::/10 ip6 saddr != fe80::2 counter packets 0 bytes 0 drop
		iifname "pod*" ip6 daddr fe80::/10 ip6 daddr != fe80::1 counter packets 0 bytes 0 drop
		iifname "pod*" icmpv6 type nd-router-solicit counter packets 0 bytes 0 drop
		iifname "pod*" icmpv6 type nd-router-advert counter packets 0 bytes 0 drop
		iifname "pod*" icmpv6 type nd-redirect counter packets 0 bytes 0 drop
	}

	chain ours {
		meta l4proto 1 update @pings { iif limit rate over 100/second burst 200 packets } counter packets 0 bytes 0 drop
		meta l4proto 1 return
		meta l4proto 58 update @pings { iif limit rate over 100/second burst 200 packets } counter packets 0 bytes 0 drop
		meta l4proto 58 return
		iifname "pod0123456789" tcp dport 9179 return
		tcp flags != syn / syn,ack return
		udp dport >= 32768 return
		counter packets 0 bytes 0 drop
	}

	chain resolve-met {
		@nh,128,32 @met update @met { @nh,128,32 timeout 5s } return
		update @strangers { iif limit rate over 10/second burst 40 packets } counter packets 0 bytes 0 drop
		add @met { @nh,128,32 timeout 5s } return
		counter packets 0 bytes 0 drop
	}

	chain resolve-met6 {
		@nh,192,128 @met6 update @met6 { @nh,192,128 timeout 5s } return
		update @strangers { iif limit rate over 10/second burst 40 packets } counter packets 0 bytes 0 drop
		add @met6 { @nh,192,128 timeout 5s } return
		counter packets 0 bytes 0 drop
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
		rules := policy.Rules{
			PodLinks: "pod", VXLANPort: 4789, Gateways: []netip.Addr{
				netip.MustParseAddr("10.0.1.12"), netip.MustParseAddr("10.0.2.13"), netip.MustParseAddr("2001:db8:1::12"),
			}, Ranges: []netip.Prefix{
				netip.MustParsePrefix("10.0.8.0/22"), netip.MustParsePrefix("10.0.16.0/24"), netip.MustParsePrefix("2001:db8:8::/47"),
			}, BGPPort: 179, Near: []policy.Near{
				{netip.MustParsePrefix("10.0.1.1/32"), 255}, {netip.MustParsePrefix("10.0.0.0/22"), 254}, {netip.MustParsePrefix("fe80::1/128"), 255},
			}, OnLink: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("2001:db8:0:1::/64")},
			MetricsPort: 9179, Scrapers: []string{"pod0123456789"},
		}
		ownnet.Command(t, "nft add table ip alien")
		ownnet.Command(t, "nft add table ip netd") // an earlier release's
		present(t, false)
		for range 2 {
			if err := policy.Apply(rules); err != nil {
				t.Fatal(err)
			}
			present(t, true)
			if diff := cmp.Diff(golden, ownnet.Command(t, "nft -p list table inet netd")); diff != "" {
				t.Errorf("nft list table inet netd (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff("table ip alien\ntable inet netd\n", ownnet.Command(t, "nft list tables")); diff != "" {
				t.Errorf("tables (-want +got):\n%s", diff)
			}
		}
		ownnet.Command(t, "nft list table ip alien")
		ownnet.Command(t, "nft flush ruleset")
		present(t, false)
		rules.Gateways, rules.Ranges, rules.VXLANPort = nil, nil, 0 // a gateway alone: tunnels from nobody
		if err := policy.Apply(rules); err != nil {
			t.Fatal(err)
		}
		present(t, true)
		if got := ownnet.Command(t, "nft list table inet netd"); strings.Contains(got, "4789") {
			t.Errorf("without VXLAN:\n%s", got)
		}
	})
}
