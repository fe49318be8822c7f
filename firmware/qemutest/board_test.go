//go:build board

package qemutest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"netd/firmware/gpt"
	"netd/firmware/image"
	"netd/firmware/lab/patience"
	"netd/netd/config"
)

const (
	root     = "../.."
	diskSize = 2 << 30
	password = "netd" // of configs/examples/lab.toml
)

// newDisk builds gw-a's image for a board and puts it on a larger disk.
func newDisk(t *testing.T, ctx context.Context, board string) string {
	t.Helper()
	file := filepath.Join(root, "board", board, "board.toml")
	b, err := config.LoadBoard(file)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(root, "bin", b.Arch)
	o := image.Options{
		Board: b, BoardFile: file, Config: filepath.Join(root, "configs/examples/lab.toml"), Device: "gw-a",
		Images: filepath.Join(root, "build/images", b.Arch),
		Netd:   filepath.Join(bin, "netd"), Shim: filepath.Join(bin, "containerd-shim-runc-v2"),
		Runc: filepath.Join(bin, "runc"), Stage1: filepath.Join(bin, "stage1"),
		Version: "test", Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Output: filepath.Join(t.TempDir(), "image"), Cache: filepath.Join(cache, "netd"), Say: t.Logf,
	}
	if _, err := image.Build(ctx, o); err != nil {
		t.Fatalf("%v (make build images)", err)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := CopyDisk(o.Output, disk, diskSize); err != nil {
		t.Fatal(err)
	}
	return disk
}

func host(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// newNetns is the other end of gw-a's uplink: a tap in a namespace.
func newNetns(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("qemutest-%d", os.Getpid())
	host(t, "ip", "netns", "add", name)
	t.Cleanup(func() { host(t, "ip", "netns", "del", name) })
	host(t, "ip", "-n", name, "tuntap", "add", "port0", "mode", "tap")
	host(t, "ip", "-n", name, "addr", "add", "10.0.1.1/24", "dev", "port0")
	host(t, "ip", "-n", name, "link", "set", "port0", "up")
	return name
}

// shortDir is for sockets: t.TempDir's path may be too long for them.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "board")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := patience.Context(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func startBoard(t *testing.T, o Options) *Machine {
	t.Helper()
	m, err := Start(within(t, 10*time.Second), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s", m.console.end())
		}
	})
	return m
}

func login(t *testing.T, m *Machine) {
	t.Helper()
	if err := m.Login(within(t, 180*time.Second), "root", password); err != nil {
		t.Fatal(err)
	}
}

func mustRun(t *testing.T, m *Machine, command string) string {
	t.Helper()
	out, err := m.Run(within(t, 3*time.Minute), command) // Some wait for what the board does meanwhile.
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestBoardFromPowerOnToPowerOff is a board's life: first start, console,
// restart, power cut, power button.
func TestBoardFromPowerOnToPowerOff(t *testing.T) {
	for _, board := range []string{"qemu-x86_64", "qemu-arm64"} {
		t.Run(board, func(t *testing.T) {
			disk := newDisk(t, t.Context(), board)
			netns := newNetns(t)
			m := startBoard(t, Options{
				Board: filepath.Join(root, "board", board), Disk: disk, Dir: shortDir(t), Serial: "SN-1",
				Netns: netns, NICs: []NIC{{MAC: "02:00:00:00:00:01", Tap: "port0"}},
			})
			login(t, m)
			t.Run("port", func(t *testing.T) {
				host(t, "ip", "netns", "exec", netns, "ping", "-q", "-c", "1", "-w", "30", "10.0.1.11")
				if got := mustRun(t, m, "cat /sys/class/dmi/id/product_serial /sys/class/net/uplink0/address"); got != "SN-1\n02:00:00:00:00:01\n" {
					t.Errorf("serial number and MAC address: got %q", got)
				}
			})
			t.Run("userland", func(t *testing.T) { testUserland(t, m) })
			t.Run("children come back", func(t *testing.T) { testChildren(t, m) })
			mustRun(t, m, "echo kept >/data/kept; sync")

			t.Run("reboot", func(t *testing.T) {
				if err := m.Send("reboot\n"); err != nil {
					t.Fatal(err)
				}
				for _, want := range []string{"netd init: going down", "netd init: restart", "login: "} {
					if _, err := m.Expect(within(t, 180*time.Second), want); err != nil {
						t.Fatal(err)
					}
				}
			})
			t.Run("power cut", func(t *testing.T) {
				if err := m.Restart(within(t, 10*time.Second)); err != nil {
					t.Fatal(err)
				}
				login(t, m)
				if got := mustRun(t, m, "cat /data/kept"); got != "kept\n" {
					t.Errorf("/data/kept: got %q", got)
				}
			})
			t.Run("power button", func(t *testing.T) {
				if err := m.PowerOff(within(t, 60*time.Second)); err != nil {
					t.Fatal(err)
				}
				for _, want := range []string{"power button", "going down", "power off"} {
					if !strings.Contains(m.Console(), "netd init: "+want) {
						t.Errorf("console: no %q\n%s", want, m.console.end())
					}
				}
				if regexp.MustCompile(`netd init: .*(unmount|does not end)`).MatchString(m.Console()) {
					t.Errorf("not in order:\n%s", m.console.end())
				}
			})
			t.Run("torn state, damaged data", func(t *testing.T) { testTornDisk(t, m, disk) })
		})
	}
}

// testTornDisk: the selector finds no state, a bit of the data partition's superblock has
// flipped, and a file is where containerd has its folder. The board boots slot A, repairs
// what there is, says what it has lost, and its pods run.
func testTornDisk(t *testing.T, m *Machine, disk string) {
	tear(t, disk, "state")
	change(t, disk, "data", func(_ *os.File, at int64) error {
		commands := filepath.Join(t.TempDir(), "commands")
		if err := os.WriteFile(commands, []byte("unlink /containerd\nwrite /dev/null containerd\n"), 0o644); err != nil {
			return err
		}
		host(t, "debugfs", "-w", "-f", commands, fmt.Sprintf("%s?offset=%d", disk, at))
		return nil
	})
	flip(t, disk, "data", 1024+126)
	if err := m.Restart(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	login(t, m)
	got := mustRun(t, m, "netd status")
	for _, want := range []string{"PROBLEM  /data was damaged (", "), and was repaired at this start by ", "PROBLEM  /data/containerd is no folder: it is now /data/containerd.damaged-"} {
		if !strings.Contains(got, want) {
			t.Errorf("netd status does not say %q:\n%s", want, got)
		}
	}
	if got := mustRun(t, m, "cat /data/kept; awk '$2 == \"/data\" {print $3}' /proc/mounts"); got != "kept\next4\n" {
		t.Errorf("/data: %q", got)
	}
	mustRun(t, m, `for i in $(seq 600); do test $(netd pods | grep -c running) -ge 1 && exit 0; usleep 200000; done; netd pods; exit 1`)
	if err := m.PowerOff(within(t, 60*time.Second)); err != nil {
		t.Fatal(err)
	}
}

// tear overwrites the beginning of partitions, as a dying flash chip does.
func tear(t *testing.T, disk string, labels ...string) {
	t.Helper()
	for _, label := range labels {
		change(t, disk, label, func(f *os.File, at int64) error {
			_, err := f.WriteAt(bytes.Repeat([]byte("torn"), 64<<10), at)
			return err
		})
	}
}

// flip changes one bit of a partition.
func flip(t *testing.T, disk, label string, offset int64) {
	t.Helper()
	change(t, disk, label, func(f *os.File, at int64) error {
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, at+offset); err != nil {
			return err
		}
		b[0] ^= 0x40
		_, err := f.WriteAt(b, at+offset)
		return err
	})
}

// change does something to a partition of a disk, of which it is told the beginning.
func change(t *testing.T, disk, label string, do func(f *os.File, at int64) error) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	table, err := gpt.Read(f, diskSize)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := table.ByLabel(label)
	if !ok {
		t.Fatalf("%s has no partition %s", disk, label)
	}
	if err := do(f, p.Offset()); err != nil {
		t.Fatal(err)
	}
}

func testUserland(t *testing.T, m *Machine) {
	for _, c := range []struct{ command, want string }{
		{"cat /proc/1/comm", "init"},
		{"ip -d link show lo", "LOOPBACK,UP"},
		{"ip link add t0 type ipip local 192.0.2.1 && ip -d link show t0 && ip link del t0", "ipip"},
		{"ls /sys/class/net | grep -c tunl0 || true", "0"},
		{"ss -xl", "u_str"},
		{"ps w", "netd run --appliance"},
		{"ps w", "netd containerd"},
		{"stat -fc %T /data", "ext2/ext3"},
		{"ls /run/netd/slot", "manifest.json"},
		{"cat /sys/fs/cgroup/cgroup.subtree_control", "memory"},
		{"test ! -e /run/netd/data-failed; touch /x 2>&1 || true", "Read-only file system"},
		{"date +%Y", "20"},
		{"cd /proc/sys; cat kernel/kexec_load_disabled kernel/sysrq kernel/kptr_restrict kernel/dmesg_restrict kernel/perf_event_paranoid kernel/yama/ptrace_scope | tr '\\n' ' '", "1 0 2 1 3 2 "},
		{"cd /proc/sys; cat kernel/unprivileged_bpf_disabled net/core/bpf_jit_harden kernel/unprivileged_userns_clone vm/unprivileged_userfaultfd | tr '\\n' ' '", "1 2 0 0 "},
		{"cat /proc/sys/fs/protected_hardlinks /proc/sys/fs/protected_symlinks /proc/sys/fs/protected_fifos /proc/sys/fs/protected_regular /proc/sys/fs/suid_dumpable | tr '\\n' ' '", "1 1 1 2 0 "},
		// 65,536 connections a GiB: MemTotal is in KiB.
		{"awk '/^MemTotal/ {n = int($2/16); print (n > 16384 ? n : 16384)}' /proc/meminfo | diff - /proc/sys/net/netfilter/nf_conntrack_max && echo as much", "as much"},
		{"for p in $(pgrep -f '^/usr/bin/netd (run|containerd)'); do cat /proc/$p/oom_score_adj; done | tr '\\n' ' '", "-999 -999 "},
		// The speaker has its own place in the line as soon as it is in its cage.
		{"for i in $(seq 100); do p=$(pgrep -f '^/usr/bin/netd bgp') && grep -qx 0 /proc/$p/oom_score_adj && break; usleep 100000; done; cat /proc/$p/oom_score_adj /proc/1/oom_score_adj /proc/$$/oom_score_adj | tr '\\n' ' '", "0 0 0 "},
		{"printf 'a  b\\n%s' \"it's\"", "a  b\nit's"},
	} {
		if got := mustRun(t, m, c.command); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want it to contain %q", c.command, got, c.want)
		}
	}
	var size int
	if _, err := fmt.Sscan(mustRun(t, m, "df -m /data | awk 'NR==2 {print $2}'"), &size); err != nil || size < 1300 {
		t.Errorf("/data on a disk of 2 GiB: %d MiB (%v)", size, err)
	}
	if _, err := m.Run(within(t, 30*time.Second), "echo said; exit 7"); err == nil || err.Error() != "echo said; exit 7: exit status 7: said" {
		t.Errorf("exit 7: got %v", err)
	}
}

// A daemon that dies is started again, and an orphan does not stay a zombie.
func testChildren(t *testing.T, m *Machine) {
	out := mustRun(t, m, `old=$(pgrep -xf '/usr/bin/netd containerd')
		kill -9 $old
		for i in $(seq 100); do new=$(pgrep -xf '/usr/bin/netd containerd') && [ "$new" != "$old" ] && break; usleep 100000; done
		echo "$old $new"`)
	var old, now int
	if _, err := fmt.Sscan(out, &old, &now); err != nil || old == now {
		t.Errorf("netd containerd after kill -9: processes %q (%v)", out, err)
	}
	mustRun(t, m, `(sleep 0.1 & ) ; for i in $(seq 50); do usleep 100000; ps -o stat,args | grep -q '^Z' || exit 0; done; ps -o stat,args; exit 1`)
}
