//go:build net

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"netd/netd/internal/ownnet"
)

// Clouds give an address without a subnet, and a router that is in none: by DHCP with option
// 121 (RFC 3442), or to be written into the file. The router is a BGP peer.
func TestCloud(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		if _, err := w.tor.Bird(t.Context(), `router id 10.0.1.1;
log stderr all;
protocol device { scan time 1; }
protocol static { ipv4; route 10.64.2.0/26 blackhole; }
protocol bgp gateways {
	local 10.0.1.1 as 65001;
	neighbor range 10.0.1.0/24 as 65101;
	direct;
	dynamic name "gw_";
	connect delay time 1; error wait time 1, 4; hold time 9;
	ipv4 { import all; export all; };
}
`); err != nil {
			t.Fatal(err)
		}
		if _, err := w.tor.Start("dnsmasq", "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--conf-file=/dev/null", "--port=0",
			"--interface=tor0", "--bind-interfaces", "--user=root", "--pid-file=", "--dhcp-authoritative", "--no-ping",
			"--dhcp-leasefile="+w.tor.Path("leases"), "--dhcp-range=10.0.1.50,10.0.1.50,255.255.255.0,2m", "--dhcp-option=option:netmask,255.255.255.255",
			"--dhcp-option=121,10.0.1.1/32,0.0.0.0,0.0.0.0/0,10.0.1.1,198.51.100.0/24,10.0.1.8"); err != nil {
			t.Fatal(err)
		}
		gw := w.start(t, w.config(t, "dhcp = true", "never"))
		routes := func(wanted ...string) func(context.Context) error {
			return func(ctx context.Context) error {
				out, err := w.gw.Run(ctx, "ip", "-4", "route", "show", "proto", "120")
				for _, words := range wanted {
					if !strings.Contains(out, words) {
						err = errors.Join(err, fmt.Errorf("no %q", words))
					}
				}
				if err != nil {
					err = fmt.Errorf("%w in\n%s", err, out)
				}
				return err
			}
		}
		within(t, time.Minute, "the session by the lease", gw.Established)
		within(t, time.Minute, "the routes", routes("10.0.1.1 dev uplink0 scope link", "10.0.1.8 dev uplink0 scope link", "via 10.0.1.8 dev uplink0", "via 10.0.1.1 dev uplink0", "default"))
		within(t, time.Minute, "what the ToR has to tell", says(gw, "10.64.2.0/26: native", "explain", "10.64.2.0/26"))
		within(t, time.Minute, "the reason of a router's route", says(gw, "10.0.1.1/32: onlink uplink0, because on the link of uplink0", "explain", "10.0.1.1"))
		within(t, time.Minute, "the status", says(gw, "uplink   uplink0 10.0.1.50/32, MTU 1500, carrier", "status"))
		if out, err := gw.Ask(t.Context(), "status"); err != nil || !strings.Contains(out, "router id 10.64.1.0") || strings.Contains(out, "PROBLEM") {
			t.Errorf("status: %s %v", out, err)
		}
		// A carrier that was lost takes nothing away for good.
		w.must(t, w.tor, "ip link set tor0 down")
		within(t, time.Minute, "the loss", says(gw, "no carrier", "status"))
		w.must(t, w.tor, "ip link set tor0 up")
		within(t, time.Minute, "the session after it", gw.Established)
		within(t, time.Minute, "the routes after it", routes("10.0.1.1 dev uplink0 scope link", "via 10.0.1.8 dev uplink0", "default"))

		// The same by hand, by another address.
		file := w.gw.Path("static.toml")
		text, err := os.ReadFile(w.config(t, "address = [\"10.0.1.11/32\"]\nrouter = \"10.0.1.1\"", "never"))
		if err == nil {
			err = os.WriteFile(file, text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if out, err := gw.Ask(t.Context(), "reload", file); err != nil {
			t.Fatalf("reload: %v\n%s", err, out)
		}
		within(t, time.Minute, "the uplink by hand", says(gw, "uplink   uplink0 10.0.1.11/32", "status"))
		within(t, time.Minute, "the session by hand", gw.Established)
		within(t, time.Minute, "the routes by hand", routes("10.0.1.1 dev uplink0 scope link", "default"))
		within(t, time.Minute, "the lease's routes to be gone", func(ctx context.Context) error {
			if err := routes("10.0.1.8")(ctx); err == nil {
				return errors.New("there is one by 10.0.1.8")
			}
			return nil
		})
		// Somebody else has that address, too: it is said, with who it is, and used.
		mac := strings.Fields(w.must(t, w.tor, "ip -br link show tor0"))[2]
		w.must(t, w.tor, "ip link set tor0 down")
		w.must(t, w.tor, "ip addr add 10.0.1.11/32 dev tor0")
		w.must(t, w.tor, "ip link set tor0 up")
		within(t, time.Minute, "the conflict", says(gw, "PROBLEM  uplink uplink0: another host on the link has the address 10.0.1.11, too: "+mac, "status"))
		within(t, time.Minute, "the address", says(gw, "uplink   uplink0 10.0.1.11/32", "status"))
	})
}
