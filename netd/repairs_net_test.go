//go:build net

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/firmware/lab/patience"
	"netd/netd/internal/ownnet"
)

// damages are what somebody does to a gateway, by what the agent says that it has put back.
// POD is the link of its pod, IN runs in there.
const damages = `
nft flush table inet netd                                      | table inet netd: the rules of chain forward
nft delete table inet netd                                     | table inet netd: the table
nft delete element inet netd tunnels { 4 }                     | element 04 of set tunnels
nft insert rule inet netd forward accept                       | the rules of chain forward (7 for 6)
sysctl -qw net.ipv4.ip_forward=0                               | sysctl net.ipv4.ip_forward = 1
sysctl -qw net.ipv6.conf.all.forwarding=0                      | sysctl net.ipv6.conf.all.forwarding = 1
sysctl -qw net.ipv4.fib_multipath_hash_policy=0                | sysctl net.ipv4.fib_multipath_hash_policy = 1
sysctl -qw net.ipv4.conf.POD.rp_filter=0                       | sysctl net.ipv4.conf.POD.rp_filter = 1
sysctl -qw net.ipv4.conf.POD.forwarding=0                      | sysctl net.ipv4.conf.POD.forwarding = 1
sysctl -qw net.ipv4.conf.POD.proxy_arp=0                       | sysctl net.ipv4.conf.POD.proxy_arp = 1
sysctl -qw net.ipv4.conf.uplink0.rp_filter=0                   | sysctl net.ipv4.conf.uplink0.rp_filter = 2
sysctl -qw net.ipv4.conf.uplink0.arp_announce=0                | sysctl net.ipv4.conf.uplink0.arp_announce = 2
sysctl -qw net.ipv4.conf.uplink0.forwarding=0                  | sysctl net.ipv4.conf.uplink0.forwarding = 1
sysctl -qw net.ipv6.conf.uplink0.forwarding=0                  | sysctl net.ipv6.conf.uplink0.forwarding = 1
sysctl -qw net.ipv4.conf.lan0.forwarding=0                     | sysctl net.ipv4.conf.lan0.forwarding = 1
sysctl -qw net.ipv6.conf.lan0.forwarding=0                     | sysctl net.ipv6.conf.lan0.forwarding = 1
sysctl -qw net.ipv4.conf.netd-vxlan0.forwarding=0              | sysctl net.ipv4.conf.netd-vxlan0.forwarding = 1
sysctl -qw net.ipv6.conf.netd-vxlan0.forwarding=0              | sysctl net.ipv6.conf.netd-vxlan0.forwarding = 1
sysctl -qw net.ipv6.conf.uplink0.disable_ipv6=1                | sysctl net.ipv6.conf.uplink0.disable_ipv6 = 0
sysctl -qw net.ipv4.conf.netd-vxlan0.rp_filter=2               | sysctl net.ipv4.conf.netd-vxlan0.rp_filter = 0
ip link set POD down                                           | POD up
ip link set POD mtu 1300                                       | POD MTU 1450
ip addr del fe80::1/64 dev POD                                 | POD address fe80::1/64
ip neigh del 10.64.1.0 dev POD                                 | neighbour 10.64.1.0 lladdr
ip neigh del fe80::2 dev POD                                   | neighbour fe80::2 lladdr
ip neigh replace 10.64.1.0 lladdr 2:0:0:0:0:1 nud permanent dev POD | neighbour 10.64.1.0 lladdr
ip link set uplink0 down                                       | uplink0 up
ip link set uplink0 mtu 1400                                   | uplink0 MTU 1500
ip addr del 10.0.1.11/24 dev uplink0                           | uplink0 address 10.0.1.11/24
ip addr del 10.255.0.11/32 dev lo                              | lo address 10.255.0.11/32
ip link del netd-vxlan0                                        | vxlan link netd-vxlan0
ip link set netd-vxlan0 down                                   | netd-vxlan0 up
ip link set netd-vxlan0 mtu 1400                               | netd-vxlan0 MTU 1450
bridge fdb del 02:6e:0a:00:02:0c dev netd-vxlan0 dst 10.0.2.12 | neighbour 02:6e:0a:00:02:0c dst 10.0.2.12
ip neigh del fe80::6e:aff:fe00:20c dev netd-vxlan0             | neighbour fe80::6e:aff:fe00:20c lladdr
ip route del default proto 120                                 | route 0.0.0.0/0
ip route del 10.64.1.0 dev POD                                 | route 10.64.1.0/32
ip route del blackhole 10.64.1.0/26                            | route 10.64.1.0/26
ip nexthop flush proto 120                                     | next-hop objects
`

// slowDamage is one that no event tells of: the agent looks into its pods in turn.
const slowDamage = `IN ip addr flush dev eth0 | inside: eth0 address 10.64.1.0/32`

// repairTime is how soon is put back what the kernel tells of, or what is looked at every 2 s;
// slowly is how soon what is looked at every 30 s.
const repairTime, slowly = 10 * time.Second, 45 * time.Second

// putBack is a line of the log that tells of a repair.
var putBack = regexp.MustCompile(`msg="somebody else has changed what netd keeps; it is put back" what=.*`)

// Whatever somebody takes away of what netd has put into the kernel comes back within seconds
// and is told, once, by its name; and nothing is told of what nobody has touched.
func TestRepairs(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		config := w.config(t, `address = ["10.0.1.11/24", "2001:db8:0:1::11/64"]
router = "10.0.1.1"`, "cross-subnet")
		text, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		text = []byte(strings.Replace(string(text), "name = \"gw\"", "name = \"gw\"\naddress = [\"10.255.0.11\"]", 1) + `
[tunnel]
type = "vxlan"
[[bgp.gateway]]
name = "gw-b"
address = "10.0.2.12"
as = 65102
[[lan]]
name = "lan0"
match = { name = "eth5" }
address = ["10.9.0.1/24", "2001:db8:9::1/64"]
[[pool]]
name = "pods6"
prefix = "2001:db8:64::/48"
block = "2001:db8:64:1::/120"
encapsulation = "cross-subnet"
`)
		if err := os.WriteFile(config, text, 0o644); err != nil {
			t.Fatal(err)
		}
		w.must(t, w.gw, "ip link add eth5 type veth peer name eth6")
		w.must(t, w.gw, "ip link set eth6 up")
		gw := w.start(t, config)
		netd := func(args ...string) string {
			out, err := gw.Ask(t.Context(), args[0], args[1:]...)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		netd("pod", "add", "web-0")
		link := regexp.MustCompile(`pod[0-9a-f]{10}`).FindString(w.must(t, w.gw, "ip -br link"))
		lines := func() []string {
			log, err := os.ReadFile(gw.Log)
			if err != nil {
				t.Fatal(err)
			}
			return putBack.FindAllString(string(log), -1)
		}
		ownnet.Within(t, 30*time.Second, "the routes to be in place", func() error {
			if out := w.must(t, w.gw, "ip route"); !strings.Contains(out, "default nhid") {
				return errors.New(out)
			}
			return nil
		})
		ready := w.state(t, link)
		breakIt := func(within time.Duration, all ...string) {
			for _, line := range all {
				damage, want, _ := strings.Cut(strings.ReplaceAll(line, "POD", link), "|")
				damage, want = strings.TrimSpace(damage), strings.TrimSpace(want)
				damage = strings.Replace(damage, "IN ", "nsenter --net="+w.gw.Path("netns")+"/web-0 ", 1)
				before := len(lines())
				w.must(t, w.gw, damage)
				begin := time.Now()
				told := func() error {
					if now := lines()[before:]; !slices.ContainsFunc(now, func(l string) bool { return strings.Contains(l, want) }) {
						return fmt.Errorf("told: %q, want %q", now, want)
					}
					if now := w.state(t, link); now != ready {
						return fmt.Errorf("state (-before +now):\n%s", cmp.Diff(ready, now))
					}
					return nil
				}
				ctx, cancel := patience.Context(t.Context(), within)
				err := patience.Until(ctx, 50*time.Millisecond, damage, func(context.Context) error { return told() })
				cancel()
				if err != nil {
					t.Fatalf("%s: %v", damage, err)
				}
				t.Logf("%5.2f s, %d lines: %s", time.Since(begin).Seconds(), len(lines())-before, damage)
			}
		}
		if told := lines(); len(told) > 0 {
			t.Errorf("before anybody has done anything: %q", told)
		}
		breakIt(repairTime, strings.Split(strings.TrimSpace(damages), "\n")...)
		breakIt(slowly, slowDamage)
		const fight = "PROBLEM  somebody keeps changing what netd keeps: sysctl net.ipv4.ip_forward = 1 was put back 3 times"
		if out := netd("status"); !strings.Contains(out, "repairs  ") || strings.Contains(out, fight) {
			t.Errorf("netd status:\n%s", out)
		}
		for range 2 { // It was once already.
			breakIt(repairTime, "sysctl -qw net.ipv4.ip_forward=0 | sysctl net.ipv4.ip_forward = 1")
		}
		if out := netd("status"); !strings.Contains(out, fight) {
			t.Errorf("netd status in a fight:\n%s", out)
		}
		// What netd does itself takes routes along: a link is down while it gets another name.
		// That is nobody else's doing. What somebody does after it is told, and nothing but that.
		before := len(lines())
		text = bytes.ReplaceAll(text, []byte(`name = "uplink0"`), []byte(`name = "wan0"`))
		if err := os.WriteFile(config, text, 0o644); err != nil {
			t.Fatal(err)
		}
		changes(t, gw, "wan0", "reload")
		ownnet.Within(t, 30*time.Second, "the default route by wan0", func() error {
			if out := w.must(t, w.gw, "ip route show default"); !strings.Contains(out, "dev wan0") {
				return errors.New(out)
			}
			return nil
		})
		ready = w.state(t, link)
		for _, key := range []string{"forwarding", "promote_secondaries"} { // Of the one an event tells, of the other none.
			breakIt(repairTime, "sysctl -qw net.ipv4.conf.wan0."+key+"=0 | sysctl net.ipv4.conf.wan0."+key+" = 1")
		}
		if told := lines()[before:]; len(told) != 2 {
			t.Errorf("after another name for the uplink: told %q, want the two sysctls alone", told)
		}
	})
}

// state is what netd has put into the gateway's kernel.
func (w *world) state(t *testing.T, link string) string {
	t.Helper()
	var b strings.Builder
	for _, line := range []string{
		"ip -o route show proto 120", "ip -o -6 route show proto 120", "ip -br addr show lo", "ip -br addr show uplink0", "ip -br link show type veth", "ip -br link show type vxlan",
		"ip neigh show nud permanent", "nsenter --net=" + w.gw.Path("netns") + "/web-0 ip -br addr", "nsenter --net=" + w.gw.Path("netns") + "/web-0 ip -6 route", "bridge fdb show dev netd-vxlan0", "nft -s list table inet netd",
		"sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv4.conf." + link + ".rp_filter",
	} {
		out, err := w.gw.Run(t.Context(), strings.Fields(line)...)
		if err != nil {
			out = err.Error()
		}
		lines := strings.Split(strings.TrimSpace(nextHopID.ReplaceAllString(out, "nhid N ")), "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		if !strings.HasPrefix(line, "nft") {
			slices.Sort(lines) // Neighbours have no order.
		}
		fmt.Fprintf(&b, "%s:\n%s\n", line, strings.Join(lines, "\n"))
	}
	return b.String()
}
