package lab

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"netd/firmware/lab/patience"
	"netd/netd/layout"
)

// namePrefix begins the name of every namespace of a lab: netdlab<pid>x<its folder>-<host>.
const namePrefix = "netdlab"

// Net is a set of hosts. Its methods may be called from several goroutines.
type Net struct {
	// Dir has logs, sockets and configurations of this lab.
	Dir string

	id    string
	mu    sync.Mutex // guards what follows
	hosts []*Host
	procs []*Process
}

// New makes an empty network that keeps its files in dir; the speaker's own user
// must be able to enter it.
func New(dir string) (*Net, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab needs root: it makes network namespaces")
	}
	sweepLeftovers()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the lab's folder: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the lab's folder: %w", err)
	}
	// One process may have several labs at once, each in a folder of its own.
	return &Net{Dir: dir, id: fmt.Sprintf("%s%dx%x", namePrefix, os.Getpid(), crc32.ChecksumIEEE([]byte(dir)))}, nil
}

// sweepLeftovers removes the namespaces of labs whose process is gone.
func sweepLeftovers() {
	left, _ := filepath.Glob(layout.NetnsDir + "/" + namePrefix + "*")
	for _, path := range left {
		name := filepath.Base(path)
		pid, _, _ := strings.Cut(strings.TrimPrefix(name, namePrefix), "x")
		if n, err := strconv.Atoi(pid); err == nil && syscall.Kill(n, 0) != nil {
			_ = exec.Command("ip", "netns", "del", name).Run()
		}
	}
}

// Host is a network namespace.
type Host struct {
	Name string
	net  *Net
}

// Host makes a host, with loopback up and forwarding off.
func (n *Net) Host(ctx context.Context, name string) (*Host, error) {
	h := &Host{Name: name, net: n}
	if _, err := output(ctx, "ip", "netns", "add", h.Netns()); err != nil {
		return nil, fmt.Errorf("make host %s: %w", name, err)
	}
	n.mu.Lock()
	n.hosts = append(n.hosts, h)
	n.mu.Unlock()
	_, err := h.Run(ctx, "ip", "link", "set", "lo", "up")
	return h, err
}

// Netns is the namespace's name, as ip-netns(8) knows it.
func (h *Host) Netns() string { return h.net.id + "-" + h.Name }

// Path is a path in the lab's folder for a file of this host.
func (h *Host) Path(name string) string { return filepath.Join(h.net.Dir, h.Name+"-"+name) }

// Wire joins two hosts by a veth pair, both ends up.
func (n *Net) Wire(ctx context.Context, a *Host, aLink string, b *Host, bLink string) error {
	if _, err := output(ctx, "ip", "link", "add", aLink, "netns", a.Netns(), "type", "veth", "peer", "name", bLink, "netns", b.Netns()); err != nil {
		return fmt.Errorf("wire %s %s to %s %s: %w", a.Name, aLink, b.Name, bLink, err)
	}
	_, errA := a.Run(ctx, "ip", "link", "set", aLink, "up")
	_, errB := b.Run(ctx, "ip", "link", "set", bLink, "up")
	return errors.Join(errA, errB)
}

// Run runs a program on the host and returns what it printed. The error carries
// the command and its output.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	out, err := output(ctx, h.command(args)...)
	if err != nil {
		return out, fmt.Errorf("on %s: %w", h.Name, err)
	}
	return out, nil
}

// command puts a program into the host's network, but leaves it in our mount
// namespace, where the namespaces that it makes can be seen (ip netns exec would
// hide them).
func (h *Host) command(args []string) []string {
	return append([]string{"nsenter", "--net=" + layout.NetnsDir + "/" + h.Netns(), "--"}, args...)
}

// Command runs a program outside of all hosts.
func (n *Net) Command(ctx context.Context, args ...string) error {
	_, err := output(ctx, args...)
	return err
}

func output(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// PIDs are the processes in the host's network.
func (h *Host) PIDs(ctx context.Context) ([]int, error) {
	out, err := output(ctx, "ip", "netns", "pids", h.Netns())
	var pids []int
	for _, f := range strings.Fields(out) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// stopTimeout bounds the orderly end of a process.
const stopTimeout = 10 * time.Second

// Close ends the lab's processes, the youngest first and then what they left running,
// and removes its hosts.
func (n *Net) Close() error {
	n.mu.Lock()
	procs, hosts := n.procs, n.hosts
	n.procs, n.hosts = nil, nil
	n.mu.Unlock()
	for i := len(procs) - 1; i >= 0; i-- {
		procs[i].Stop()
	}
	var errs []error
	for _, h := range hosts {
		left, err := h.PIDs(context.Background())
		for _, pid := range left {
			// Our own first thread may be parked there, if it once was the host's.
			if pid != os.Getpid() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		errs = append(errs, err)
		_, err = output(context.Background(), "ip", "netns", "del", h.Netns())
		errs = append(errs, err, h.unmountPods())
	}
	return errors.Join(errs...)
}

// unmountPods lets go of the namespaces of pods, which outlive their agent: each is a
// mount in the lab's folder.
func (h *Host) unmountPods() error {
	pods, err := filepath.Glob(filepath.Join(h.Path("netns"), "*"))
	errs := []error{err}
	for _, p := range pods {
		// One that is no mount (EINVAL) is a file that a pod's removal has left.
		if err := syscall.Unmount(p, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// untilAtMost bounds every wait: a machine that emulates others is slow, not hung.
const untilAtMost = 2 * time.Minute

// Until tries cond again and again until it returns nil, or ctx ends, or
// untilAtMost has passed in which the machine ran: the error then says what was waited
// for and what was seen last.
func Until(ctx context.Context, what string, cond func(context.Context) error) error {
	const interval = 200 * time.Millisecond
	ctx, cancel := patience.Context(ctx, untilAtMost)
	defer cancel()
	return patience.Until(ctx, interval, what, cond)
}
