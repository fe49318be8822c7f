package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"netd/firmware/lab"
)

// peersOf makes what one kind of configuration says of each ToR.
func peersOf(format func(i int) string) string {
	return format(1) + format(2)
}

func failoverNetd(ctx context.Context, h *lab.Host, bin string, f failure) error {
	text := fmt.Sprintf(`schema = 1
[gateway]
name = "gw"
[bgp]
as = %d
hold-time = "%ds"
[[pool]]
name = "pods"
prefix = "%s"
block = "%s"
encapsulation = "never"
`, receiverAS, f.hold, poolPrefix, ownBlock) + peersOf(func(i int) string {
		bfd := map[bool]string{true: `bfd = { min-tx = "50ms", min-rx = "50ms", multiplier = 3 }`}[f.bfd]
		return fmt.Sprintf(`[[uplink]]
name = "uplink%d"
match = { name = "eth%[1]d" }
address = ["10.0.%[2]d.11/24"]
[[bgp.peer]]
name = "tor%[2]d"
address = "10.0.%[2]d.1"
as = %[3]d
%[4]s
`, i-1, i, firstPeerAS+i-1, bfd)
	})
	file := h.Path("netd.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	_, err := h.Netd(ctx, bin, file, lab.Gateway{Name: "gw"})
	return err
}

// addresses are what the others do not set themselves.
func addresses(ctx context.Context, h *lab.Host) error {
	_, err1 := h.Run(ctx, "ip", "addr", "add", "10.0.1.11/24", "dev", "eth0")
	_, err2 := h.Run(ctx, "ip", "addr", "add", "10.0.2.11/24", "dev", "eth1")
	return errors.Join(err1, err2)
}

func failoverBird(ctx context.Context, h *lab.Host, f failure) error {
	if err := addresses(ctx, h); err != nil {
		return err
	}
	_, err := h.Bird(ctx, `router id 10.0.1.11;
log stderr { warning, error, fatal, bug };
protocol device {}
protocol bfd { interface "*" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
`+peersOf(func(i int) string {
		return fmt.Sprintf(`protocol bgp tor%[1]d {
	local 10.0.%[1]d.11 as %[2]d;
	neighbor 10.0.%[1]d.1 as %[3]d;
	connect delay time 1; connect retry time 1; error wait time 1, 2; hold time %[4]d;
	%[5]s
	ipv4 { import where net ~ [ %[6]s+ ]; export none; };
}
`, i, receiverAS, firstPeerAS+i-1, f.hold, map[bool]string{true: "bfd on;"}[f.bfd], poolPrefix)
	}))
	return err
}

func failoverFRR(ctx context.Context, h *lab.Host, f failure) error {
	if err := addresses(ctx, h); err != nil {
		return err
	}
	conf := map[string]string{}
	if f.bfd {
		conf["bfdd"] = "bfd\n profile fast\n  receive-interval 50\n  transmit-interval 50\n  detect-multiplier 3\n"
	}
	var families strings.Builder
	conf["bgpd"] = fmt.Sprintf(`ip prefix-list pool permit %s le 32
route-map none deny 10
router bgp %d
 bgp router-id 10.0.1.11
`, poolPrefix, receiverAS) + peersOf(func(i int) string {
		fmt.Fprintf(&families, "  neighbor 10.0.%d.1 prefix-list pool in\n  neighbor 10.0.%[1]d.1 route-map none out\n", i)
		text := fmt.Sprintf(" neighbor 10.0.%[1]d.1 remote-as %[2]d\n neighbor 10.0.%[1]d.1 timers connect 1\n neighbor 10.0.%[1]d.1 timers %[3]d %[4]d\n",
			i, firstPeerAS+i-1, f.hold/3, f.hold)
		if f.bfd {
			text += fmt.Sprintf(" neighbor 10.0.%d.1 bfd profile fast\n", i)
		}
		return text
	}) + " address-family ipv4 unicast\n" + families.String()
	_, err := h.FRR(ctx, conf)
	return err
}
