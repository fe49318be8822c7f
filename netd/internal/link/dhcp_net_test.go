//go:build net

package link_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"

	"netd/firmware/lab/patience"
	"netd/netd/internal/link"
	"netd/netd/internal/ownnet"
)

// leases starts RunDHCP on eth0 and returns what it tells.
func leases(t *testing.T) <-chan link.Lease {
	t.Helper()
	told := make(chan link.Lease, 100)
	log := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- link.RunDHCP(ctx, "eth0", slog.New(slog.NewTextHandler(f, nil)), func(l link.Lease) { told <- l })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("RunDHCP ended with %v", err)
		}
		if b, _ := os.ReadFile(log); t.Failed() {
			t.Logf("log:\n%s", b)
		}
	})
	return told
}

func next(t *testing.T, told <-chan link.Lease, what string, want link.Lease) {
	t.Helper()
	select {
	case got := <-told:
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

// A real server: the lease, its renewal, another address after the server has
// changed its mind.
func TestDnsmasq(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		wire(t)
		ownnet.Command(t, "ip link set eth0 up")
		d := startDnsmasq(t, "10.0.1.50", "--dhcp-option=option:mtu,1400", "--dhcp-option=option:T1,6")
		told := leases(t)
		first := link.Lease{Address: pfx("10.0.1.50/24"), Router: ip("10.0.1.1"), DNS: []netip.Addr{ip("10.0.1.2"), ip("10.0.1.3")}, MTU: 1400}
		next(t, told, "the first lease", first)
		ownnet.Command(t, "ip addr add 10.0.1.50/24 dev eth0")
		ownnet.Within(t, time.Minute, "two renewals", func() error {
			if n := d.count(t, "DHCPACK"); n < 3 {
				return fmt.Errorf("dnsmasq has acknowledged %d requests", n)
			}
			return nil
		})
		if n := d.count(t, "DHCPDISCOVER"); n != 1 {
			t.Errorf("%d discoveries, want one: a renewal is a request", n)
		}
		select {
		case l := <-told:
			t.Errorf("a renewal that changes nothing is told: %+v", l)
		default:
		}
		d.stop()
		startDnsmasq(t, "10.0.1.60", "--dhcp-option=option:router,10.0.1.2")
		next(t, told, "the server refuses the old address", link.Lease{})
		next(t, told, "another lease", link.Lease{Address: pfx("10.0.1.60/24"), Router: ip("10.0.1.2"), DNS: first.DNS})
	})
}

// A server with leases of seconds, which dnsmasq refuses to give.
func TestLeaseRunsOut(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		for _, line := range []string{
			"ip link add eth0 type veth peer name tor0", "ip link set tor0 up", "ip link set eth0 up", "ip addr add 10.0.1.1/24 dev tor0",
		} {
			ownnet.Command(t, line)
		}
		var away atomic.Bool
		var requests atomic.Int32
		serve := func(conn net.PacketConn, _ net.Addr, m *dhcpv4.DHCPv4) {
			if away.Load() {
				return
			}
			kind := dhcpv4.MessageTypeOffer
			if m.MessageType() == dhcpv4.MessageTypeRequest {
				kind = dhcpv4.MessageTypeAck
				requests.Add(1)
			}
			reply, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.IPv4(10, 0, 1, 50)),
				dhcpv4.WithServerIP(net.IPv4(10, 0, 1, 1)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 1, 1))),
				dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(12),
				dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{0, 68})) // too small for us
			if err == nil {
				_, err = conn.WriteTo(reply.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 68})
			}
			if err != nil {
				t.Error(err)
			}
		}
		s, err := server4.NewServer("tor0", &net.UDPAddr{Port: 67}, serve)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.Serve() }()
		t.Cleanup(func() { _ = s.Close() })

		told := leases(t)
		lease := link.Lease{Address: pfx("10.0.1.50/24")}
		next(t, told, "the first lease", lease)
		ownnet.Within(t, 30*time.Second, "a renewal before the lease ends", func() error {
			if n := requests.Load(); n < 2 {
				return fmt.Errorf("%d requests", n)
			}
			return nil
		})
		away.Store(true)
		watch := patience.Start()
		defer watch.Stop()
		next(t, told, "the server is gone and the lease runs out", link.Lease{})
		if watch.Took()-watch.Lost() > 20*time.Second {
			t.Errorf("an address of 12 s was held for %s", watch)
		}
		away.Store(false)
		next(t, told, "the server is back", lease)
	})
}
