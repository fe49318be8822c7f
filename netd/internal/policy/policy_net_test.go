//go:build net

package policy_test

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"netd/firmware/lab/patience"
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

// repaired holds the guard to have put back what is wanted, and the table to be as in
// golden then.
func repaired(t *testing.T, g *policy.Guard, golden string, want ...string) {
	t.Helper()
	got, err := g.Repair()
	for i := range got {
		got[i] = strings.TrimPrefix(got[i], "nftables table inet netd: ")
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("put back: %v (-want +got)\n%s", err, diff)
	}
	if diff := cmp.Diff(golden, ownnet.Command(t, "nft -p list table inet netd")); diff != "" {
		t.Errorf("nft list table inet netd (-want +got):\n%s", diff)
	}
}

func rules() policy.Rules {
	return policy.Rules{PodLinks: "pod", VXLANPort: 4789, Gateways: []netip.Addr{
		netip.MustParseAddr("10.0.1.12"), netip.MustParseAddr("10.0.2.13"), netip.MustParseAddr("2001:db8:1::12"),
	}, Ranges: []netip.Prefix{
		netip.MustParsePrefix("10.0.8.0/22"), netip.MustParsePrefix("10.0.16.0/24"), netip.MustParsePrefix("2001:db8:8::/47"),
	}, BGPPort: 179, Near: []policy.Near{
		{netip.MustParsePrefix("10.0.1.1/32"), 255}, {netip.MustParsePrefix("10.0.0.0/22"), 254}, {netip.MustParsePrefix("fe80::1/128"), 255},
	}, OnLink: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("2001:db8:0:1::/64")}, MetricsPort: 9179, Scrapers: []string{"pod0123456789"}}
}

func TestApply(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		ownnet.Command(t, "nft add table ip alien")
		ownnet.Command(t, "nft add table ip netd") // an earlier release's
		var g policy.Guard
		lost, err := g.Repair()
		if err != nil || lost != nil {
			t.Errorf("before anything is in force: %v, %v", lost, err)
		}
		for range 2 {
			if err := g.Apply(rules()); err != nil {
				t.Fatal(err)
			}
			repaired(t, &g, golden)
			if diff := cmp.Diff("table ip alien\ntable inet netd\n", ownnet.Command(t, "nft list tables")); diff != "" {
				t.Errorf("tables (-want +got):\n%s", diff)
			}
		}
		without := rules()
		without.Gateways, without.Ranges, without.VXLANPort = nil, nil, 0 // a gateway alone: tunnels from nobody
		if err := g.Apply(without); err != nil {
			t.Fatal(err)
		}
		if got := ownnet.Command(t, "nft list table inet netd"); strings.Contains(got, "4789") {
			t.Errorf("without VXLAN:\n%s", got)
		}
	})
}

// Whatever somebody does to the table is told, named and undone; what the rules have
// counted that are still there stays, and so do others' tables.
func TestRepair(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		var g policy.Guard
		if err := g.Apply(rules()); err != nil {
			t.Fatal(err)
		}
		told := make(chan bool, 100)
		go func() { _ = policy.Watch(t.Context(), func() { told <- true }) }()
		<-told // It listens.
		// One rule counts: what comes from here and is no known gateway's.
		ownnet.Command(t, "ip link set lo up")
		fd := kind{"IPv4", 4}.socket(t, "/proc/self/ns/net", "127.0.0.1", 0)
		if err := unix.Sendto(fd, []byte("forged"), 0, sockaddr(netip.MustParseAddr("127.0.0.1"), 0)); err != nil {
			t.Fatal(err)
		}
		counted := strings.Replace(golden, "counter packets 0 bytes 0", "counter packets 1 bytes 26", 1)
		repaired(t, &g, counted)
		for _, d := range []struct {
			damage, golden string
			want           []string
		}{
			{"flush chain inet netd near", counted, []string{"the rules of chain near (0 for 3)"}},
			{"delete element inet netd gateways { 10.0.1.12 }", counted, []string{"element 10.0.1.12 of set gateways"}},
			{"add element inet netd gateways6 { 2001:db8::bad }", counted, []string{"element 2001:db8::bad of set gateways6, which is not ours,"}},
			{"insert rule inet netd forward accept", counted, []string{"the rules of chain forward (4 for 3)"}},
			{"add chain inet netd alien", counted, []string{"chain alien, which is not ours,"}},
			{"chain inet netd forward { policy drop; }", counted, []string{"chain forward"}},
			{"add set inet netd alien { type mark; }", counted, []string{"set alien, which is not ours,"}},
			{"flush chain inet netd input", golden, []string{"the rules of chain input (0 for 7)"}},
			{"delete table inet netd", golden, []string{"the table"}},
			{"flush ruleset", golden, []string{"the table"}},
		} {
			for len(told) > 0 {
				<-told
			}
			if out, err := exec.Command("nft", d.damage).CombinedOutput(); err != nil {
				t.Fatalf("nft %s: %v\n%s", d.damage, err, out)
			}
			select {
			case <-told:
			case <-patience.After(10 * time.Second):
				t.Errorf("nobody is told of: nft %s", d.damage)
			}
			repaired(t, &g, d.golden, d.want...)
			repaired(t, &g, d.golden)
		}
		for len(told) > 0 {
			<-told
		}
		ownnet.Command(t, "nft add table ip alien")
		repaired(t, &g, golden)
		ownnet.Command(t, "nft list table ip alien")
	})
}
