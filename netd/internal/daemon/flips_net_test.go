//go:build net

package daemon_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab"
)

// flipLeaf is an FRR as the leaf of rack %[1]d, with route-maps for what it tells its
// gateway and the spine.
const flipLeaf = `router bgp 6500%[1]d
 bgp router-id 10.0.%[1]d.1
 no bgp ebgp-requires-policy
 neighbor %[2]s remote-as %[3]d
 neighbor %[2]s timers 3 9
 neighbor %[2]s timers connect 1
 neighbor 10.0.2%[1]d.2 remote-as 65000
 neighbor 10.0.2%[1]d.2 timers connect 1
 address-family ipv4 unicast
  network 10.0.%[1]d.0/24
  neighbor %[2]s route-map gateways out
  neighbor 10.0.2%[1]d.2 route-map fabric out
 exit-address-family
exit
bgp route-map delay-timer 1
ip prefix-list pods seq 5 permit 10.64.0.0/16 le 32
route-map gateways permit 20
route-map fabric permit 20
`

const flipSpine = `router bgp 65000
 bgp router-id 10.0.20.1
 no bgp ebgp-requires-policy
 neighbor 10.0.21.1 remote-as 65001
 neighbor 10.0.21.1 timers connect 1
 neighbor 10.0.22.1 remote-as 65002
 neighbor 10.0.22.1 timers connect 1
exit
`

// clos is gw-a and gw-c in two racks, with FRR as their leaves and as the spine, and
// packets between their pods.
type clos struct {
	*site
	leaves [2]*lab.FRR
	spine  *lab.FRR
	flows  [2]*packets
}

// newClos starts all that, with keys for the gateways' tunnels.
func newClos(t *testing.T, tunnel string) *clos {
	t.Helper()
	c := &clos{site: newSite(t, "lab.toml")}
	c.edit("[[bgp.gateway]]\nname = \"gw-b\"\naddress = \"10.0.1.12\"\nas = 65102\n", "")
	c.edit("[[pool]]", "[tunnel]\n"+tunnel+"\n[[pool]]")
	c.host("spine")
	c.run("spine", "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")
	for i, gw := range []string{"10.0.1.11 65101", "10.0.2.13 65103"} {
		leaf := fmt.Sprintf("tor%d", i+1)
		c.tor(leaf, fmt.Sprintf("10.0.%d.1/24", i+1))
		c.must(c.net.Wire(t.Context(), c.hosts[leaf], "spine", c.hosts["spine"], leaf))
		c.run(leaf, fmt.Sprintf("ip addr add 10.0.2%d.1/30 dev spine", i+1))
		c.run("spine", fmt.Sprintf("ip addr add 10.0.2%d.2/30 dev %s", i+1, leaf))
		var address, as string
		_, _ = fmt.Sscan(gw, &address, &as)
		c.leaves[i] = c.startFRR(leaf, strings.NewReplacer("%[1]d", fmt.Sprint(i+1), "%[2]s", address, "%[3]d", as).Replace(flipLeaf))
	}
	c.spine = c.startFRR("spine", flipSpine)
	c.gateway("gw-a", "tor1")
	c.gateway("gw-c", "tor2")
	c.converged()
	c.goes("native")
	c.flows = [2]*packets{c.packets("gw-a", "gw-c"), c.packets("gw-c", "gw-a")}
	return c
}

func (c *clos) startFRR(host, conf string) *lab.FRR {
	c.Helper()
	f, err := c.hosts[host].FRR(c.Context(), map[string]string{"bgpd": conf})
	c.must(err)
	return f
}

// goes waits until the kernels of both gateways send packets to the other's pod natively,
// or by a tunnel. It asks ip(8), which costs a slow machine less than netd's own verbs.
func (c *clos) goes(how string) {
	c.Helper()
	dev := map[string]string{"native": " dev uplink0 ", "tunnel": " dev netd-"}[how]
	for gw, to := range map[string]string{"gw-a": "gw-c", "gw-c": "gw-a"} {
		c.shows(gw, "ip route get "+c.pod[to], dev)
	}
}

// tell has a route-map of both leaves permit the pods' prefixes, or not.
func (c *clos) tell(routeMap string, permit bool) {
	c.Helper()
	change := "route-map " + routeMap + " deny 10\nmatch ip address prefix-list pods\nexit\n"
	if permit {
		change = "no route-map " + routeMap + " deny 10\n"
	}
	for _, leaf := range c.leaves {
		_, err := leaf.Ask(c.Context(), "configure terminal\n"+change+"exit\n")
		c.must(err)
	}
}

// unrouted counts what a host has dropped for want of a route. The kernel counts a packet
// that it forwards twice.
func (c *clos) unrouted(host string) int {
	c.Helper()
	out, err := c.hosts[host].Run(c.Context(), "cat", "/proc/net/netstat")
	c.must(err)
	var names []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if f[0] != "IpExt:" {
			continue
		}
		for i, name := range names {
			if name == "InNoRoutes" {
				n, err := strconv.Atoi(f[i])
				c.must(err)
				return n
			}
		}
		names = f
	}
	c.Fatalf("no counter in\n%s", out)
	return 0
}

// packets go one way, 100 a second.
type packets struct {
	from    string
	arrived *lab.Process
}

func (c *clos) packets(from, to string) *packets {
	c.Helper()
	p := &packets{from: from}
	var err error
	p.arrived, err = c.gw[to].StartInPod("pod-"+to, "arrived-from-"+from, "tcpdump", "-i", "eth0", "-n", "-tt", "-s", "96", "-l", "--immediate-mode", "-Z", "root",
		"icmp[icmptype] == icmp-echo and src "+c.pod[from])
	c.must(err)
	within(c.T, time.Minute, "tcpdump to listen", func(context.Context) error {
		if out := p.arrived.Tail(5); !strings.Contains(out, "listening on") {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	_, err = c.gw[from].StartInPod("pod-"+from, "ping-to-"+to, "ping", "-q", "-i", "0.01", c.pod[to])
	c.must(err)
	return p
}

// arrivals are when packets have arrived, by their sequence numbers.
func (p *packets) arrivals() map[int]float64 {
	all := map[int]float64{}
	for line := range strings.Lines(p.arrived.Tail(1 << 30)) {
		when, _, _ := strings.Cut(line, " ")
		_, after, _ := strings.Cut(line, ", seq ")
		number, _, _ := strings.Cut(after, ",")
		if seq, err := strconv.Atoi(number); err == nil {
			all[seq], _ = strconv.ParseFloat(when, 64)
		}
	}
	return all
}

// last is the highest sequence number that has arrived.
func (p *packets) last() int {
	return slices.Max(slices.Collect(maps.Keys(p.arrivals())))
}

// lost counts the packets after one that have not arrived, and the time that they are in.
func (p *packets) lost(after int) (lost int, gap time.Duration) {
	all := p.arrivals()
	seqs := slices.Sorted(maps.Keys(all))
	at, _ := slices.BinarySearch(seqs, after)
	for i := at + 1; i < len(seqs); i++ {
		if n := seqs[i] - seqs[i-1] - 1; n > 0 {
			lost += n
			gap = max(gap, time.Duration(1e9*(all[seqs[i]]-all[seqs[i-1]])))
		}
	}
	return lost, gap
}

// flow waits until n more packets have arrived of each flow.
func (c *clos) flow(n int) {
	c.Helper()
	for _, p := range c.flows {
		count := func() int { return strings.Count(p.arrived.Tail(1<<30), ", seq ") }
		before := count()
		within(c.T, time.Minute, fmt.Sprintf("%d more packets from %s", n, p.from), func(context.Context) error {
			if now := count(); now < before+n {
				return fmt.Errorf("%d have", now-before)
			}
			return nil
		})
	}
}

// during counts the packets of both flows that are lost while something is done, and says
// on which hosts packets had no route.
func (c *clos) during(what string, do func()) (lost int, unrouted map[string]int) {
	c.Helper()
	c.flow(20)
	unrouted = map[string]int{}
	for h := range c.hosts {
		unrouted[h] -= c.unrouted(h)
	}
	after := [2]int{c.flows[0].last(), c.flows[1].last()}
	do()
	c.flow(50)
	for h := range c.hosts {
		unrouted[h] += c.unrouted(h)
	}
	for i, p := range c.flows {
		n, gap := p.lost(after[i])
		lost += n
		c.Logf("%s: %d packets of %d from %s lost, at most for %s", what, n, p.last()-after[i], p.from, gap.Round(time.Millisecond))
	}
	c.Logf("%s: %d packets lost; without a route: %v", what, lost, unrouted)
	return lost, unrouted
}

// withoutLoss does something that costs no packet.
func (c *clos) withoutLoss(what string, do func()) {
	c.Helper()
	if lost, unrouted := c.during(what, do); lost > 0 {
		c.Errorf("%s: %d packets lost; without a route: %v", what, lost, unrouted)
	}
}

// flips has the fabric stop to pass pods' prefixes and pass them again, some times; and
// the leaves stop to tell gateways of them, which is how the fabric is prepared for that.
func (c *clos) flips(fabric, gateways int) {
	c.Helper()
	for range fabric {
		// Whoever is told that a way is gone is told by one who has removed it: what is lost
		// until then is lost in the fabric, and only there.
		lost, unrouted := c.during("the fabric stops", func() { c.tell("fabric", false); c.goes("tunnel") })
		if here := unrouted["tor1"] + unrouted["spine"] + unrouted["tor2"]; lost > here || unrouted["gw-a"]+unrouted["gw-c"] > 0 {
			c.Errorf("the fabric stops: %d packets lost, without a route there %d: %v", lost, here, unrouted)
		}
		c.withoutLoss("the fabric passes", func() { c.tell("fabric", true); c.goes("native") })
	}
	for i := range gateways {
		c.withoutLoss("gateways are told to stop", func() { c.tell("gateways", false); c.goes("tunnel") })
		if i == 0 {
			c.withoutLoss("the fabric stops, prepared", func() { c.tell("fabric", false); c.fabricHas(false) })
			c.withoutLoss("the fabric passes, prepared", func() { c.tell("fabric", true); c.fabricHas(true) })
		}
		c.withoutLoss("gateways are told again", func() { c.tell("gateways", true); c.goes("native") })
	}
}

// fabricHas waits until the spine and the leaves have routes to the pods of the other
// rack, or none.
func (c *clos) fabricHas(routes bool) {
	c.Helper()
	no := map[bool]string{true: "", false: "!"}[routes]
	c.shows("spine", "ip route", no+"10.64.1.0/26", no+"10.64.3.0/26")
	c.shows("tor1", "ip route", no+"10.64.3.0/26")
	c.shows("tor2", "ip route", no+"10.64.1.0/26")
}

// What the fabric passes, and what gateways are told, comes and goes.
func TestFlips(t *testing.T) {
	t.Parallel()
	newClos(t, `type = "vxlan"`).flips(2, 3)
}

// The leaves tell their gateways of prefixes before the spine has a route to them: who
// leaves the tunnel at once loses what he sends meanwhile, who waits loses nothing.
func TestLeaveDelay(t *testing.T) {
	t.Parallel()
	const atOnce, later = `leave-delay = "0s"`, `leave-delay = "10s"`
	c := newClos(t, "type = \"vxlan\"\n"+atOnce)
	zebra := c.spine.Daemons["zebra"]
	for _, delay := range []string{atOnce, later} {
		if delay == later {
			c.rewrite(atOnce, later)
			for _, gw := range c.gw {
				_, err := gw.Ask(t.Context(), "reload")
				c.must(err)
			}
		}
		c.tell("fabric", false)
		c.goes("tunnel")
		c.fabricHas(false)
		c.must(zebra.Signal(syscall.SIGSTOP))
		lost, unrouted := c.during(delay, func() {
			c.tell("fabric", true)
			if delay == atOnce {
				c.goes("native")
			} else {
				c.explains("gw-a", "10.64.3.0/26", "10.64.3.0/26: vxlan", "in the tunnel until a ToR's way has stood for 10s", "taken when that has stood for 10s")
				c.explains("gw-c", "10.64.1.0/26", "10.64.1.0/26: vxlan", "in the tunnel until a ToR's way has stood for 10s")
			}
			c.must(zebra.Signal(syscall.SIGCONT))
			c.goes("native")
		})
		if (lost > 0) != (delay == atOnce) {
			t.Errorf("%s: %d packets lost; without a route: %v", delay, lost, unrouted)
		}
	}
}
