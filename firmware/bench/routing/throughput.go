package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"netd/firmware/lab"
)

// carriage is how one pair of gateways reaches each other's pods.
type carriage struct {
	name string
	// mode is the pools', tunnel what the configuration says of the tunnel.
	mode, tunnel string
}

func carriages() []carriage {
	return []carriage{
		{"native", "never", ""},
		{"IPIP", "always", ""},
		{"VXLAN", "always", "[tunnel]\ntype = \"vxlan\""},
	}
}

// Throughput is what TCP between two pods gets, native and encapsulated.
type Throughput struct {
	Kinds []string `json:"kinds"`
	// Mbps are megabits a second, round by round, in the order of Kinds.
	Mbps [][]float64 `json:"mbit_per_s"`
}

const (
	throughputRounds = 9
	transferTime     = 2 * time.Second
)

// throughputHere is the part that needs a kernel with ipip.
const throughputHere = "throughput-here"

// guestThroughput measures in a guest with the images' kernel: this machine's may
// have no ipip.
func guestThroughput(ctx context.Context) (*Throughput, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "bin/vmrun", self, "--parts", throughputHere)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("bin/vmrun %s (make bin/vmrun makes it): %w", self, err)
	}
	t := new(Throughput)
	return t, json.Unmarshal(out, t)
}

// sayThroughput is what the guest does.
func sayThroughput(ctx context.Context) error {
	bin, err := netdBinary()
	if err != nil {
		return err
	}
	t, err := throughput(ctx, bin)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(t)
}

// throughput has a pair of gateways for each carriage, all on this machine, and
// lets one pair at a time transfer. The kernel must have ipip.
func throughput(ctx context.Context, bin string) (t Throughput, err error) {
	dir, err := os.MkdirTemp("", "netd-bench-")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	n, err := lab.New(dir)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	var pairs []*pair
	defer func() {
		for _, p := range pairs { // Pods outlive their agent: their networks are mounts.
			for i := range p.gws {
				err = errors.Join(err, unix.Unmount(p.netns(i), unix.MNT_DETACH))
			}
		}
	}()
	for i, c := range carriages() {
		p := &pair{carriage: c, number: i}
		if err := p.build(ctx, n, bin); err != nil {
			return t, fmt.Errorf("gateways for %s: %w", c.name, err)
		}
		pairs, t.Kinds = append(pairs, p), append(t.Kinds, c.name)
	}
	for round := range throughputRounds {
		row := make([]float64, len(pairs))
		order := pairs
		if round%2 == 1 { // Whoever is first has no advantage.
			order = slices.Clone(pairs)
			slices.Reverse(order)
		}
		for _, p := range order {
			if row[p.number], err = p.transfer(); err != nil {
				return t, fmt.Errorf("transfer by %s: %w", p.name, err)
			}
		}
		fmt.Fprintf(os.Stderr, "round %d  %v %.0f Mbit/s\n", round+1, t.Kinds, row)
		t.Mbps = append(t.Mbps, row)
	}
	return t, nil
}

// pair is two gateways on one wire, each with a pod.
type pair struct {
	carriage
	number int
	gws    [2]*lab.Netd
	pods   [2]netip.Addr
}

func (p *pair) build(ctx context.Context, n *lab.Net, bin string) error {
	var hosts [2]*lab.Host
	var err error
	for i := range hosts {
		if hosts[i], err = n.Host(ctx, fmt.Sprintf("p%dg%d", p.number, i)); err != nil {
			return err
		}
	}
	if err := n.Wire(ctx, hosts[0], "eth0", hosts[1], "eth0"); err != nil {
		return err
	}
	for i, h := range hosts {
		file := h.Path("netd.toml")
		if err := os.WriteFile(file, []byte(p.config(i)), 0o644); err != nil {
			return err
		}
		if p.gws[i], err = h.Netd(ctx, bin, file, lab.Gateway{Name: fmt.Sprintf("gw%d", i)}); err != nil {
			return err
		}
		if _, err := p.gws[i].Ask(ctx, "pod", "add", "pod"); err != nil {
			return err
		}
		p.pods[i] = netip.MustParseAddr(fmt.Sprintf("10.64.%d.0", i+1))
	}
	return lab.Until(ctx, "the pods to reach each other", func(ctx context.Context) error {
		_, err := p.gws[0].InPod(ctx, "pod", "ping", "-c", "1", "-W", "1", p.pods[1].String())
		return err
	})
}

func (p *pair) config(i int) string {
	return fmt.Sprintf(`schema = 1
[gateway]
name = "gw%[1]d"
[[uplink]]
name = "uplink0"
match = { name = "eth0" }
address = ["10.0.1.1%[1]d/24"]
[bgp]
as = %[2]d
[[bgp.gateway]]
name = "gw%[3]d"
address = "10.0.1.1%[3]d"
as = %[4]d
[[pool]]
name = "pods"
prefix = "10.64.0.0/16"
block = "10.64.%[5]d.0/26"
encapsulation = %[6]q
%[7]s
`, i, 65101+i, 1-i, 65101+1-i, i+1, p.mode, p.tunnel)
}

// netns is a pod's network.
func (p *pair) netns(i int) string { return filepath.Join(p.gws[i].Host.Path("netns"), "pod") }

// transfer sends for a while and returns what arrived, in megabits a second.
func (p *pair) transfer() (float64, error) {
	var l *net.TCPListener
	to := netip.AddrPortFrom(p.pods[1], 9999)
	err := insidePath(p.netns(1), func() (err error) {
		l, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	var out *net.TCPConn
	err = insidePath(p.netns(0), func() (err error) {
		out, err = net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		return 0, err
	}
	in, err := l.AcceptTCP()
	if err != nil {
		return 0, errors.Join(err, out.Close())
	}
	begin := time.Now()
	go func() {
		block := make([]byte, 128<<10)
		for time.Since(begin) < transferTime {
			if _, err := out.Write(block); err != nil {
				break // The receiver sees a short transfer.
			}
		}
		_ = out.Close()
	}()
	got, err := io.Copy(io.Discard, in)
	took := time.Since(begin)
	if err == nil && took < transferTime {
		err = fmt.Errorf("it ended after %s", took)
	}
	return float64(got) * 8 / 1e6 / took.Seconds(), errors.Join(err, in.Close())
}
