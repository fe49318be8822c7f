//go:build net

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/firmware/lab/patience"
	"netd/netd/internal/ownnet"
	"netd/netd/layout"
)

// nextHopID is the number of a next-hop object in a route that ip-route(8) prints.
var nextHopID = regexp.MustCompile(`nhid \d+ `)

// TestMain makes this binary netd itself, when it is called as netd is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		os.Exit(run(os.Args))
	}
	os.Exit(m.Run())
}

// world is a gateway's namespace, wired to a ToR's.
type world struct {
	net     *lab.Net
	gw, tor *lab.Host
	bin     string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if _, _, errno := syscall.AllThreadsSyscall(syscall.SYS_GETPID, 0, 0, 0); errno != 0 {
		t.Fatal("the agent is tested as it is built, without cgo: CGO_ENABLED=0 go test -tags net ./netd")
	}
	dir, err := os.MkdirTemp("", "net-") // t.TempDir is closed to the speaker's user
	if err != nil {
		t.Fatal(err)
	}
	w := &world{bin: filepath.Join(dir, "netd")}
	t.Cleanup(func() {
		logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
		for _, l := range logs {
			if b, _ := os.ReadFile(l); t.Failed() {
				t.Logf("=== %s\n%s", filepath.Base(l), b[max(0, len(b)-6000):])
			}
		}
		if err := errors.Join(w.net.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	if w.net, err = lab.New(dir); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(self, w.bin); err != nil { // its own folder is closed to the speaker's user
		t.Fatal(err)
	}
	for name, host := range map[string]**lab.Host{"gw": &w.gw, "tor": &w.tor} {
		if *host, err = w.net.Host(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.net.Wire(t.Context(), w.gw, "eth0", w.tor, "tor0"); err != nil {
		t.Fatal(err)
	}
	w.must(t, w.tor, "ip addr add 10.0.1.1/24 dev tor0")
	return w
}

func (w *world) must(t *testing.T, h *lab.Host, line string) string {
	t.Helper()
	out, err := h.Run(t.Context(), strings.Fields(line)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// config writes a configuration: the uplink's lines, and how pods are reached.
func (w *world) config(t *testing.T, uplink, encapsulation string) string {
	t.Helper()
	file := w.gw.Path("netd.toml")
	text := fmt.Sprintf(`schema = 1
[gateway]
name = "gw"
[[uplink]]
name = "uplink0"
match = { name = "eth0" }
%s
[bgp]
as = 65101
[[bgp.peer]]
name = "tor1"
address = "10.0.1.1"
as = 65001
[[pool]]
name = "pods"
prefix = "10.64.0.0/16"
block = "10.64.1.0/26"
encapsulation = %q
`, uplink, encapsulation)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

const static = `address = ["10.0.1.11/24"]
router = "10.0.1.1"`

func (w *world) start(t *testing.T, config string) *lab.Netd {
	t.Helper()
	gw, err := w.gw.Netd(t.Context(), w.bin, config, lab.Gateway{Name: "gw"})
	if err != nil {
		t.Fatal(err)
	}
	return gw
}

// ends runs netd to its end, which must be an error, and returns its last line.
func (w *world) ends(t *testing.T, config string, prefix ...string) string {
	t.Helper()
	ctx, cancel := patience.Context(t.Context(), time.Minute)
	defer cancel()
	dir := filepath.Dir(config)
	args := append(prefix, w.bin, "run", "--config", config, "--data", dir+"/data9", "--run", dir+"/run9", "--netns", dir+"/netns9")
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + layout.NetnsDir + "/" + w.gw.Netns(), "--"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("netd run: %v, want exit status 1\n%s", err, stderr.String())
	}
	var said []string
	for line := range strings.Lines(stderr.String()) {
		if !strings.HasPrefix(line, "time=") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	if len(said) != 1 {
		t.Fatalf("netd says in %d lines what one should say:\n%s", len(said), stderr.String())
	}
	return said[0]
}

// within waits for something that a command of the agent prints.
func within(t *testing.T, d time.Duration, what string, cond func(context.Context) error) {
	t.Helper()
	ctx, cancel := patience.Context(t.Context(), d)
	defer cancel()
	if err := lab.Until(ctx, what, cond); err != nil {
		t.Fatal(err)
	}
}

func says(gw *lab.Netd, want string, verb string, args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		out, err := gw.Ask(ctx, verb, args...)
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("netd %s lacks %q:\n%s", verb, want, out)
		}
		return err
	}
}

// bird is a ToR that gives a default route, a gateway's prefix, and one that nobody may.
func (w *world) bird(t *testing.T, gateway string) *lab.Bird {
	t.Helper()
	b, err := w.tor.Bird(t.Context(), `router id 10.0.1.1;
log stderr all;
protocol device { scan time 1; }
protocol static { ipv4; route 0.0.0.0/0 blackhole; route 10.64.2.0/26 blackhole; route 192.0.2.0/24 blackhole; }
protocol bgp gateway1 {
	local 10.0.1.1 as 65001;
	neighbor `+gateway+` as 65101;
	connect delay time 1; connect retry time 2; error wait time 1, 4; hold time 9;
	ipv4 { import all; export all; };
}
`)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Mode never needs no tunnel: the agent runs on a kernel without ipip, and leaves
// in order.
func TestModeNever(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		bird := w.bird(t, "10.0.1.11")
		gw := w.start(t, w.config(t, static, "never"))
		within(t, time.Minute, "the session", gw.Established)
		within(t, time.Minute, "the block on the ToR", func(ctx context.Context) error {
			out, err := bird.Ask(ctx, "show route 10.64.1.0/26")
			if err == nil && !strings.Contains(out, "via 10.0.1.11") {
				err = errors.New(out)
			}
			return err
		})
		within(t, time.Minute, "the ToR's default route", says(gw, "0.0.0.0/0: native via 10.0.1.1 dev uplink0, because tor1", "explain", "0.0.0.0/0"))
		out, err := gw.Ask(t.Context(), "pod", "add", "web-0")
		if err != nil || !strings.Contains(out, "web-0 10.64.1.0 dev pod") {
			t.Errorf("pod add: %s %v", out, err)
		}
		for _, want := range []string{"blackhole 10.64.1.0/26 proto 120", "10.64.1.0 dev pod", "10.64.2.0/26 via 10.0.1.1 dev uplink0 proto 120"} {
			within(t, time.Minute, want, func(ctx context.Context) error {
				out, err := w.gw.Run(ctx, "ip", "route")
				if err == nil && !strings.Contains(nextHopID.ReplaceAllString(out, ""), want) {
					err = errors.New(out)
				}
				return err
			})
		}
		if links := w.must(t, w.gw, "ip -br link"); strings.Contains(links, "netd-ipip0") {
			t.Errorf("a tunnel that nobody needs:\n%s", links)
		}
		if out, err := gw.InPod(t.Context(), "web-0", "ping", "-c", "1", "-W", "2", "10.0.1.11"); err != nil {
			t.Errorf("the pod does not reach its gateway: %v\n%s", err, out)
		}
		// The guard is flushed by someone, and put back.
		w.must(t, w.gw, "nft flush ruleset")
		within(t, time.Minute, "the guard to be put back", func(ctx context.Context) error {
			_, err := w.gw.Run(ctx, "nft", "list", "table", "inet", "netd")
			return err
		})
		if err := gw.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case <-gw.Done():
		case <-patience.After(30 * time.Second):
			t.Fatal("netd run does not end on SIGTERM")
		}
		if err := gw.Err(); err != nil {
			t.Errorf("netd run ended on SIGTERM with %v", err)
		}
	})
}

// What netd can not do, it says in one line, with exit status 1.
func TestOneLine(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		if got := w.ends(t, w.config(t, static, "never"), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"); got !=
			"netd run: needs root: it sets addresses, routes and nftables, and makes namespaces" {
			t.Errorf("without root: %q", got)
		}
		// Where the kernel has ipip, the vm tier shows the tunnel and link's own
		// test the sentence.
		if _, err := w.gw.Run(t.Context(), "ip", "link", "add", "t0", "type", "ipip", "local", "10.0.1.1"); err == nil {
			return
		}
		got := w.ends(t, w.config(t, static, "cross-subnet"))
		if !strings.Contains(got, `this kernel has no ipip (module "ipip"): expected it for encapsulation "cross-subnet" or "always"; load it, or set encapsulation = "never"`) {
			t.Errorf("without ipip: %q", got)
		}
	})
}

// The lease comes late: the agent waits for it, then everything follows from it.
func TestDHCPUplink(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		bird := w.bird(t, "10.0.1.50")
		gw := w.start(t, w.config(t, "dhcp = true", "never"))
		within(t, time.Minute, "the lack of a lease to be said", says(gw, "PROBLEM  uplink uplink0: no DHCP lease yet", "status"))
		if _, err := gw.Ask(t.Context(), "pod", "add", "early"); err != nil {
			t.Fatal(err)
		}
		if out, _ := bird.Ask(t.Context(), "show protocols gateway1"); strings.Contains(out, "Established") {
			t.Errorf("a session without an address:\n%s", out)
		}
		if _, err := w.tor.Start("dnsmasq", "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--port=0",
			"--interface=tor0", "--bind-interfaces", "--user=root", "--pid-file=", "--dhcp-authoritative", "--no-ping",
			"--dhcp-leasefile="+w.tor.Path("leases"), "--dhcp-range=10.0.1.50,10.0.1.50,2m", "--dhcp-option=option:mtu,1400"); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "the session", gw.Established)
		within(t, time.Minute, "the status after the lease", says(gw, "uplink   uplink0 10.0.1.50/24, MTU 1400, carrier", "status"))
		if out, err := gw.Ask(t.Context(), "status"); err != nil || !strings.Contains(out, "router id 10.64.1.0") || strings.Contains(out, "PROBLEM") {
			t.Errorf("status: %s %v", out, err)
		}
		within(t, time.Minute, "the MTU of the pod that was there before the lease", func(ctx context.Context) error {
			out, err := gw.InPod(ctx, "early", "ip", "link", "show", "eth0")
			if err == nil && !strings.Contains(out, "mtu 1400 ") {
				err = errors.New(out)
			}
			return err
		})
		within(t, time.Minute, "what the ToR has to tell", says(gw, "10.64.2.0/26: native", "explain", "10.64.2.0/26"))
		// Another life finds the address, and holds it, the MTU and the pod.
		m := ownnet.Watch(t, layout.NetnsDir+"/"+w.gw.Netns())
		gw.Kill()
		if err := gw.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "the session", gw.Established)
		if changes := m.Changes(t); len(changes) > 0 {
			t.Errorf("a restart changed:\n%s", strings.Join(changes, "\n"))
		}
	})
}

// A full data partition: what can be done without it is done, and the rest as
// soon as there is room.
func TestFullDataPartition(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		w.bird(t, "10.0.1.11")
		config := w.config(t, static, "never")
		gw := w.start(t, config)
		within(t, time.Minute, "the session", gw.Established)
		if out, err := gw.Ask(t.Context(), "pod", "add", "old"); err != nil || !strings.Contains(out, "10.64.1.0 ") {
			t.Fatalf("pod add: %s %v", out, err)
		}
		gw.Kill()
		data := w.gw.Path("data")
		if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=256k"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) })
		ballast := filepath.Join(data, "ballast")
		if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("fill the partition: %v", err)
		}
		if err := gw.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "the session with a full partition", gw.Established)
		within(t, time.Minute, "the route of the pod of before", says(gw, "10.64.1.0/32: pod", "explain", "10.64.1.0"))
		within(t, time.Minute, "the trouble to be said", says(gw, "no space left on device", "status"))
		if log := gw.Tail(100); !strings.Contains(log, "the pods' addresses can not be written; new pods have to wait") || strings.Contains(log, "torn") {
			t.Errorf("log:\n%s", log)
		}
		out, err := gw.Ask(t.Context(), "pod", "add", "new")
		if err == nil || !strings.Contains(out, "no space left on device") {
			t.Errorf("pod add on a full partition: %s %v, want the reason", out, err)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "a new pod, beside the old one's address", func(ctx context.Context) error {
			out, err := gw.Ask(ctx, "pod", "add", "new")
			if err == nil && !strings.Contains(out, "new 10.64.1.1 ") {
				t.Fatalf("pod add: %s, want 10.64.1.1: 10.64.1.0 is in use", out)
			}
			return err
		})
		within(t, time.Minute, "the trouble to be over", func(ctx context.Context) error {
			out, err := gw.Ask(ctx, "status")
			if err == nil && strings.Contains(out, "PROBLEM") {
				err = errors.New(out)
			}
			return err
		})
		if left, _ := filepath.Glob(filepath.Join(data, "*torn*")); left != nil {
			t.Errorf("put aside as torn: %v", left)
		}
	})
}
