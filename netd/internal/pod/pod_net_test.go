//go:build net

package pod_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/link"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/pod"
	"netd/netd/internal/rtnl"
)

const dir = "/run/netns"

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func newManager(t *testing.T) (*pod.Manager, *rtnl.Conn) {
	t.Helper()
	c, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := link.Forward(); err != nil {
		t.Fatal(err)
	}
	return pod.NewManager(c, dir), c
}

func ensure(t *testing.T, m *pod.Manager, s pod.Spec) pod.Pod {
	t.Helper()
	p, err := m.Ensure(s)
	if err != nil {
		t.Fatal(err)
	}
	want := pod.Pod{Name: s.Name, Link: pod.LinkName(s.Name), Netns: filepath.Join(dir, s.Name), Address: s.Address}
	if p != want {
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
	for line, wants := range map[string][]string{
		"nsenter --net=" + p.Netns + " -- ip -br -4 addr":        {"127.0.0.1/8", p.Address.String() + "/32"},
		"nsenter --net=" + p.Netns + " -- ip route":              {"default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"},
		"nsenter --net=" + p.Netns + " -- ip neigh":              {"169.254.1.1 dev eth0 lladdr", "PERMANENT"},
		"nsenter --net=" + p.Netns + " -- ip link show dev eth0": {fmt.Sprintf("mtu %d ", mtu)},
		"ip link show dev " + p.Link:                             {fmt.Sprintf("mtu %d ", mtu), "alias " + p.Name, "LOWER_UP"},
	} {
		out := ownnet.Command(t, line)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s:\n%s\nlacks %q", line, out, want)
			}
		}
	}
	if out, _ := inside(p, "ip -br -4 addr show eth0"); strings.Count(out, "/") != 1 {
		t.Errorf("addresses of the pod: %s, want one", out)
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
		spec := pod.Spec{Name: "web-0", Address: ip("10.64.1.0"), MTU: 1480}
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
		if err != nil || len(list) != 1 || list[0] != p {
			t.Errorf("list: %+v, %v, want %+v", list, err, p)
		}
		spec.MTU = 1380
		ensure(t, m, spec)
		expectWhole(t, p, 1380)
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
				if _, err := m.Ensure(pod.Spec{Name: p.Name, Address: ip("10.64.1.60"), MTU: 1400}); err != nil {
					return err
				}
				_, err := inside(p, "ip addr add 192.0.2.1/24 dev eth0")
				return err
			},
			"links-down": func(p pod.Pod) error {
				if _, err := m.Ensure(pod.Spec{Name: p.Name, Address: p.Address, MTU: 1480}); err != nil {
					return err
				}
				_, err := inside(p, "ip link set eth0 down")
				return errors.Join(err, exec.Command("ip", "link", "set", p.Link, "down").Run())
			},
			"no-routes": func(p pod.Pod) error {
				if _, err := m.Ensure(pod.Spec{Name: p.Name, Address: p.Address, MTU: 1480}); err != nil {
					return err
				}
				_, err := inside(p, "ip route flush table main")
				return err
			},
		} {
			t.Run(name, func(t *testing.T) {
				p := pod.Pod{Name: name, Link: pod.LinkName(name), Netns: filepath.Join(dir, name), Address: ip("10.64.1.5")}
				if err := damage(p); err != nil {
					t.Fatal(err)
				}
				if _, err := m.List(); err != nil {
					t.Errorf("list with half a pod: %v", err)
				}
				expectWhole(t, ensure(t, m, pod.Spec{Name: name, Address: p.Address, MTU: 1480}), 1480)
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

// Pods reach one another through a host that has no default route; what a pod
// sends from another address than its own is dropped.
func TestPackets(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		m, c := newManager(t)
		a := ensure(t, m, pod.Spec{Name: "a", Address: ip("10.64.1.0"), MTU: 1480})
		b := ensure(t, m, pod.Spec{Name: "b", Address: ip("10.64.1.1"), MTU: 1480})
		for _, p := range []pod.Pod{a, b} {
			l, err := c.LinkByName(p.Link)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.ReplaceRoute(rtnl.Route{Prefix: netip.PrefixFrom(p.Address, 32), Link: l.Index, Protocol: 120}); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range []struct{ from, to pod.Pod }{{a, b}, {b, a}} {
			ownnet.Within(t, 10*time.Second, "a ping from pod "+p.from.Name, func() error {
				_, err := inside(p.from, "ping -c 1 -W 1 "+p.to.Address.String())
				return err
			})
		}
		if out, err := inside(a, "ping -M do -s 1452 -c 1 -W 2 10.64.1.1"); err != nil {
			t.Errorf("a packet of the whole MTU: %v\n%s", err, out)
		}
		// The way back exists, so that only the filter stands between.
		ownnet.Command(t, "ip route add 10.64.1.9/32 dev "+b.Link)
		received := func() string {
			out, err := inside(b, "nstat -az IcmpInEchos")
			if err != nil {
				t.Fatal(err)
			}
			fields := strings.Fields(out)
			return fields[len(fields)-2]
		}
		if _, err := inside(a, "ip addr add 10.64.1.9/32 dev eth0"); err != nil {
			t.Fatal(err)
		}
		before := received()
		if out, err := inside(a, "ping -I 10.64.1.9 -c 2 -i 0.2 -W 1 10.64.1.1"); err == nil {
			t.Errorf("a forged source is answered:\n%s", out)
		}
		if diff := cmp.Diff(before, received()); diff != "" {
			t.Errorf("echo requests that reached the other pod, before and after the forged ones (-before +after):\n%s", diff)
		}
		// The detector detects: with the filter off they arrive.
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+a.Link+"/rp_filter", []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
		_, _ = inside(a, "ping -I 10.64.1.9 -c 2 -i 0.2 -W 1 10.64.1.1")
		if received() == before {
			t.Error("without the filter nothing arrives either: the detector does not detect")
		}
	})
}
