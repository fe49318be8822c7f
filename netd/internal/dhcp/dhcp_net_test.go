//go:build net

package dhcp_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/firmware/lab/patience"
	"netd/netd/internal/arp"
	"netd/netd/internal/dhcp"
	"netd/netd/internal/ownnet"
	"netd/netd/wake"
)

// leases keeps a lease on eth0 and returns what is told of it, and how a carrier is said to have
// returned.
func leases(t *testing.T) (<-chan dhcp.Lease, wake.Signal) {
	t.Helper()
	again := wake.New()
	told := make(chan dhcp.Lease, 100)
	log := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- dhcp.Run(ctx, dhcp.Options{
			Link: "eth0", Log: slog.New(slog.NewTextHandler(f, nil)), Again: again, Probe: arp.Probe,
			Taken: func() []dhcp.Taken { return nil }, Changed: func(l dhcp.Lease) { told <- l },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
		if b, _ := os.ReadFile(log); t.Failed() {
			t.Logf("log:\n%s", b)
		}
	})
	return told, again
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

func next(t *testing.T, told <-chan dhcp.Lease, what string, want dhcp.Lease) {
	t.Helper()
	select {
	case got := <-told:
		for !got.Address.IsValid() && !got.Over { // The server was not there yet.
			got = <-told
		}
		opts := cmp.Options{cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
		if diff := cmp.Diff(want, got, opts); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", what, diff)
		}
	case <-patience.After(time.Minute):
		t.Fatalf("%s: nothing was told", what)
	}
}

// dnsmasq serves one address on the ToR's side.
type dnsmasq struct {
	cmd *exec.Cmd
	log string
}

func startDnsmasq(t *testing.T, address string, more ...string) *dnsmasq {
	t.Helper()
	d := &dnsmasq{log: filepath.Join(t.TempDir(), "dnsmasq.log")}
	f, err := os.Create(d.log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	d.cmd = exec.Command("nsenter", append([]string{
		"--net=/run/netns/tor", "--", "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--conf-file=/dev/null",
		"--port=0", "--interface=tor0", "--bind-interfaces", "--user=root", "--pid-file=", "--dhcp-authoritative", "--no-ping",
		"--dhcp-leasefile=" + filepath.Join(t.TempDir(), "leases"), "--dhcp-range=" + address + "," + address + ",2m",
		"--dhcp-option=option:dns-server,10.0.1.2,10.0.1.3",
	}, more...)...)
	d.cmd.Stdout, d.cmd.Stderr = f, f
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.stop()
		if b, _ := os.ReadFile(d.log); t.Failed() {
			t.Logf("dnsmasq for %s:\n%s", address, b)
		}
	})
	return d
}

func (d *dnsmasq) stop() {
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
}

func (d *dnsmasq) count(t *testing.T, what string) int {
	b, err := os.ReadFile(d.log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), what)
}

// A real server: the lease, its renewal, a carrier that returns, another address after the
// server has changed its mind, and no server at all.
func TestDnsmasq(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		for _, line := range []string{
			"ip netns add tor", "ip link add eth0 type veth peer name tor0 netns tor", "ip link set eth0 up",
			"ip -n tor link set tor0 up", "ip -n tor addr add 10.0.1.1/24 dev tor0",
		} {
			ownnet.Command(t, line)
		}
		d := startDnsmasq(t, "10.0.1.50", "--dhcp-option=option:mtu,1400", "--dhcp-option=option:T1,6",
			"--dhcp-option=121,0.0.0.0/0,10.0.1.9,198.51.100.0/24,10.0.1.8", "--dhcp-option=option:router,10.0.1.1")
		told, again := leases(t)
		first := dhcp.Lease{
			Address: pfx("10.0.1.50/24"), Router: ip("10.0.1.9"), Routes: []dhcp.Route{{Prefix: pfx("198.51.100.0/24"), Router: ip("10.0.1.8")}},
			DNS: []netip.Addr{ip("10.0.1.2"), ip("10.0.1.3")}, MTU: 1400, Server: ip("10.0.1.1"),
		}
		next(t, told, "the first lease", first)
		ownnet.Command(t, "ip addr add 10.0.1.50/24 dev eth0")
		acknowledged := func(what string, n int) {
			t.Helper()
			ownnet.Within(t, time.Minute, what, func() error {
				if have := d.count(t, "DHCPACK"); have < n {
					return fmt.Errorf("dnsmasq has acknowledged %d requests", have)
				}
				return nil
			})
		}
		acknowledged("a renewal", 2)
		ownnet.Command(t, "ip -n tor link set tor0 down")
		ownnet.Command(t, "ip -n tor link set tor0 up")
		had := d.count(t, "DHCPACK")
		again.Send()
		acknowledged("the lease to be asked for again", had+1)
		if n := d.count(t, "DHCPDISCOVER"); n != 1 {
			t.Errorf("%d discoveries, want one: a renewal is a request, and so is a carrier's return", n)
		}
		select {
		case l := <-told:
			t.Errorf("a renewal that changes nothing is told: %+v", l)
		default:
		}
		d.stop()
		startDnsmasq(t, "10.0.1.60", "--dhcp-option=option:router,10.0.1.2")
		again.Send()
		next(t, told, "the server refuses the old address", dhcp.Lease{Over: true, Problem: `the last one is over: the DHCP server 10.0.1.1 refuses the address ("address not available")`})
		next(t, told, "another lease", dhcp.Lease{Address: pfx("10.0.1.60/24"), Router: ip("10.0.1.2"), DNS: first.DNS, Server: ip("10.0.1.1")})
	})
}
