package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Gateway is a gateway's place in the lab: who it is and behind which ToR. The
// addresses are those of configs/examples/lab.toml.
type Gateway struct {
	Name    string
	ToR     int // 0 or 1
	Address string
	AS      int
	Block   string
}

// Gateways of the lab.
func Gateways() []Gateway {
	return []Gateway{
		{"gw-a", 0, "10.0.1.11", 65101, "10.64.1.0/26"},
		{"gw-b", 0, "10.0.1.12", 65102, "10.64.2.0/26"},
		{"gw-c", 1, "10.0.2.13", 65103, "10.64.3.0/26"},
	}
}

// ToRs are the two switches and the fabric between them.
type ToRs struct {
	Hosts [2]*Host
	Birds [2]*Bird
}

// Bridge is the ToRs' link toward their gateways.
const Bridge = "br0"

// FabricMTU is below the uplinks' 1500 octets, so that packets which fit the
// first hop and not the second are seen to be answered.
const FabricMTU = 1460

// NewToRs builds both switches, without passing pod routes over the fabric.
func NewToRs(ctx context.Context, n *Net) (*ToRs, error) {
	t := &ToRs{}
	for i := range t.Hosts {
		h, err := n.Host(ctx, fmt.Sprintf("tor%d", i+1))
		if err != nil {
			return nil, err
		}
		t.Hosts[i] = h
		if err := errors.Join(
			h.try(ctx, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"),
			h.try(ctx, "ip", "link", "add", Bridge, "type", "bridge", "forward_delay", "0"),
			h.try(ctx, "ip", "addr", "add", fmt.Sprintf("10.0.%d.1/24", i+1), "dev", Bridge),
			h.try(ctx, "ip", "link", "set", Bridge, "up"),
		); err != nil {
			return nil, err
		}
	}
	if err := n.Wire(ctx, t.Hosts[0], "fabric", t.Hosts[1], "fabric"); err != nil {
		return nil, err
	}
	for i, h := range t.Hosts {
		if err := errors.Join(
			h.try(ctx, "ip", "link", "set", "fabric", "mtu", fmt.Sprint(FabricMTU)),
			h.try(ctx, "ip", "addr", "add", fmt.Sprintf("10.0.12.%d/30", i+1), "dev", "fabric"),
		); err != nil {
			return nil, err
		}
		var err error
		if t.Birds[i], err = h.Bird(ctx, torConfig(i, false)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (h *Host) try(ctx context.Context, args ...string) error {
	_, err := h.Run(ctx, args...)
	return err
}

// PassPods tells both ToRs whether to pass pod routes over the fabric.
func (t *ToRs) PassPods(ctx context.Context, pass bool) error {
	return errors.Join(
		t.Birds[0].Configure(ctx, torConfig(0, pass)),
		t.Birds[1].Configure(ctx, torConfig(1, pass)),
	)
}

// Tap adds a tap to the bridge of a ToR, for a board's network card.
func (t *ToRs) Tap(ctx context.Context, tor int, name string) error {
	h := t.Hosts[tor]
	return errors.Join(
		h.try(ctx, "ip", "tuntap", "add", name, "mode", "tap"),
		h.try(ctx, "ip", "link", "set", name, "master", Bridge, "up"),
	)
}

// Attach joins a gateway's namespace to its ToR: its end is called eth0.
func (t *ToRs) Attach(ctx context.Context, n *Net, g Gateway, h *Host) error {
	tor := t.Hosts[g.ToR]
	if err := n.Wire(ctx, h, "eth0", tor, g.Name); err != nil {
		return err
	}
	return tor.try(ctx, "ip", "link", "set", g.Name, "master", Bridge)
}

// torConfig is a ToR's BIRD configuration: it takes pod prefixes from its
// gateways, puts them into its kernel and gives all it has to its gateways;
// over the fabric go the racks' own subnets, and pod prefixes if pass is set.
func torConfig(tor int, pass bool) string {
	pods := "reject"
	if pass {
		pods = "accept"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `router id 10.0.%[1]d.1;
log stderr all;
protocol device { scan time 1; }
protocol direct { ipv4; interface "%[2]s"; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }

template bgp rack {
	local 10.0.%[1]d.1 as 6500%[1]d;
	hold time 9;
	connect delay time 1;
	connect retry time 2;
	error wait time 1, 4;
	ipv4 {
		import where net ~ [ 10.64.0.0/16+ ];
		export where net ~ [ 10.64.0.0/16+ ];
	};
}

protocol bgp fabric {
	local 10.0.12.%[1]d as 6500%[1]d;
	neighbor 10.0.12.%[3]d as 6500%[3]d;
	connect delay time 1;
	connect retry time 2;
	error wait time 1, 4;
	ipv4 {
		next hop self;
		import all;
		export filter {
			if net ~ [ 10.64.0.0/16+ ] then %[4]s;
			if source = RTS_DEVICE then accept;
			reject;
		};
	};
}
`, tor+1, Bridge, 2-tor, pods)
	for _, g := range Gateways() {
		if g.ToR == tor {
			fmt.Fprintf(&b, "protocol bgp %s from rack { neighbor %s as %d; }\n", g.Protocol(), g.Address, g.AS)
		}
	}
	return b.String()
}

// Protocol is the gateway's name in BIRD, which knows no hyphen.
func (g Gateway) Protocol() string { return strings.ReplaceAll(g.Name, "-", "_") }
