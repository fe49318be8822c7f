//go:build net

package policy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/internal/ownnet"
	"netd/netd/internal/policy"
)

// lanWires joins this namespace, a gateway's, to an uplink's and two LANs' hosts, each with
// .2 and ::2 of the link's subnet, the gateway as router, and a forged source on lo.
func lanWires(t *testing.T) {
	t.Helper()
	run := func(format string, args ...any) { ownnet.Command(t, fmt.Sprintf(format, args...)) }
	run("sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0")
	for i, name := range []string{"up0", "lan0", "lan1"} {
		run("ip netns add %s", name)
		run("ip link add %s type veth peer name eth0 netns %[1]s", name)
		run("sysctl -qw net.ipv6.conf.%s.disable_ipv6=0 net.ipv6.conf.%[1]s.accept_dad=0 net.ipv4.conf.%[1]s.rp_filter=0", name)
		run("ip link set %s up", name)
		run("ip addr add 192.168.%d.1/24 dev %s", i, name)
		run("ip addr add 2001:db8:%d::1/64 dev %s nodad", i, name)
		run("ip netns exec %s sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0 net.ipv6.conf.lo.disable_ipv6=0", name)
		run("ip -n %s link set lo up", name)
		run("ip -n %s link set eth0 up", name)
		run("ip -n %s addr add 192.168.%d.2/24 dev eth0", name, i)
		run("ip -n %s addr add 2001:db8:%d::2/64 dev eth0 nodad", name, i)
		run("ip -n %s addr add 203.0.113.9/32 dev lo", name)
		run("ip -n %s addr add 2001:db8:99::9/128 dev lo nodad", name)
		run("ip -n %s route add default via 192.168.%d.1", name, i)
		run("ip -n %s route add default via 2001:db8:%d::1", name, i)
	}
	run("ip route add 203.0.113.0/24 via 192.168.0.2") // elsewhere is behind the uplink
	run("ip route add 2001:db8:99::/64 via 2001:db8:0::2")
}

// patient is how long to wait for what is to come, or for what is not to.
func patient(may bool) string {
	if may {
		return "10"
	}
	return "0.4"
}

// ping sends one from a namespace and tells whether it was answered, as it may be.
func ping(t *testing.T, netns, to string, may bool, options ...string) bool {
	t.Helper()
	args := append([]string{"netns", "exec", netns, "ping", "-q", "-c", "1", "-W", patient(may)}, options...)
	return exec.CommandContext(t.Context(), "ip", append(args, to)...).Run() == nil
}

// What LANs may: nothing of each other's but what is named, and its answers; all of the
// uplink's; none of the gateway's services, and no source of elsewhere.
func TestLANs(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		lanWires(t)
		rules := policy.Rules{
			Gateways: []netip.Addr{
				netip.MustParseAddr("192.168.0.2"), netip.MustParseAddr("192.168.2.2"),
				netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8:2::2"),
			},
			PodLinks: "pod", BGPPort: 1179, VXLANPort: 4789, MetricsPort: 9179, Scrapers: []string{"lan0"},
			LANs: []policy.LAN{{Name: "lan0", ForwardTo: []string{"lan1"}}, {Name: "lan1"}},
		}
		var guard policy.Guard
		apply := func() {
			t.Helper()
			if err := guard.Apply(rules); err != nil {
				t.Fatal(err)
			}
			if mended, err := guard.Repair(); err != nil || len(mended) > 0 {
				t.Errorf("what was written is read back as %q, %v", mended, err)
			}
		}
		reaches := func(what string, want map[string]bool) {
			t.Helper()
			for way, may := range want {
				from, to, _ := strings.Cut(way, " ")
				n := strings.Index("up0 lan0 lan1", to) // 0, 4, 9
				for _, address := range []string{fmt.Sprintf("192.168.%d.2", n/4), fmt.Sprintf("2001:db8:%d::2", n/4)} {
					if got := ping(t, from, address, may); got != may {
						t.Errorf("%s: %s (%s): %t, want %t", what, way, address, got, may)
					}
				}
			}
		}
		apply()
		reaches("lan0 forwards to lan1", map[string]bool{
			"lan0 lan1": true, "lan1 lan0": false, "lan0 up0": true, "up0 lan0": true, "lan1 up0": true, "up0 lan1": true,
		})
		if out := ownnet.Command(t, "nft list chain inet netd lans"); !strings.Contains(out, "ct state") || !strings.Contains(out, "ct direction reply") {
			t.Errorf("rules:\n%s", out)
		}
		if out := ownnet.Command(t, "nft list set inet netd lans"); !strings.Contains(out, `"lan0"`) || !strings.Contains(out, `"lan1"`) {
			t.Errorf("the LANs' names:\n%s", out)
		}
		for _, from := range [][]string{{"192.168.0.2", "203.0.113.9"}, {"2001:db8::2", "2001:db8:99::9"}} {
			if ping(t, "lan1", from[0], false, "-I", from[1]) {
				t.Errorf("a source of elsewhere, %s, is answered", from[1])
			}
		}
		out := ownnet.Command(t, "nft list chain inet netd prerouting")
		if _, rule, _ := strings.Cut(out, "iifname @lans fib saddr . iif oif missing counter packets "); rule == "" || rule[0] == '0' {
			t.Errorf("forged sources are not counted:\n%s", out)
		}
		services(t)

		// An order that is taken back ends what runs, whatever else is allowed.
		flow := exec.CommandContext(t.Context(), "ip", "netns", "exec", "lan0", "ping", "-i", "0.05", "-W", "1", "192.168.2.2")
		pipe, err := flow.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := flow.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(pipe)
		for line := ""; !strings.Contains(line, "bytes from"); {
			if line, err = lines.ReadString('\n'); err != nil {
				t.Fatalf("no answers before: %v", err)
			}
		}
		rules.LANs = []policy.LAN{{Name: "lan0"}, {Name: "lan1", ForwardTo: []string{"lan0"}}}
		apply()
		reaches("lan1 forwards to lan0", map[string]bool{"lan0 lan1": false, "lan1 lan0": true})
		_ = flow.Process.Signal(syscall.SIGINT)
		rest, err := io.ReadAll(lines)
		if err != nil || strings.Contains(string(rest), " 0% packet loss") || !strings.Contains(string(rest), "packet loss") {
			t.Errorf("what ran before: %v\n%s", err, rest)
		}
		_ = flow.Wait()

		rules.LANs = []policy.LAN{{Name: "lan0"}, {Name: "lan1"}}
		apply()
		reaches("nobody forwards", map[string]bool{"lan0 lan1": false, "lan1 lan0": false, "lan0 up0": true})
		if out := ownnet.Command(t, "nft list table inet netd"); strings.Contains(out, "ct state") {
			t.Errorf("connections are tracked though nothing asks for it:\n%s", out)
		}
		rules.LANs, rules.Scrapers = nil, nil
		apply()
		if out := ownnet.Command(t, "nft list table inet netd"); strings.Contains(out, "lan") {
			t.Errorf("without LANs:\n%s", out)
		}
		reaches("without LANs", map[string]bool{"lan0 lan1": true}) // the test sees what the guard drops
	})
}

// services are what LANs do not reach of the gateway, and others do.
func services(t *testing.T) {
	t.Helper()
	for _, host := range []string{"192.168.%d.%d", "2001:db8:%d::%d"} {
		gw := fmt.Sprintf(host, 0, 1)
		for port, may := range map[int][]string{1179: {"up0"}, 9179: {"up0", "lan0"}, 8080: {"up0", "lan0", "lan1"}} {
			l, err := net.Listen("tcp", net.JoinHostPort(gw, fmt.Sprint(port)))
			if err != nil {
				t.Fatal(err)
			}
			for _, from := range []string{"up0", "lan0", "lan1"} {
				want := slices.Contains(may, from)
				if err := bash(t, from, patient(want), fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", gw, port)); (err == nil) != want {
					t.Errorf("TCP %d from %s to %s: %v, want it: %t", port, from, gw, err, want)
				}
			}
			_ = l.Close()
		}
		for _, port := range []int{3784, 4784, 4789} {
			l, err := net.ListenPacket("udp", net.JoinHostPort(gw, fmt.Sprint(port)))
			if err != nil {
				t.Fatal(err)
			}
			for _, from := range []string{"lan0", "lan1", "up0"} {
				if err := bash(t, from, patient(true), fmt.Sprintf("echo hello >/dev/udp/%s/%d", gw, port)); err != nil {
					t.Fatal(err)
				}
			}
			_ = l.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, first, err := l.ReadFrom(make([]byte, 100)); err != nil || first.(*net.UDPAddr).IP.String() != net.ParseIP(fmt.Sprintf(host, 0, 2)).String() {
				t.Errorf("UDP %d: the first to arrive is from %v (%v), want the uplink's", port, first, err)
			}
			_ = l.Close()
		}
	}
	for address, number := range map[string]int{"192.168.2.%d": unix.IPPROTO_IPIP, "2001:db8:2::%d": unix.IPPROTO_IPV6} {
		k := kind{"packets in packets", number}
		k.listen(t, "/proc/self/ns/net", fmt.Sprintf(address, 1)).gets(t, "lan1", []string{fmt.Sprintf(address, 2)}, "")
	}
}

// bash runs a line in a namespace, for so many seconds at most.
func bash(t *testing.T, netns, most, line string) error {
	t.Helper()
	return exec.CommandContext(t.Context(), "ip", "netns", "exec", netns, "timeout", most, "bash", "-c", line).Run()
}
