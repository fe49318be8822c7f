// Package ownnet runs a test in network, mount and process namespaces of its
// own: the kernel is the real one, nothing of the machine's network can be seen
// or touched, and whatever the test made or started ends with it, also when it
// fails, panics or is killed. Tests may run at once.
//
// The test binary is started again for the one test, as the first process of
// the new namespaces. /proc, /sys and /run/netns are those
// namespaces' own. Only tests of the tier net import it.
package ownnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab/patience"
	"netd/netd/layout"
)

// variable names the test that a started process is to run.
const variable = "NETD_TEST_IN_OWN_NET"

// margin before the test binary's own deadline: the inner process ends first,
// with a panic that shows where it hangs.
const margin = 10 * time.Second

// bearable is how long the machine may stand still at a time in a test that counts:
// beyond it BFD's sessions are rightly lost, and then BGP's.
const bearable = time.Second

// Run calls test in namespaces of its own. It must be the first statement of a
// Test function. The test needs root.
func Run(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(variable) == t.Name() {
		if err := furnish(); err != nil {
			t.Fatal(err)
		}
		test(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Fatal("needs root: the test makes network namespaces")
	}
	t.Parallel()
	watch := patience.Start()
	defer watch.Stop()
	out, err := again(t)
	if lost := watch.Longest(); err != nil && lost > bearable {
		t.Logf("%v, but the machine stood still for %s meanwhile: once more\n%s", err, lost.Round(time.Millisecond), out)
		out, err = again(t)
	}
	if err != nil {
		t.Fatalf("in namespaces of its own: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// again starts this binary for the one test.
func again(t *testing.T) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx := t.Context()
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v=true"}
	if deadline, ok := t.Deadline(); ok {
		args = append(args, fmt.Sprintf("-test.timeout=%s", max(time.Until(deadline)-margin, time.Second)))
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), variable+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL, // of the first process, and with it of all
	}
	runtime.LockOSThread() // The death signal is bound to the thread that forked.
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err == nil && !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		err = errors.New("the test did not run")
	}
	return out, err
}

// furnish gives the mount namespace what belongs to the other two.
func furnish() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := os.MkdirAll(layout.NetnsDir, 0o755); err != nil {
		return err
	}
	for _, m := range []struct{ kind, path string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", layout.NetnsDir}} {
		if err := syscall.Mount(m.kind, m.path, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.path, err)
		}
	}
	// What IPv6 does with new links is no one's subject here.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Command runs a program and returns what it printed; an error ends the test.
func Command(t *testing.T, line string) string {
	t.Helper()
	args := strings.Fields(line)
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// Within waits until cond is nil; if that takes longer than d, in which the machine
// ran, the test ends with what was waited for and cond's last error.
func Within(t *testing.T, d time.Duration, what string, cond func() error) {
	t.Helper()
	ctx, cancel := patience.Context(context.Background(), d)
	defer cancel()
	if err := patience.Until(ctx, 20*time.Millisecond, what, func(context.Context) error { return cond() }); err != nil {
		t.Fatal(err)
	}
}

// Monitor is an ip-monitor(8) that writes down each change of links, addresses
// and routes.
type Monitor struct {
	netns, log string
	cmd        *exec.Cmd
}

// markLink is the link whose coming ends a monitor's report.
const markLink = "mark0"

// Watch starts a monitor in this namespace, or in the one behind the path netns,
// and waits until it listens. Before, it waits for links to come to rest: the
// kernel tells of a new carrier up to a second later.
func Watch(t *testing.T, netns string) *Monitor {
	t.Helper()
	if netns == "" {
		netns = "/proc/self/ns/net"
	}
	Within(t, 10*time.Second, "links to come to rest", func() error {
		for line := range strings.Lines(Command(t, "nsenter --net="+netns+" -- ip -o link")) {
			if strings.Contains(line, "UP,LOWER_UP>") && !strings.Contains(line, " state UP ") && !strings.Contains(line, " state UNKNOWN ") {
				return errors.New(line)
			}
		}
		return nil
	})
	m := &Monitor{netns: netns, log: filepath.Join(t.TempDir(), "monitor")}
	f, err := os.Create(m.log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	m.cmd = exec.Command("nsenter", "--net="+netns, "--", "ip", "monitor", "link", "address", "route")
	m.cmd.Stdout, m.cmd.Stderr = f, f
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	Within(t, 10*time.Second, "ip monitor to listen", func() error {
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/netlink", m.cmd.Process.Pid))
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line) // sk, protocol, port, groups, …
			if len(f) > 3 && f[1] == "0" && f[2] == strconv.Itoa(m.cmd.Process.Pid) && f[3] != "00000000" {
				return nil
			}
		}
		return fmt.Errorf("it has joined no group: %w\n%s", err, table)
	})
	return m
}

func (m *Monitor) stop() {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
}

// Changes ends the monitor and returns the lines of all that changed since it
// was started. It makes a change itself, and so knows when it has seen all.
func (m *Monitor) Changes(t *testing.T) []string {
	t.Helper()
	Command(t, "nsenter --net="+m.netns+" -- ip link add "+markLink+" type bridge")
	var changes []string
	Within(t, 10*time.Second, "ip monitor to see the link "+markLink, func() error {
		b, err := os.ReadFile(m.log)
		if err != nil {
			return err
		}
		before, _, found := strings.Cut(string(b), markLink)
		if !found {
			return fmt.Errorf("it has seen %q", b)
		}
		changes = strings.Split(before, "\n")
		changes = changes[:len(changes)-1] // the begin of the mark's own line
		return nil
	})
	m.stop()
	Command(t, "nsenter --net="+m.netns+" -- ip link del "+markLink)
	return changes
}
