package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"netd/firmware/lab"
)

// The receivers take the pool from their peers and tell them nothing of it.
const (
	receiverAS      = 65101
	firstPeerAS     = 65001
	receiverAddress = "10.0.1.11"
	poolPrefix      = "10.128.0.0/9"
	// ownBlock is behind all that is fed.
	ownBlock = "10.255.255.192/26"
)

// receiver is a program that puts what it is fed into the kernel.
type receiver struct {
	Name  string
	start func(ctx context.Context, h *lab.Host, peers []netip.Addr) (router, error)
}

// router is a receiver that runs.
type router struct {
	processes
	// stages are seconds that it says to have spent, by what for; nil if it says nothing.
	stages func(ctx context.Context) (map[string]float64, error)
}

// netdBinary is what make builds.
func netdBinary() (string, error) {
	bin, err := filepath.Abs("bin/amd64/netd")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(bin); err != nil {
		return "", fmt.Errorf("find netd (make bin/amd64/netd makes it): %w", err)
	}
	return bin, nil
}

// receivers are those named, or all; the first is compared with the others.
func receivers(bin, only string) ([]receiver, error) {
	all := []receiver{
		{"netd", func(ctx context.Context, h *lab.Host, peers []netip.Addr) (router, error) {
			return startNetd(ctx, h, bin, peers)
		}},
		{"BIRD", startBird},
		{"FRR", startFRR},
	}
	if only == "" {
		return all, nil
	}
	all = slices.DeleteFunc(all, func(r receiver) bool { return !slices.Contains(strings.Split(only, ","), r.Name) })
	if len(all) == 0 {
		return nil, fmt.Errorf("receivers %q: expected some of netd, BIRD and FRR", only)
	}
	return all, nil
}

func startNetd(ctx context.Context, h *lab.Host, bin string, peers []netip.Addr) (router, error) {
	var b strings.Builder
	fmt.Fprintf(&b, `schema = 1
[gateway]
name = "gw"
[[uplink]]
name = "uplink0"
match = { name = "eth0" }
address = ["%s/24"]
[bgp]
as = %d
hold-time = "90s"
[[pool]]
name = "pods"
prefix = "%s"
block = "%s"
encapsulation = "never"
`, receiverAddress, receiverAS, poolPrefix, ownBlock)
	for i, p := range peers {
		fmt.Fprintf(&b, "[[bgp.peer]]\nname = \"tor%d\"\naddress = %q\nas = %d\nmax-prefixes = 1000000\n", i+1, p, firstPeerAS+i)
	}
	file := h.Path("netd.toml")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		return router{}, err
	}
	n, err := h.Netd(ctx, bin, file, lab.Gateway{Name: "gw"})
	if err != nil {
		return router{}, err
	}
	r := router{stages: func(ctx context.Context) (map[string]float64, error) { return stagesOf(ctx, n) }}
	err = lab.Until(ctx, "the speaker", func(ctx context.Context) error {
		if r.processes, err = withChildren(n.PID()); err == nil && len(r.processes) < 2 {
			err = fmt.Errorf("netd has no child\n%s", n.Tail(5))
		}
		return err
	})
	return r, err
}

// stagesOf are the agent's, which netd status tells. The speaker's are the rest.
func stagesOf(ctx context.Context, n *lab.Netd) (map[string]float64, error) {
	var s struct{ Work map[string]float64 }
	err := n.JSON(ctx, &s, "status")
	return s.Work, err
}

func startBird(ctx context.Context, h *lab.Host, peers []netip.Addr) (router, error) {
	var b strings.Builder
	fmt.Fprintf(&b, `router id %s;
log stderr { warning, error, fatal, bug };
protocol device {}
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
`, receiverAddress)
	for i, p := range peers {
		fmt.Fprintf(&b, `protocol bgp tor%d {
	local %s as %d;
	neighbor %s as %d;
	passive yes;
	ipv4 { import where net ~ [ %s+ ]; export none; };
}
`, i+1, receiverAddress, receiverAS, p, firstPeerAS+i, poolPrefix)
	}
	if _, err := h.Run(ctx, "ip", "addr", "add", receiverAddress+"/24", "dev", "eth0"); err != nil {
		return router{}, err
	}
	bird, err := h.Bird(ctx, b.String())
	if err != nil {
		return router{}, err
	}
	return router{processes: processes{bird.PID()}}, nil
}

func startFRR(ctx context.Context, h *lab.Host, peers []netip.Addr) (router, error) {
	var b, families strings.Builder
	fmt.Fprintf(&b, `ip prefix-list pool permit %s le 32
route-map none deny 10
router bgp %d
 bgp router-id %s
`, poolPrefix, receiverAS, receiverAddress)
	for i, p := range peers {
		fmt.Fprintf(&b, " neighbor %s remote-as %d\n neighbor %[1]s passive\n", p, firstPeerAS+i)
		fmt.Fprintf(&families, "  neighbor %s prefix-list pool in\n  neighbor %[1]s route-map none out\n", p)
	}
	b.WriteString(" address-family ipv4 unicast\n" + families.String())
	if _, err := h.Run(ctx, "ip", "addr", "add", receiverAddress+"/24", "dev", "eth0"); err != nil {
		return router{}, err
	}
	frr, err := h.FRR(ctx, map[string]string{"bgpd": b.String()})
	if err != nil {
		return router{}, err
	}
	return router{processes: processes{frr.Daemons["bgpd"].PID(), frr.Daemons["zebra"].PID()}}, nil
}
