//go:build net

package link_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"netd/netd/internal/link"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/rtnl"
)

// counter is one of the kernel's, of this namespace.
func counter(t *testing.T, file, name string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == name { // snmp6
			n, _ := strconv.Atoi(f[1])
			return n
		}
		for i := range f { // snmp: a line of names, and one of values
			if len(names) == len(f) && f[0]+names[i] == name {
				n, _ := strconv.Atoi(f[i])
				return n
			}
		}
		names = f
	}
	t.Fatalf("%s has no %s", file, name)
	return 0
}

// start runs a program until the test ends; what it says is seen if that fails.
func start(t *testing.T, args ...string) {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if _ = cmd.Wait(); t.Failed() {
			t.Logf("%s:\n%s", strings.Join(args, " "), said.String())
		}
	})
}

// What the kernel is told of an uplink it is told again when somebody says otherwise.
func TestUplinkSysctls(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := wire(t)
		u := link.Wanted{Name: "uplink0", MatchName: "eth0", MTU: 1500, Forward6: true, Addresses: []netip.Prefix{pfx("10.0.1.11/24")}}
		if err := link.Forward(c); err != nil {
			t.Fatal(err)
		}
		apply(t, c, u, nil)
		want := map[string]string{
			"ipv4/conf/all/send_redirects": "0", "ipv4/conf/default/send_redirects": "0",
			"ipv4/conf/uplink0/send_redirects": "0", "ipv4/conf/uplink0/accept_redirects": "0", "ipv4/conf/uplink0/secure_redirects": "0",
			"ipv4/conf/uplink0/arp_ignore": "1", "ipv4/conf/uplink0/arp_announce": "2", "ipv4/conf/uplink0/rp_filter": "2",
			"ipv4/conf/uplink0/forwarding": "1", "ipv6/conf/uplink0/forwarding": "1",
			"ipv6/conf/uplink0/accept_ra": "0", "ipv6/conf/uplink0/autoconf": "0", "ipv6/conf/uplink0/accept_redirects": "0",
		}
		check := func(when string) {
			t.Helper()
			for key, value := range want {
				if got, err := rtnl.Sysctl(key); err != nil || got != value {
					t.Errorf("%s: %s is %s, want %s (%v)", when, key, got, value, err)
				}
			}
		}
		check("at first")
		for key, value := range want {
			other := "1"
			if value != "0" {
				other = "0"
			}
			if err := rtnl.SetSysctl(key, other); err != nil {
				t.Fatal(err)
			}
		}
		if err := link.Forward(c); err != nil {
			t.Fatal(err)
		}
		apply(t, c, u, nil)
		check("after somebody has changed them")
		u.Addresses = nil
		apply(t, c, u, nil)
		want = map[string]string{"ipv4/conf/uplink0/arp_ignore": "0"} // It answers for the gateway's own.
		check("without an address")
	})
}

// Packets that come and go by one uplink are forwarded, and no redirect is told.
func TestNoRedirects(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := wire(t)
		ownnet.Command(t, "ip -n tor addr add 10.0.1.99/24 dev tor0")
		if err := link.Forward(c); err != nil {
			t.Fatal(err)
		}
		apply(t, c, link.Wanted{Name: "uplink0", MatchName: "eth0", MTU: 1500, Addresses: []netip.Prefix{pfx("10.0.1.11/24")}}, nil)
		ownnet.Command(t, "ip route add 203.0.113.0/24 via 10.0.1.99")
		ownnet.Command(t, "ip -n tor route add 203.0.113.0/24 via 10.0.1.11")
		const snmp = "/proc/thread-self/net/snmp"
		ownnet.Within(t, 20*time.Second, "three packets to go back by the link that they came by", func() error {
			_ = exec.Command("nsenter", "--net=/run/netns/tor", "--", "ping", "-c", "1", "-W", "1", "203.0.113.1").Run() // Nobody is there.
			if n := counter(t, snmp, "Ip:ForwDatagrams"); n < 3 {
				return fmt.Errorf("%d were forwarded", n)
			}
			return nil
		})
		if n := counter(t, snmp, "Icmp:OutRedirects"); n != 0 {
			t.Errorf("%d redirects were told, want none", n)
		}
	})
}

// A router advertises itself and a prefix (BIRD): what the kernel has made of it before the
// uplink is one goes, and nothing comes again; a static address of that very subnet stays.
func TestRouterAdvertisements(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := wire(t)
		ownnet.Command(t, "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0 net.ipv6.conf.eth0.accept_ra=1 net.ipv6.conf.eth0.autoconf=1")
		ownnet.Command(t, "ip netns exec tor sysctl -qw net.ipv6.conf.tor0.disable_ipv6=0")
		for _, a := range []string{"2001:db8:9::1/64", "2001:db8:7::1/64"} { // BIRD advertises what its link has.
			ownnet.Command(t, "ip -n tor addr add "+a+" dev tor0 nodad")
		}
		ownnet.Command(t, "ip link set eth0 up")
		conf := filepath.Join(t.TempDir(), "bird.conf")
		if err := os.WriteFile(conf, []byte(`router id 10.0.1.1; protocol device { }
			protocol radv { interface "tor0" { min ra interval 3; max ra interval 4; default lifetime 1800; prefix 2001:db8:9::/64 { }; prefix 2001:db8:7::/64 { autonomous no; }; }; }`), 0o644); err != nil {
			t.Fatal(err)
		}
		start(t, "nsenter", "--net=/run/netns/tor", "--", "bird", "-f", "-c", conf, "-s", filepath.Join(t.TempDir(), "ctl"))
		ownnet.Within(t, 30*time.Second, "the kernel to believe the router", func() error {
			a, r := ownnet.Command(t, "ip -6 addr show dev eth0 scope global -tentative"), ownnet.Command(t, "ip -6 route show dev eth0")
			if !strings.Contains(a, "2001:db8:9:") || !strings.Contains(r, "default") || !strings.Contains(r, "2001:db8:7::/64") {
				return errors.New(a + r)
			}
			return nil
		})
		u := link.Wanted{Name: "uplink0", MatchName: "eth0", MTU: 1500, Addresses: []netip.Prefix{pfx("10.0.1.11/24")}}
		none := func(when string, but ...string) {
			t.Helper()
			got := ownnet.Command(t, "ip -6 addr show dev uplink0 scope global") + ownnet.Command(t, "ip -6 route show dev uplink0")
			for _, line := range strings.Split(got, "\n") {
				for _, word := range append(but, "fe80::/64") {
					if strings.Contains(line, word) {
						line = ""
					}
				}
				if strings.Contains(line, "2001:") || strings.HasPrefix(line, "default") {
					t.Errorf("%s: %s\nin\n%s", when, line, got)
				}
			}
		}
		apply(t, c, u, nil)
		none("an uplink of IPv4")
		heard := func(n int) {
			t.Helper()
			was := counter(t, "/proc/thread-self/net/snmp6", "Icmp6InRouterAdvertisements")
			ownnet.Within(t, 30*time.Second, "another advertisement", func() error {
				if now := counter(t, "/proc/thread-self/net/snmp6", "Icmp6InRouterAdvertisements"); now < was+n {
					return fmt.Errorf("%d, and %d before", now, was)
				}
				return nil
			})
		}
		heard(1)
		none("after another advertisement")
		// With IPv6 it believes no more.
		ownnet.Command(t, "sysctl -qw net.ipv6.conf.uplink0.accept_ra=2 net.ipv6.conf.uplink0.autoconf=1")
		heard(1)
		u.Addresses = append(u.Addresses, pfx("2001:db8:9::11/64"))
		apply(t, c, u, nil)
		none("an uplink of both", "2001:db8:9::11/64", "2001:db8:9::/64")
		if r := ownnet.Command(t, "ip -6 route show 2001:db8:9::/64 dev uplink0"); r == "" {
			t.Error("the static address has lost its subnet's route")
		}
		heard(1)
		none("after yet another", "2001:db8:9::11/64", "2001:db8:9::/64")
	})
}

// Two uplinks on one wire: each answers for its own address, and asks from an address of its
// link, not from the gateway's on the loopback.
func TestOneWire(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		for _, line := range []string{
			"ip netns add tor", "ip -n tor link add br0 type bridge forward_delay 0", "ip -n tor link set br0 up",
			"ip -n tor addr add 10.0.1.1/24 dev br0", "ip -n tor addr add 10.0.2.1/24 dev br0",
		} {
			ownnet.Command(t, line)
		}
		var uplinks []link.Wanted
		for i := range 2 {
			n := strconv.Itoa(i)
			ownnet.Command(t, "ip link add eth"+n+" type veth peer name port"+n+" netns tor")
			ownnet.Command(t, "ip -n tor link set port"+n+" master br0 up")
			uplinks = append(uplinks, link.Wanted{Name: "uplink" + n, MatchName: "eth" + n, MTU: 1500, Addresses: []netip.Prefix{pfx(fmt.Sprintf("10.0.%d.11/24", i+1))}})
		}
		c, err := rtnl.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := link.Forward(c); err != nil {
			t.Fatal(err)
		}
		var states []link.State
		ownnet.Within(t, 20*time.Second, "both carriers", func() error {
			if states, err = link.Apply(c, uplinks, nil, []netip.Addr{ip("10.255.0.11")}); err == nil && !(states[0].Carrier && states[1].Carrier) {
				err = fmt.Errorf("%+v", states)
			}
			return err
		})
		ping := func(from ...string) {
			t.Helper()
			ownnet.Within(t, 20*time.Second, strings.Join(from, " "), func() error {
				out, err := exec.Command(from[0], append(from[1:], "-c", "1", "-W", "1")...).CombinedOutput()
				if err != nil {
					err = fmt.Errorf("%w: %s", err, out)
				}
				return err
			})
		}
		for range 3 { // Either could be the first to answer.
			ownnet.Command(t, "ip -n tor neigh flush dev br0")
			for i, s := range states {
				a := uplinks[i].Addresses[0].Addr().String()
				ping("nsenter", "--net=/run/netns/tor", "--", "ping", a)
				if out := ownnet.Command(t, "ip -n tor neigh show "+a); !strings.Contains(out, s.MAC) {
					t.Errorf("%s has %s; the ToR has heard: %s", a, s.MAC, out)
				}
			}
		}
		// What is asked from the gateway's own address is asked for with the link's: the ToR
		// learns of whom it hears, and it hears of no 10.255.0.11.
		ownnet.Command(t, "ip neigh flush dev uplink0")
		ownnet.Command(t, "ip -n tor route add 10.255.0.11 via 10.0.1.11")
		ping("ping", "-I", "10.255.0.11", "10.0.1.1")
		if out := ownnet.Command(t, "ip -n tor neigh show"); strings.Contains(out, "10.255.0.11") {
			t.Errorf("the ToR was asked by the gateway's own address: %s", out)
		}
	})
}
