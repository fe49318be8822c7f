//go:build net || vm

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/firmware/lab/patience"
)

// site is an example of configs/examples with what it asks for around it: ToRs,
// wires, and an agent for each of its devices.
type site struct {
	*testing.T
	net    *lab.Net
	config string
	hosts  map[string]*lab.Host
	birds  map[string]*lab.Bird
	gw     map[string]*lab.Netd
	pod    map[string]string // the address of the pod pod-GATEWAY
}

func newSite(t *testing.T, example string) *site {
	t.Helper()
	s := &site{
		T: t, net: newNet(t.Context(), t), config: filepath.Join(root(t), "configs/examples", example),
		hosts: map[string]*lab.Host{}, birds: map[string]*lab.Bird{}, gw: map[string]*lab.Netd{}, pod: map[string]string{},
	}
	t.Cleanup(func() {
		if t.Failed() {
			s.dump()
		}
	})
	return s
}

// add lets the gateways that are started from now on have more than the example says.
func (s *site) add(lines string) {
	s.Helper()
	example, err := os.ReadFile(s.config)
	s.config = filepath.Join(s.net.Dir, "more-than-"+filepath.Base(s.config))
	s.must(err, os.WriteFile(s.config, append(example, lines...), 0o644))
}

func (s *site) dump() {
	ctx, cancel := patience.Context(context.Background(), time.Minute)
	defer cancel()
	for name, gw := range s.gw {
		for _, verb := range []string{"status", "peers", "routes"} {
			out, err := gw.Ask(ctx, verb)
			s.Logf("=== %s: netd %s\n%s%v", name, verb, out, err)
		}
	}
	for name, b := range s.birds {
		out, _ := b.Ask(ctx, "show route all")
		s.Logf("=== %s: show route all\n%s", name, out)
	}
	for name, h := range s.hosts {
		for _, command := range []string{"ip route", "ip -6 route", "ip nexthop", "ip -d link", "ip -s neigh", "nft list ruleset"} {
			out, _ := h.Run(ctx, strings.Fields(command)...)
			s.Logf("=== %s: %s\n%s", name, command, out)
		}
	}
}

// run runs commands on a host, one a line.
func (s *site) run(host, commands string) {
	s.Helper()
	for line := range strings.Lines(commands) {
		if args := strings.Fields(line); len(args) > 0 {
			if _, err := s.hosts[host].Run(s.Context(), args...); err != nil {
				s.Fatal(err)
			}
		}
	}
}

func (s *site) host(name string) {
	s.Helper()
	h, err := s.net.Host(s.Context(), name)
	if err != nil {
		s.Fatal(err)
	}
	s.hosts[name] = h
}

// tor makes a switch whose gateways are on its bridge, which has the address.
func (s *site) tor(name, address string) {
	s.Helper()
	s.host(name)
	s.run(name, `
		sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.fib_multipath_hash_policy=1
		ip link add br0 type bridge forward_delay 0
		ip addr add `+address+` dev br0
		ip link set br0 up`)
}

// bird starts BIRD on a ToR.
func (s *site) bird(tor, conf string) {
	s.Helper()
	b, err := s.hosts[tor].Bird(s.Context(), conf)
	if err != nil {
		s.Fatal(err)
	}
	s.birds[tor] = b
}

// fabric joins two ToRs by 10.0.12.0/30.
func (s *site) fabric(a, b string) {
	s.Helper()
	if err := s.net.Wire(s.Context(), s.hosts[a], "fabric", s.hosts[b], "fabric"); err != nil {
		s.Fatal(err)
	}
	s.run(a, "ip addr add 10.0.12.1/30 dev fabric")
	s.run(b, "ip addr add 10.0.12.2/30 dev fabric")
}

// router joins two racks that know nothing of pods.
func (s *site) router() {
	s.Helper()
	s.tor("tor1", "10.0.1.1/24")
	s.tor("tor2", "10.0.2.1/24")
	s.fabric("tor1", "tor2")
	s.run("tor1", "ip route add 10.0.2.0/24 via 10.0.12.2")
	s.run("tor2", "ip route add 10.0.1.0/24 via 10.0.12.1")
}

// twoRacks is a site of tor1 with 10.0.1.0/24 and tor2 with 10.0.2.0/24, both BIRD, and a
// fabric that passes pods' prefixes. Gateways are AS numbers by address.
func twoRacks(t *testing.T, example, export string, rack1, rack2 map[string]string) *site {
	t.Helper()
	s := newSite(t, example)
	s.tor("tor1", "10.0.1.1/24")
	s.tor("tor2", "10.0.2.1/24")
	s.fabric("tor1", "tor2")
	s.bird("tor1", torBird{id: "10.0.1.1", as: "65001", fabric: "10.0.12.1 10.0.12.2 65002", export: export, gateways: rack1}.String())
	s.bird("tor2", torBird{id: "10.0.2.1", as: "65002", fabric: "10.0.12.2 10.0.12.1 65001", export: export, gateways: rack2}.String())
	return s
}

// gateway makes a gateway with an uplink, eth0 and so on, to each of the ToRs.
func (s *site) gateway(name string, tors ...string) {
	s.Helper()
	s.host(name)
	for i, tor := range tors {
		if err := s.net.Wire(s.Context(), s.hosts[name], fmt.Sprintf("eth%d", i), s.hosts[tor], name); err != nil {
			s.Fatal(err)
		}
		s.run(tor, "ip link set "+name+" master br0")
	}
	gw, err := s.hosts[name].Netd(s.Context(), binary(s.T), s.config, lab.Gateway{Name: name})
	if err != nil {
		s.Fatal(err)
	}
	s.gw[name] = gw
	out, err := gw.Ask(s.Context(), "pod", "add", "pod-"+name)
	if err != nil {
		s.Fatal(err)
	}
	s.pod[name] = strings.Fields(out)[1]
}

// converged waits until every session is Established and all pods reach all others.
func (s *site) converged() {
	s.Helper()
	for name, gw := range s.gw {
		within(s.T, time.Minute, "all sessions of "+name, gw.Established)
	}
	s.allReach()
}

func (s *site) allReach() {
	s.Helper()
	for from := range s.gw {
		for to := range s.gw {
			s.reaches(from, to)
		}
	}
}

// reaches waits until a pod answers another gateway's.
func (s *site) reaches(from, to string) {
	s.Helper()
	within(s.T, 30*time.Second, fmt.Sprintf("ping from the pod of %s to that of %s", from, to), func(ctx context.Context) error {
		_, err := s.gw[from].InPod(ctx, "pod-"+from, "ping", "-c", "1", "-W", "1", s.pod[to])
		return err
	})
}

// restart ends the agent of a gateway with a signal and starts the program again,
// until all is as before.
func (s *site) restart(gw string, how os.Signal, program string) {
	s.Helper()
	s.must(s.gw[gw].Signal(how))
	<-s.gw[gw].Done()
	again, err := s.hosts[gw].Netd(s.Context(), program, s.config, lab.Gateway{Name: gw})
	s.must(err)
	s.gw[gw] = again
	within(s.T, time.Minute, "all sessions of "+gw, again.Established)
	within(s.T, time.Minute, gw+" to settle", func(ctx context.Context) error {
		out, err := again.Ask(ctx, "status")
		if err == nil && strings.Contains(out, "have not told all") {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
}

// flow starts a ping of 100/s or more (a tick of the kernel late each) that goes on until its stop function, which returns
// what was sent and lost.
func (s *site) flow(from, to string) func() (sent, lost int) {
	s.Helper()
	p, err := s.gw[from].StartInPod("pod-"+from, "flow-"+from+"-"+to, "ping", "-q", "-i", "0.005", "-W", "1", s.pod[to])
	s.must(err)
	return func() (int, int) {
		_ = p.Signal(syscall.SIGINT)
		<-p.Done()
		return loss(s.T, p.Tail(4))
	}
}

// explains waits until netd explain says, of the prefix or address, all the words.
func (s *site) explains(gw, prefix string, words ...string) {
	s.Helper()
	within(s.T, 30*time.Second, fmt.Sprintf("%s to explain %s with %q", gw, prefix, words), func(ctx context.Context) error {
		out, err := s.gw[gw].Ask(ctx, "explain", prefix)
		for _, w := range words {
			if err == nil && !strings.Contains(out, w) {
				err = fmt.Errorf("no %q in\n%s", w, out)
			}
		}
		return err
	})
}

// links counts the links over which a route leaves, as the kernel shows it.
func (s *site) links(gw, prefix string) int {
	s.Helper()
	out, err := s.hosts[gw].Run(s.Context(), "ip", "route", "show", prefix)
	if err != nil {
		s.Fatal(err)
	}
	return strings.Count(out, "dev uplink")
}

// torBird is a BIRD that passes pods' prefixes between its gateways, which are AS
// numbers by address, and the other ToR. What goes to gateways is export's matter.
type torBird struct {
	id, as   string
	fabric   string // own and the other ToR's address and AS, or empty
	gateways map[string]string
	export   string
	extra    string // for the gateways' protocols
}

func (c torBird) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, `router id %s;
log stderr all;
protocol device { scan time 1; }
protocol direct { ipv4; interface "br0"; }
protocol kernel { merge paths on; ipv4 { import none; export where source = RTS_BGP; }; }
protocol static downward { ipv4; route 0.0.0.0/0 blackhole; }
protocol bfd { interface "*" { min rx interval 150 ms; min tx interval 150 ms; multiplier 3; }; }
template bgp any {
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 2;
}
`, c.id)
	if c.fabric != "" {
		var own, other, as string
		_, _ = fmt.Sscan(c.fabric, &own, &other, &as)
		fmt.Fprintf(&b, `protocol bgp fabric from any {
	local %s as %s;
	neighbor %s as %s;
	ipv4 { next hop self; import all; export where net ~ [ 10.64.0.0/16+ ] || source = RTS_DEVICE; };
}
`, own, c.as, other, as)
	}
	n := 0
	for address, as := range c.gateways {
		n++
		fmt.Fprintf(&b, `protocol bgp gw%d from any {
	local %s as %s;
	neighbor %s as %s;
	hold time 9;
	bfd graceful;
	%s
	ipv4 { next hop self ebgp; import where net ~ [ 10.64.0.0/16+ ]; export where %s; };
}
`, n, c.id, c.as, address, as, c.extra, c.export)
	}
	return b.String()
}

func (s *site) must(errs ...error) {
	s.Helper()
	if err := errors.Join(errs...); err != nil {
		s.Fatal(err)
	}
}
