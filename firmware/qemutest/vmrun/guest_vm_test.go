//go:build vm

package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// shell runs a script; when it fails, its output tells why.
func shell(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-euc", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// Every kind of link and table that netd's tests make comes up by the kernel's
// own loading of modules.
func TestGuestKernelHasWhatNetdNeeds(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"ipip", "ip link add t0 type ipip local 192.0.2.1 remote any; ip -d link show t0", "ipip"},
		{"dummy", "ip link add t0 type dummy; ip link show t0", "t0:"},
		{"veth", "ip link add t0 type veth peer name u0; ip link show u0", "u0@t0"},
		{"vxlan", "ip link add t0 type vxlan id 7 dstport 4789 local 192.0.2.1; ip -d link show t0", "vxlan id 7"},
		{"vrf", "ip link add t0 type vrf table 7; ip -d link show t0", "vrf table 7"},
		{"wireguard", "ip link add t0 type wireguard; ip -d link show t0", "wireguard"},
		{"bridge", "modprobe br_netfilter; ip link add t0 type bridge; cat /proc/sys/net/bridge/bridge-nf-call-iptables", "1"},
		{"netem", "ip link set lo up; tc qdisc add dev lo root netem delay 1ms; tc qdisc show dev lo", "netem"},
		{"ip6tnl", "ip link add t0 type ip6tnl local ::1 remote ::2; ip -d link show t0", "ip6tnl"},
		{"next hop", "ip link set lo up; ip nexthop add id 7 dev lo; ip nexthop", "id 7 dev lo"},
		{"tun", "ip tuntap add t0 mode tap; ip -d link show t0", "tun type tap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := shell(t, "unshare -n sh -euc '"+c.script+"'")
			if !strings.Contains(got, c.want) {
				t.Errorf("%s: got %q, want it to contain %q", c.script, got, c.want)
			}
		})
	}
}

func TestGuestNftables(t *testing.T) {
	const rules = `table inet t {
		set gateways { type ipv4_addr; elements = { 192.0.2.1 }; }
		map verdicts { type ifname . inet_service : verdict; }
		chain input { type filter hook input priority 0;
			ct state established accept
			meta iifname . tcp dport vmap @verdicts
			ip protocol 4 ip saddr != @gateways counter drop
			fib saddr . iif oif missing log prefix "x" reject
		}
		chain forward {
			type filter hook forward priority 0;
			tcp flags syn tcp option maxseg size set rt mtu
		}
		chain nat { type nat hook postrouting priority 100; oifname "lo" masquerade; }
	}`
	file := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(file, []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	got := shell(t, "unshare -n sh -euc 'nft -f "+file+"; nft list ruleset'")
	if !strings.Contains(got, "@gateways") {
		t.Errorf("nft list ruleset: got %s", got)
	}
}

func TestGuestNamespacesAreNamed(t *testing.T) {
	shell(t, "ip netns add t; ip netns exec t ip link set lo up; ip netns exec t ping -qc1 127.0.0.1; ip netns del t")
}

// Containers' file systems are overlays whose upper directory is in t.TempDir.
func TestGuestOverlayAndLoop(t *testing.T) {
	d := t.TempDir()
	shell(t, "cd "+d+"; mkdir l u w m; echo x >l/x; mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m; rm m/x; test -c u/x; umount m")
	shell(t, "cd "+d+"; truncate -s 8M i; mkfs.ext4 -q i; mount -o loop i m; touch m/y; umount m")
}

func TestGuestCgroups(t *testing.T) {
	b, err := os.ReadFile("/sys/fs/cgroup/cgroup.subtree_control")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"cpu", "memory", "pids", "io"} {
		if !strings.Contains(string(b), c) {
			t.Errorf("cgroup.subtree_control: got %q, want it to contain %s", b, c)
		}
	}
	shell(t, "mkdir /sys/fs/cgroup/t; echo 1M >/sys/fs/cgroup/t/memory.max; rmdir /sys/fs/cgroup/t")
}

func TestGuestHasLoopbackOnly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		// The tunnels' modules add tunl0 and the like, which are down.
		if l.Name != "lo" && (l.HardwareAddr != nil || l.Flags&net.FlagUp != 0) {
			t.Errorf("link %s: got %v, want lo alone to be up", l.Name, l.Flags)
		}
	}
}

// What is written stays in the guest: /host would take it if it were writable.
func TestGuestCanNotWriteToTheHost(t *testing.T) {
	if err := os.WriteFile("/etc/vmrun-was-here", nil, 0o644); err != nil {
		t.Errorf("write in the overlay: %v", err)
	}
	dir := t.TempDir()
	if err := unix.Mount("host", dir, "9p", 0, ninePOptions); err == nil {
		defer func() { _ = unix.Unmount(dir, 0) }()
		err := os.WriteFile(dir+"/etc/vmrun-was-here", nil, 0o644)
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("write to the host's /etc: got %v, want %v", err, unix.EROFS)
		}
	}
}
