package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"netd/firmware/lab"
)

// The gateway has two uplinks, each to a ToR; the first goes through a switch, so
// that it can also fail without a loss of carrier. Both ToRs give the same prefix,
// the second by a longer AS path.
//
//	gw eth0 -- switch -- tor1
//	gw eth1 ------------ tor2
const (
	target       = "10.128.0.1"
	targetPrefix = "10.128.0.0/26"
)

// failure is a way to lose the first ToR.
type failure struct {
	Name string
	bfd  bool
	hold int    // seconds
	cut  string // done on the switch
}

func failures() []failure {
	const silent = "ip link set tor1 nomaster" // Both ends keep their carrier.
	return []failure{
		{"carrier is lost", false, 90, "ip link set gw down"},
		{"silence, BFD 50 ms × 3", true, 90, silent},
		{"silence, hold timer 3 s", false, 3, silent},
	}
}

// Failover is what the gateways lost by one failure.
type Failover struct {
	Failure  string   `json:"failure"`
	Gateways []string `json:"gateways"`
	// Lost packets at 1,000 a second, round by round, in the order of Gateways.
	Lost [][]int `json:"lost"`
}

// gateway starts a router on the host gw.
type gateway struct {
	name  string
	start func(ctx context.Context, h *lab.Host, f failure) error
}

func failOver(ctx context.Context, bin string, rounds int) ([]Failover, error) {
	gateways := []gateway{
		{"netd", func(ctx context.Context, h *lab.Host, f failure) error { return failoverNetd(ctx, h, bin, f) }},
		{"BIRD", failoverBird},
		{"FRR", failoverFRR},
	}
	all := make([]Failover, len(failures()))
	for round := range rounds {
		for i, f := range failures() {
			all[i].Failure, all[i].Gateways = f.Name, nil
			var row []int
			for _, g := range gateways {
				lost, err := failOnce(ctx, g, f)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", g.name, f.Name, err)
				}
				fmt.Fprintf(os.Stderr, "round %d  %-5s %-26s %d packets lost\n", round+1, g.name, f.Name, lost)
				all[i].Gateways, row = append(all[i].Gateways, g.name), append(row, lost)
			}
			all[i].Lost = append(all[i].Lost, row)
		}
	}
	return all, nil
}

// failOnce builds the network, waits until it carries, breaks it, and counts.
func failOnce(ctx context.Context, g gateway, f failure) (lost int, err error) {
	dir, err := os.MkdirTemp("", "netd-bench-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	n, err := lab.New(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	s := &site{net: n, hosts: map[string]*lab.Host{}}
	if err := s.build(ctx, f); err != nil {
		return 0, err
	}
	if err := g.start(ctx, s.hosts["gw"], f); err != nil {
		return 0, err
	}
	if err := s.up(ctx, f); err != nil {
		return 0, err
	}
	return s.fail(ctx, f)
}

// site is the network of one measurement.
type site struct {
	net   *lab.Net
	hosts map[string]*lab.Host
	tors  []*lab.Bird
}

func (s *site) build(ctx context.Context, f failure) error {
	var err error
	for _, name := range []string{"gw", "switch", "tor1", "tor2"} {
		if s.hosts[name], err = s.net.Host(ctx, name); err != nil {
			return err
		}
	}
	if err := errors.Join(
		s.net.Wire(ctx, s.hosts["gw"], "eth0", s.hosts["switch"], "gw"),
		s.net.Wire(ctx, s.hosts["tor1"], "eth0", s.hosts["switch"], "tor1"),
		s.net.Wire(ctx, s.hosts["gw"], "eth1", s.hosts["tor2"], "eth0"),
	); err != nil {
		return err
	}
	for _, c := range []struct{ host, line string }{
		{"switch", "ip link add br0 type bridge forward_delay 0"},
		{"switch", "ip link set br0 up"},
		{"switch", "ip link set gw master br0"},
		{"switch", "ip link set tor1 master br0"},
		{"tor1", "ip addr add 10.0.1.1/24 dev eth0"},
		{"tor2", "ip addr add 10.0.2.1/24 dev eth0"},
		{"tor1", "ip addr add " + target + "/32 dev lo"},
		{"tor2", "ip addr add " + target + "/32 dev lo"},
	} {
		if err := s.run(ctx, c.host, c.line); err != nil {
			return err
		}
	}
	for i := 1; i <= 2; i++ {
		b, err := s.hosts[fmt.Sprintf("tor%d", i)].Bird(ctx, torConfig(i, f))
		if err != nil {
			return err
		}
		s.tors = append(s.tors, b)
	}
	return nil
}

func (s *site) run(ctx context.Context, host, line string) error {
	_, err := s.hosts[host].Run(ctx, strings.Fields(line)...)
	return err
}

// torConfig is BIRD's, for whatever gateway.
func torConfig(i int, f failure) string {
	return fmt.Sprintf(`router id 10.0.%[1]d.1;
log stderr { warning, error, fatal, bug };
protocol device {}
protocol bfd { interface "*" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }; }
protocol static { ipv4; route %[2]s blackhole; }
protocol bgp uut {
	local 10.0.%[1]d.1 as %[3]d;
	neighbor 10.0.%[1]d.11 as %[4]d;
	connect delay time 1; connect retry time 1; error wait time 1, 2; hold time %[5]d;
	%[6]s
	ipv4 { import all; export filter { %[7]s accept; }; };
}
`, i, targetPrefix, firstPeerAS+i-1, receiverAS, f.hold, map[bool]string{true: "bfd on;"}[f.bfd],
		strings.Repeat(fmt.Sprintf("bgp_path.prepend(%d); ", firstPeerAS+i-1), 2*(i-1)))
}

// bfdUp are the ToRs' BFD sessions.
func (s *site) bfdUp(ctx context.Context) error {
	for _, b := range s.tors {
		out, err := b.Ask(ctx, "show bfd sessions")
		if err == nil && !strings.Contains(out, " Up ") {
			err = errors.New(out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// up waits for all sessions, and for the kernel to use the first ToR.
func (s *site) up(ctx context.Context, f failure) error {
	return lab.Until(ctx, "sessions and routes", func(ctx context.Context) error {
		for _, b := range s.tors {
			if err := b.Established(ctx, "uut"); err != nil {
				return err
			}
		}
		if f.bfd {
			if err := s.bfdUp(ctx); err != nil {
				return err
			}
		}
		out, err := s.hosts["gw"].Run(ctx, "ip", "route", "get", target)
		if err == nil && !strings.Contains(out, "via 10.0.1.1 ") {
			err = errors.New(out)
		}
		return err
	})
}

const (
	// settleTime is how long a network that carries is left alone: BGP may still
	// have something to say.
	settleTime = 2 * time.Second
	// aliveTime without a gap is traffic that flows.
	aliveTime   = 50 * time.Millisecond
	failTimeout = 30 * time.Second
)

// fail cuts the first ToR off while a flow runs, and returns what was lost until
// it runs by the second.
func (s *site) fail(ctx context.Context, f failure) (int, error) {
	fl, err := startFlow(s.hosts["gw"], netip.AddrPortFrom(netip.MustParseAddr(target), 9999), s.hosts["tor1"], s.hosts["tor2"])
	if err != nil {
		return 0, err
	}
	time.Sleep(settleTime)
	if fl.silent(0) > aliveTime {
		_, err := fl.end()
		return 0, errors.Join(errors.New("no packet comes by the first ToR before the failure"), err)
	}
	if err := s.run(ctx, "switch", f.cut); err != nil {
		_, end := fl.end()
		return 0, errors.Join(err, end)
	}
	deadline := time.Now().Add(failTimeout)
	for fl.silent(1) > aliveTime && time.Now().Before(deadline) {
		time.Sleep(aliveTime)
	}
	time.Sleep(settleTime)
	flows := fl.silent(1) <= aliveTime
	lost, err := fl.end()
	if err == nil && !flows {
		err = fmt.Errorf("no packet comes by the second ToR %s after the failure", failTimeout)
	}
	return lost, err
}
