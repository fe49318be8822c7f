//go:build net

package pod_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/link"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/pod"
	"netd/netd/internal/policy"
	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

const dir = layout.NetnsDir

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func ips(list ...string) []netip.Addr {
	var addresses []netip.Addr
	for _, a := range list {
		addresses = append(addresses, ip(a))
	}
	return addresses
}

func newManager(t *testing.T) (*pod.Manager, *rtnl.Conn) {
	t.Helper()
	c, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := errors.Join(link.Forward(c), link.Forward6(c)); err != nil {
		t.Fatal(err)
	}
	return pod.NewManager(c, dir), c
}

func ensure(t *testing.T, m *pod.Manager, s pod.Spec) pod.Pod {
	t.Helper()
	s.Owner = pod.ByWorkload // as List names it
	p, err := m.Ensure(s)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.InterfaceByName(pod.LinkName(s.Name))
	if err != nil {
		t.Fatal(err)
	}
	want := pod.Pod{Name: s.Name, Owner: s.Owner, Link: l.Name, Index: l.Index, Netns: filepath.Join(dir, s.Name), MAC: p.MAC, Addresses: s.Addresses}
	if !p.Equal(want) {
		t.Fatalf("pod: %+v, want %+v", p, want)
	}
	return p
}

// inside runs a command in the pod.
func inside(p pod.Pod, line string) (string, error) {
	out, err := exec.Command("nsenter", append([]string{"--net=" + p.Netns, "--"}, strings.Fields(line)...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("in pod %s: %s: %w\n%s", p.Name, line, err, out)
	}
	return string(out), err
}

// expectWhole holds a pod to what a whole one has.
func expectWhole(t *testing.T, p pod.Pod, mtu int) {
	t.Helper()
	ownnet.Within(t, 5*time.Second, "the pod's carrier", func() error {
		out, err := inside(p, "ip -br link show eth0")
		if err == nil && !strings.Contains(out, "LOWER_UP") {
			err = errors.New(out)
		}
		return err
	})
	in := "nsenter --net=" + p.Netns + " -- "
	lines := map[string][]string{
		in + "ip link show dev eth0": {fmt.Sprintf("mtu %d ", mtu)},
		"ip link show dev " + p.Link: {fmt.Sprintf("mtu %d ", mtu), "alias " + p.Name, "LOWER_UP"},
	}
	for _, a := range p.Addresses {
		lines[in+"ip -br addr show dev eth0"] = append(lines[in+"ip -br addr show dev eth0"], netip.PrefixFrom(a, a.BitLen()).String())
		if a.Is4() {
			lines[in+"ip -4 route"] = []string{"default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"}
			lines[in+"ip -4 neigh"] = []string{"169.254.1.1 dev eth0 lladdr", "PERMANENT"}
			continue
		}
		lines[in+"ip -6 route"] = []string{"default via fe80::1 dev eth0"}
		lines[in+"ip -6 neigh"] = []string{"fe80::1 dev eth0 lladdr", "PERMANENT"}
		lines["ip -6 -o addr show dev "+p.Link] = []string{"inet6 fe80::1/64 scope link nodad"}
	}
	for line, wants := range lines {
		out := ownnet.Command(t, line)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s:\n%s\nlacks %q", line, out, want)
			}
		}
		for _, bad := range []string{"tentative", "dadfailed", "dynamic"} {
			if strings.Contains(out, bad) {
				t.Errorf("%s:\n%s\nhas %q", line, out, bad)
			}
		}
	}
	for family, is := range map[string]func(netip.Addr) bool{"-4": netip.Addr.Is4, "-6": netip.Addr.Is6} {
		want := 0
		if slices.ContainsFunc(p.Addresses, is) {
			want = 1
		}
		if out, _ := inside(p, "ip -o "+family+" addr show dev eth0 scope global"); strings.Count(out, " inet") != want {
			t.Errorf("addresses of the pod: %s, want %d", out, want)
		}
	}
	for key, want := range map[string]string{"rp_filter": "1", "proxy_arp": "1", "forwarding": "1"} {
		if got, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + p.Link + "/" + key); strings.TrimSpace(string(got)) != want {
			t.Errorf("%s of %s: %q %v, want %s", key, p.Link, got, err, want)
		}
	}
}

func TestEnsureTwice(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		m, c := newManager(t)
		spec := pod.Spec{Name: "web-0", Addresses: ips("10.64.1.0", "2001:db8:64:1::1"), MTU: 1480}
		p := ensure(t, m, spec)
		expectWhole(t, p, 1480)
		in, host := ownnet.Watch(t, p.Netns), ownnet.Watch(t, "")
		ensure(t, m, spec)
		ensure(t, pod.NewManager(c, dir), spec) // another life of the agent
		for where, monitor := range map[string]*ownnet.Monitor{"pod": in, "host": host} {
			if got := monitor.Changes(t); len(got) > 0 {
				t.Errorf("the second time: ip monitor in the %s saw\n%s", where, strings.Join(got, "\n"))
			}
		}
		list, err := m.List()
		if err != nil || len(list) != 1 || !list[0].Equal(p) {
			t.Errorf("list: %+v, %v, want %+v", list, err, p)
		}
		damaged := func(want ...pod.Pod) {
			t.Helper()
			got, err := m.Damaged([]pod.Pod{p}, spec.MTU)
			if err != nil || !slices.EqualFunc(got, want, pod.Pod.Equal) {
				t.Errorf("damaged: %+v, %v, want %+v", got, err, want)
			}
		}
		damaged()
		ownnet.Command(t, "ip link set "+p.Link+" down")
		damaged(p)
		ownnet.Command(t, "ip link set "+p.Link+" up")
		damaged(p) // fe80::1 is gone.
		spec.MTU = 1380
		ensure(t, m, spec)
		expectWhole(t, p, 1380)
		damaged()
		// A family goes, and the other; and comes back.
		for _, addresses := range [][]netip.Addr{ips("10.64.1.0"), ips("2001:db8:64:1::1"), spec.Addresses} {
			spec.Addresses = addresses
			expectWhole(t, ensure(t, m, spec), 1380)
		}
		// With less there is no IPv6, and with more there is it again.
		spec.MTU = 1279
		if _, err := m.Ensure(spec); err == nil || !strings.Contains(err.Error(), "MTU 1279: expected at least 1280") {
			t.Errorf("MTU 1279: %v", err)
		}
		spec.Addresses = ips("10.64.1.0")
		expectWhole(t, ensure(t, m, spec), 1279)
		spec.MTU, spec.Addresses = 1280, ips("10.64.1.0", "2001:db8:64:1::1")
		expectWhole(t, ensure(t, m, spec), 1280)
	})
}

func TestHalfMadePods(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		m, c := newManager(t)
		for name, damage := range map[string]func(p pod.Pod) error{
			"namespace-without-link": func(p pod.Pod) error { return rtnl.CreateNetns(p.Netns) },
			"plain-file":             func(p pod.Pod) error { return os.WriteFile(p.Netns, nil, 0o444) },
			"link-without-namespace": func(p pod.Pod) error {
				_, err := exec.Command("ip", "link", "add", p.Link, "alias", p.Name, "type", "veth", "peer", "name", "lost").Output()
				return err
			},
			"pair-in-two-halves": func(p pod.Pod) error {
				if err := rtnl.CreateNetns(p.Netns); err != nil {
					return err
				}
				_, err := exec.Command("sh", "-c", fmt.Sprintf("ip link add %s type veth peer name half && nsenter --net=%s ip link add eth0 type bridge", p.Link, p.Netns)).Output()
				return err
			},
			"wrong-address": func(p pod.Pod) error {
				if _, err := m.Ensure(pod.Spec{Name: p.Name, Addresses: ips("10.64.1.60", "2001:db8:64:1::60"), MTU: 1400}); err != nil {
					return err
				}
				_, err := inside(p, "ip addr add 192.0.2.1/24 dev eth0")
				_, err6 := inside(p, "ip addr add 2001:db8:ffff::1/64 dev eth0")
				return errors.Join(err, err6)
			},
			"links-down": func(p pod.Pod) error {
				if _, err := m.Ensure(pod.Spec{Name: p.Name, Addresses: p.Addresses, MTU: 1480}); err != nil {
					return err
				}
				_, err := inside(p, "ip link set eth0 down")
				return errors.Join(err, exec.Command("ip", "link", "set", p.Link, "down").Run())
			},
			"no-routes": func(p pod.Pod) error {
				if _, err := m.Ensure(pod.Spec{Name: p.Name, Addresses: p.Addresses, MTU: 1480}); err != nil {
					return err
				}
				_, err := inside(p, "ip route flush table main")
				_, err6 := inside(p, "ip -6 route flush table main")
				return errors.Join(err, err6)
			},
			"made-by-a-release-without-IPv6": func(p pod.Pod) error {
				_, err := m.Ensure(pod.Spec{Name: p.Name, Addresses: p.Addresses[:1], MTU: 1480})
				return err
			},
			"IPv6-turned-off": func(p pod.Pod) error {
				_, err := m.Ensure(pod.Spec{Name: p.Name, Addresses: p.Addresses, MTU: 1480})
				off := os.WriteFile("/proc/sys/net/ipv6/conf/"+p.Link+"/disable_ipv6", []byte("1"), 0)
				_, offInside := inside(p, "sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=1")
				return errors.Join(err, off, offInside)
			},
		} {
			t.Run(name, func(t *testing.T) {
				p := pod.Pod{Name: name, Link: pod.LinkName(name), Netns: filepath.Join(dir, name), Addresses: ips("10.64.1.5", "2001:db8:64:1::5")}
				if err := damage(p); err != nil {
					t.Fatal(err)
				}
				if _, err := m.List(); err != nil {
					t.Errorf("list with half a pod: %v", err)
				}
				expectWhole(t, ensure(t, m, pod.Spec{Name: name, Addresses: p.Addresses, MTU: 1480}), 1480)
				for range 2 { // The second time there is nothing.
					if err := m.Remove(name); err != nil {
						t.Error(err)
					}
				}
				if _, err := c.LinkByName(p.Link); !rtnl.IsNotExist(err) {
					t.Errorf("link after the removal: %v", err)
				}
				if _, err := os.Stat(p.Netns); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("namespace after the removal: %v", err)
				}
			})
		}
		if err := m.Remove("never-there"); err != nil {
			t.Errorf("remove a pod that never was: %v", err)
		}
		if list, err := m.List(); err != nil || len(list) > 0 {
			t.Errorf("list: %+v, %v, want none", list, err)
		}
	})
}

// Pods reach one another and the host through a host that has no default route;
// what a pod sends from another address than its own is dropped.
func TestPackets(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		m, c := newManager(t)
		// For IPv6 it is the guard that drops.
		if err := new(policy.Guard).Apply(policy.Rules{PodLinks: layout.PodLinks}); err != nil {
			t.Fatal(err)
		}
		a := ensure(t, m, pod.Spec{Name: "a", Addresses: ips("10.64.1.0", "2001:db8:64:1::1"), MTU: 1480})
		b := ensure(t, m, pod.Spec{Name: "b", Addresses: ips("10.64.1.1", "2001:db8:64:1::2"), MTU: 1480})
		for _, p := range []pod.Pod{a, b} {
			l, err := c.LinkByName(p.Link)
			if err != nil {
				t.Fatal(err)
			}
			for _, address := range p.Addresses {
				if err := c.ReplaceRoute(rtnl.Route{Prefix: netip.PrefixFrom(address, address.BitLen()), Link: l.Index, Protocol: layout.Protocol}); err != nil {
					t.Fatal(err)
				}
			}
		}
		ownnet.Command(t, "ip link set lo up")
		ownnet.Command(t, "ip addr add 10.255.0.11/32 dev lo")
		ownnet.Command(t, "ip addr add 2001:db8:ffff::11/128 dev lo")
		for from, to := range map[*pod.Pod][]netip.Addr{
			&a: append(ips("10.255.0.11", "2001:db8:ffff::11", "fe80::1%eth0"), b.Addresses...),
			&b: a.Addresses,
		} {
			for _, address := range to {
				ownnet.Within(t, 10*time.Second, fmt.Sprintf("a ping from pod %s to %s", from.Name, address), func() error {
					_, err := inside(*from, "ping -c 1 -W 1 "+address.String())
					return err
				})
			}
		}
		for size, to := range map[string]netip.Addr{"1452": b.Addresses[0], "1432": b.Addresses[1]} {
			if out, err := inside(a, "ping -M do -s "+size+" -c 1 -W 2 "+to.String()); err != nil {
				t.Errorf("a packet of the whole MTU: %v\n%s", err, out)
			}
		}
		forge(t, a, b, "10.64.1.9/32", "IcmpInEchos", func() error {
			return os.WriteFile("/proc/sys/net/ipv4/conf/"+a.Link+"/rp_filter", []byte("0"), 0)
		})
		forge(t, a, b, "2001:db8:64:1::9/128", "Icmp6InEchos", func() error {
			return exec.Command("nft", "delete", "table", "inet", layout.Table).Run()
		})
	})
}

// forge sends from an address that is not pod a's to pod b, which must not get it;
// and, so that the test is known to see, once more with the filter off.
func forge(t *testing.T, a, b pod.Pod, address, counter string, filterOff func() error) {
	t.Helper()
	// The way back exists, so that only the filter stands between.
	ownnet.Command(t, "ip route add "+address+" dev "+b.Link)
	source, _, _ := strings.Cut(address, "/")
	to := b.Addresses[slices.IndexFunc(b.Addresses, func(to netip.Addr) bool { return to.Is6() == ip(source).Is6() })].String()
	received := func() string {
		out, err := inside(b, "nstat -az "+counter)
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(out)
		return fields[len(fields)-2]
	}
	if _, err := inside(a, "ip addr add "+address+" dev eth0"); err != nil {
		t.Fatal(err)
	}
	ownnet.Within(t, 10*time.Second, "the forged address to be usable", func() error {
		out, err := inside(a, "ip -o addr show dev eth0 to "+source)
		if err == nil && (out == "" || strings.Contains(out, "tentative")) {
			err = errors.New(out)
		}
		return err
	})
	before := received()
	if out, err := inside(a, "ping -I "+source+" -c 2 -i 0.2 -W 1 "+to); err == nil {
		t.Errorf("a forged source is answered:\n%s", out)
	}
	if diff := cmp.Diff(before, received()); diff != "" {
		t.Errorf("echo requests that reached the other pod, before and after the forged ones (-before +after):\n%s", diff)
	}
	// The detector detects: with the filter off they arrive.
	if err := filterOff(); err != nil {
		t.Fatal(err)
	}
	_, _ = inside(a, "ping -I "+source+" -c 2 -i 0.2 -W 1 "+to)
	if received() == before {
		t.Error("without the filter nothing arrives either: the detector does not detect")
	}
}
