//go:build vm

package daemon_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/firmware/lab/patience"
)

// fleet is the lab with agents in namespaces in the place of boards.
type fleet struct {
	net  *lab.Net
	tors *lab.ToRs
	gw   map[string]*lab.Netd
	pod  map[string]string // the address of the pod pod-GATEWAY
}

// newFleet brings the lab up and waits until every session is Established.
func newFleet(ctx context.Context, t *testing.T) *fleet {
	t.Helper()
	f := &fleet{net: newNet(ctx, t), gw: map[string]*lab.Netd{}, pod: map[string]string{}}
	var err error
	if f.tors, err = lab.NewToRs(ctx, f.net); err != nil {
		t.Fatal(err)
	}
	for _, g := range lab.Gateways() {
		h, err := f.net.Host(ctx, g.Name)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.tors.Attach(ctx, f.net, g, h); err != nil {
			t.Fatal(err)
		}
		config := filepath.Join(root(t), "configs/examples/lab.toml")
		if f.gw[g.Name], err = h.Netd(ctx, binary(t), config, g); err != nil {
			t.Fatal(err)
		}
	}
	for name, gw := range f.gw {
		out, err := gw.Ask(ctx, "pod", "add", "pod-"+name)
		if err != nil {
			t.Fatal(err)
		}
		f.pod[name] = strings.Fields(out)[1]
	}
	f.converged(ctx, t)
	t.Cleanup(func() {
		if t.Failed() {
			f.dump(t)
		}
	})
	return f
}

func (f *fleet) dump(t *testing.T) {
	ctx, cancel := patience.Context(context.Background(), time.Minute)
	defer cancel()
	for name, gw := range f.gw {
		for _, verb := range []string{"status", "peers", "routes"} {
			out, err := gw.Ask(ctx, verb)
			t.Logf("=== %s: netd %s\n%s%v", name, verb, out, err)
		}
		for _, cmd := range []string{"ip route", "ip -d link", "nft list ruleset"} {
			out, err := gw.Host.Run(ctx, strings.Fields(cmd)...)
			t.Logf("=== %s: %s\n%s%v", name, cmd, out, err)
		}
	}
	for i, h := range f.tors.Hosts {
		out, _ := f.tors.Birds[i].Ask(ctx, "show route all")
		routes, _ := h.Run(ctx, "ip", "route")
		t.Logf("=== %s\n%s\n%s", h.Name, out, routes)
	}
}

func (f *fleet) converged(ctx context.Context, t *testing.T) {
	t.Helper()
	for name, gw := range f.gw {
		within(t, time.Minute, "all sessions of "+name, gw.Established)
	}
	for name := range f.gw {
		for other := range f.gw {
			f.reaches(t, name, other)
		}
	}
}

// reaches waits until a pod answers another gateway's.
func (f *fleet) reaches(t *testing.T, from, to string) {
	t.Helper()
	within(t, time.Minute, fmt.Sprintf("ping from the pod of %s to that of %s", from, to), func(ctx context.Context) error {
		_, err := f.gw[from].InPod(ctx, "pod-"+from, "ping", "-c", "1", "-W", "1", f.pod[to])
		return err
	})
}

func (f *fleet) route(t *testing.T, gw, kind, prefix string) {
	t.Helper()
	within(t, time.Minute, fmt.Sprintf("a route of kind %s to %s on %s", kind, prefix, gw), func(ctx context.Context) error {
		out, err := f.gw[gw].Ask(ctx, "explain", prefix)
		if err == nil && !strings.Contains(out, prefix+": "+kind) {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
}

// must runs a command in a pod and returns what it prints.
func (f *fleet) must(t *testing.T, gw string, args ...string) string {
	t.Helper()
	out, err := f.gw[gw].InPod(t.Context(), "pod-"+gw, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// flow starts a ping that goes on until its stop function, which returns what
// was sent and lost.
func (f *fleet) flow(t *testing.T, from, to, interval string) func() (sent, lost int) {
	t.Helper()
	p, err := f.gw[from].StartInPod("pod-"+from, "flow-"+from+"-"+to, "ping", "-i", interval, "-W", "1", f.pod[to])
	if err != nil {
		t.Fatal(err)
	}
	return func() (int, int) {
		_ = p.Signal(syscall.SIGINT)
		<-p.Done()
		return loss(t, p.Tail(4))
	}
}

// TestLab is the lab's six points but for the boards, which the board tier has.
func TestLab(t *testing.T) {
	f := newFleet(t.Context(), t)
	t.Run("tor tables", f.torTables)
	t.Run("native on one subnet", f.native)
	t.Run("tunnel across subnets", f.tunnel)
	t.Run("packets that do not fit", f.tooBig)
	t.Run("fabric passes pods and stops", f.fabric)
	t.Run("forged tunnel packets", f.forged)
	t.Run("restart of the agent", f.restart)
	t.Run("speaker killed", f.speakerKilled)
	t.Run("link bounce", f.linkBounce)
	t.Run("second agent", f.second)
	t.Run("trouble", f.trouble)
}

// torTables: each ToR's kernel has the blocks behind it, and not the others.
func (f *fleet) torTables(t *testing.T) {
	for i, h := range f.tors.Hosts {
		for _, g := range lab.Gateways() {
			out, err := h.Run(t.Context(), "ip", "route", "show", g.Block)
			if err != nil {
				t.Fatal(err)
			}
			if has := strings.Contains(out, "via "+g.Address); has != (g.ToR == i) {
				t.Errorf("%s has a route to %s: %v\n%s", h.Name, g.Block, has, out)
			}
		}
	}
}

func (f *fleet) native(t *testing.T) {
	f.route(t, "gw-a", "native", "10.64.2.0/26")
	packets := f.captured(t, "gw-a", "gw-b", "proto 4")
	if len(packets) > 0 {
		t.Errorf("IP-in-IP between neighbours:\n%s", strings.Join(packets, "\n"))
	}
	if packets := f.captured(t, "gw-a", "gw-b", "icmp"); len(packets) == 0 {
		t.Error("the detector sees no ping at all")
	}
}

// captured is what passes gw-a's wire while a pod pings another.
func (f *fleet) captured(t *testing.T, from, to, filter string) []string {
	t.Helper()
	c, err := f.tors.Hosts[0].Capture(t.Context(), strings.ReplaceAll(t.Name()+filter, "/", "-"), from, filter)
	if err != nil {
		t.Fatal(err)
	}
	f.must(t, from, "ping", "-c", "3", "-i", "0.2", f.pod[to])
	return c.Packets()
}

func (f *fleet) tunnel(t *testing.T) {
	f.route(t, "gw-a", "ipip", "10.64.3.0/26")
	packets := f.captured(t, "gw-a", "gw-c", "proto 4")
	if len(packets) < 6 {
		t.Fatalf("%d IP-in-IP packets for 3 pings:\n%s", len(packets), strings.Join(packets, "\n"))
	}
	for _, p := range packets {
		if !strings.Contains(p, "IP 10.0.1.11 > 10.0.2.13: IP ") && !strings.Contains(p, "IP 10.0.2.13 > 10.0.1.11: IP ") {
			t.Errorf("outer addresses are not the gateways' own: %s", p)
		}
	}
	hops := f.must(t, "gw-a", "traceroute", "-n", "-q", "1", "-w", "2", f.pod["gw-c"])
	for _, hop := range []string{"10.0.1.11", "10.0.2.13", f.pod["gw-c"]} {
		if !strings.Contains(hops, hop) {
			t.Errorf("traceroute lacks %s:\n%s", hop, hops)
		}
	}
	link, err := f.gw["gw-a"].Host.Run(t.Context(), "ip", "-d", "link", "show", "netd-ipip0")
	if err != nil || !strings.Contains(link, "ipip") || !strings.Contains(link, "local 10.0.1.11") || !strings.Contains(link, "mtu 1480") {
		t.Errorf("tunnel link: %s %v", link, err)
	}
}

// tooBig: 1400 octets of ping with DF pass the tunnel and the narrower fabric;
// one that fits the pod's MTU and not the fabric is answered, not swallowed.
func (f *fleet) tooBig(t *testing.T) {
	f.must(t, "gw-a", "ping", "-M", "do", "-s", "1400", "-c", "2", f.pod["gw-c"])
	// The first tells the gateway (fragmentation needed, to the outer source),
	// the next ones tell the pod.
	out, err := f.gw["gw-a"].InPod(t.Context(), "pod-gw-a", "ping", "-M", "do", "-s", "1452", "-c", "4", "-W", "1", f.pod["gw-c"])
	if err == nil || !strings.Contains(out, "Frag needed") || !strings.Contains(out, "mtu = 1440") {
		t.Errorf("ping of 1480 octets over a fabric of 1460:\n%s", out)
	}
	out, err = f.gw["gw-a"].InPod(t.Context(), "pod-gw-a", "ping", "-M", "do", "-s", "1453", "-c", "1", "-W", "1", f.pod["gw-c"])
	if err == nil || !strings.Contains(out, "message too long") {
		t.Errorf("ping of 1481 octets from a pod of MTU 1480:\n%s", out)
	}
	// MTU learned for one pod must not stay in the way of the next test.
	f.must(t, "gw-a", "ip", "route", "flush", "cache")
}

func (f *fleet) fabric(t *testing.T) {
	stop := f.flow(t, "gw-a", "gw-c", "0.1")
	if err := f.tors.PassPods(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	f.route(t, "gw-a", "native", "10.64.3.0/26")
	f.route(t, "gw-c", "native", "10.64.1.0/26")
	if packets := f.captured(t, "gw-a", "gw-c", "proto 4"); len(packets) > 0 {
		t.Errorf("IP-in-IP though the fabric passes pods:\n%s", strings.Join(packets, "\n"))
	}
	sent, lost := stop()
	t.Logf("tunnel to native: %d of %d pings lost at 10/s", lost, sent)
	hops := f.must(t, "gw-a", "traceroute", "-n", "-q", "1", "-w", "2", f.pod["gw-c"])
	for _, hop := range []string{"10.0.1.11", "10.0.1.1", "10.0.12.2", "10.0.2.13", f.pod["gw-c"]} {
		if !strings.Contains(hops, hop) {
			t.Errorf("traceroute lacks %s:\n%s", hop, hops)
		}
	}

	stop = f.flow(t, "gw-a", "gw-c", "0.1")
	if err := f.tors.PassPods(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	f.route(t, "gw-a", "ipip", "10.64.3.0/26")
	f.route(t, "gw-c", "ipip", "10.64.1.0/26")
	f.reaches(t, "gw-a", "gw-c")
	sent, lost = stop()
	t.Logf("native to tunnel: %d of %d pings lost at 10/s", lost, sent)
}

// forged: protocol 4 from a stranger on the subnet reaches no pod; the same
// packet from a known gateway's address does, so the detector detects.
func (f *fleet) forged(t *testing.T) {
	stranger, err := f.net.Host(t.Context(), "stranger")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.tors.Attach(t.Context(), f.net, lab.Gateway{Name: "stranger"}, stranger); err != nil {
		t.Fatal(err)
	}
	// It also has gw-b's address, and would go on answering ARP for it.
	defer func() { _, _ = stranger.Run(t.Context(), "ip", "link", "del", "eth0") }()
	for _, cmd := range []string{
		"ip addr add 10.0.1.66/24 dev eth0", "ip addr add 10.0.1.12/32 dev lo",
		"ip link add t0 type ipip local 10.0.1.66 remote 10.0.1.11",
		"ip link add t1 type ipip local 10.0.1.12 remote 10.0.1.11",
		"ip link set t0 up", "ip link set t1 up",
	} {
		if _, err := stranger.Run(t.Context(), strings.Fields(cmd)...); err != nil {
			t.Fatal(err)
		}
	}
	pings := func(tunnel string) []string {
		if _, err := stranger.Run(t.Context(), "ip", "route", "replace", f.pod["gw-a"], "dev", tunnel, "src", "10.0.1.66"); err != nil {
			t.Fatal(err)
		}
		host := f.gw["gw-a"].Host
		link, err := host.Run(t.Context(), "ip", "-o", "route", "get", f.pod["gw-a"])
		if err != nil {
			t.Fatal(err)
		}
		dev := regexp.MustCompile(`dev (\S+)`).FindStringSubmatch(link)[1]
		c, err := host.Capture(t.Context(), "forged-"+tunnel, dev, "icmp and src 10.0.1.66")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = stranger.Run(t.Context(), "ping", "-c", "2", "-i", "0.2", "-W", "1", f.pod["gw-a"])
		return c.Packets()
	}
	if got := pings("t0"); len(got) > 0 {
		t.Errorf("a stranger's tunnel reaches a pod:\n%s", strings.Join(got, "\n"))
	}
	if got := pings("t1"); len(got) == 0 {
		t.Error("nothing arrives from a known gateway's address either: the detector does not detect")
	}
	// A pod can not send protocol 4 itself.
	if _, err := f.gw["gw-a"].InPod(t.Context(), "pod-gw-a", "ip", "link", "add", "t2", "type", "ipip", "local", f.pod["gw-a"], "remote", f.pod["gw-b"]); err != nil {
		t.Fatal(err)
	}
	f.must(t, "gw-a", "ip", "link", "set", "t2", "up")
	f.must(t, "gw-a", "ip", "route", "add", "192.0.2.1", "dev", "t2")
	c, err := f.tors.Hosts[0].Capture(t.Context(), "pod-ipip", "gw-a", "proto 4 and src "+f.pod["gw-a"])
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.gw["gw-a"].InPod(t.Context(), "pod-gw-a", "ping", "-c", "2", "-i", "0.2", "-W", "1", "192.0.2.1")
	if got := c.Packets(); len(got) > 0 {
		t.Errorf("a pod sends IP-in-IP:\n%s", strings.Join(got, "\n"))
	}
	f.must(t, "gw-a", "ip", "link", "del", "t2")
}

// restart: the agent ends, in order and by SIGKILL, and comes back: the pods'
// traffic does not notice, and no neighbour sees a route move.
func (f *fleet) restart(t *testing.T) {
	monitor, err := f.tors.Hosts[0].Start("monitor", "ip", "monitor", "route")
	if err != nil {
		t.Fatal(err)
	}
	before := f.pod["gw-a"]
	for _, how := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL} {
		stops := []func() (int, int){f.flow(t, "gw-a", "gw-b", "0.02"), f.flow(t, "gw-a", "gw-c", "0.02")}
		if err := f.gw["gw-a"].Signal(how); err != nil {
			t.Fatal(err)
		}
		<-f.gw["gw-a"].Done()
		if err := f.gw["gw-a"].Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "all sessions of gw-a", f.gw["gw-a"].Established)
		within(t, time.Minute, "gw-a to settle", func(ctx context.Context) error {
			out, err := f.gw["gw-a"].Ask(ctx, "status")
			if err == nil && strings.Contains(out, "have not told all") {
				err = fmt.Errorf("%s", out)
			}
			return err
		})
		for i, stop := range stops {
			sent, lost := stop()
			t.Logf("%v, flow %d: %d of %d pings lost at 50/s", how, i, lost, sent)
			if lost > 0 {
				t.Errorf("%v: %d of %d pings lost over a restart", how, lost, sent)
			}
		}
	}
	out, err := f.gw["gw-a"].Ask(t.Context(), "pods")
	if err != nil || !strings.Contains(out, before) {
		t.Errorf("pod's address after the restarts: %s %v, want %s", out, err, before)
	}
	monitor.Stop()
	if lines := monitor.Tail(20); lines != "" {
		t.Errorf("routes moved on the ToR:\n%s", lines)
	}
}

// speakerKilled: the BGP process dies by SIGKILL; agent, routes and traffic stay.
func (f *fleet) speakerKilled(t *testing.T) {
	gw := f.gw["gw-a"]
	stop := f.flow(t, "gw-a", "gw-c", "0.02")
	pids, err := gw.Host.Run(t.Context(), "pgrep", "-P", strconv.Itoa(gw.PID()))
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(pids))
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || !strings.Contains(string(status), "Uid:\t179\t179\t179\t179") ||
		!strings.Contains(string(status), "CapEff:\t0000000000000000") || !strings.Contains(string(status), "Seccomp:\t2") {
		t.Errorf("the speaker's privileges (want uid 179, no capability, seccomp): %v\n%s", err, status)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "the speaker's end to be seen", func(context.Context) error {
		if log := gw.Tail(200); !strings.Contains(log, "the BGP speaker died") {
			return fmt.Errorf("log: %s", log)
		}
		return nil
	})
	within(t, time.Minute, "all sessions of gw-a", gw.Established)
	if sent, lost := stop(); lost > 0 {
		t.Errorf("%d of %d pings lost when the speaker died", lost, sent)
	}
}

// linkBounce: the uplink goes down and up; everything comes back by itself.
func (f *fleet) linkBounce(t *testing.T) {
	for _, state := range []string{"down", "up"} {
		if _, err := f.tors.Hosts[0].Run(t.Context(), "ip", "link", "set", "gw-a", state); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "gw-a to see the carrier", func(ctx context.Context) error {
			out, err := f.gw["gw-a"].Ask(ctx, "status")
			if err == nil && strings.Contains(out, "no carrier") != (state == "down") {
				err = fmt.Errorf("%s", out)
			}
			return err
		})
	}
	f.converged(t.Context(), t)
	// The address is taken away behind the agent's back: it is put back, and
	// with it the routes that the kernel dropped.
	if _, err := f.gw["gw-a"].Host.Run(t.Context(), "ip", "addr", "flush", "dev", "uplink0"); err != nil {
		t.Fatal(err)
	}
	f.converged(t.Context(), t)
}

// second: one agent for one gateway, and one program for the port.
func (f *fleet) second(t *testing.T) {
	host := f.gw["gw-b"].Host
	config := filepath.Join(root(t), "configs/examples/lab.toml")
	run := func(dir string, more ...string) string {
		args := append([]string{
			binary(t), "run", "--config", config, "--device", "gw-b", "--data", host.Path("data2"),
			"--run", host.Path(dir), "--netns", host.Path("netns2"),
		}, more...)
		out, err := host.Run(t.Context(), args...)
		if err == nil {
			t.Errorf("a second netd ended without an error:\n%s", out)
		}
		lines := strings.Split(strings.TrimSpace(strings.Split(out, "\n\n")[0]), "\n")
		for i := len(lines) - 1; i >= 0; i-- {
			if strings.HasPrefix(lines[i], "netd run:") {
				return lines[i]
			}
		}
		return out
	}
	if got, want := run("run"), fmt.Sprintf("another netd is running (pid %d", f.gw["gw-b"].PID()); !strings.Contains(got, want) {
		t.Errorf("same run folder: %s, want %s", got, want)
	}
	if got := run("run2"); !strings.Contains(got, "TCP port 179 is taken by another program") {
		t.Errorf("port taken: %s", got)
	}
	f.converged(t.Context(), t)
}

// trouble: a torn state file and a bad configuration are survived and said.
func (f *fleet) trouble(t *testing.T) {
	gw := f.gw["gw-b"]
	gw.Kill()
	if err := os.WriteFile(filepath.Join(gw.Host.Path("data"), "state.db"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := gw.Host.Path("bad.toml")
	if err := os.WriteFile(bad, []byte("schema = 1\n[gatway]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := gw.Host.Netd(t.Context(), binary(t), bad, gw.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	f.gw["gw-b"] = again
	f.converged(t.Context(), t)
	out, err := again.Ask(t.Context(), "status")
	if err != nil || !strings.Contains(out, `bad.toml:2:1: gatway: unknown key`) || !strings.Contains(out, "last-good.toml") {
		t.Errorf("status after a bad file: %s %v", out, err)
	}
	if log := again.Tail(100); !strings.Contains(log, "torn") {
		t.Errorf("log does not tell of the torn state:\n%s", log)
	}
	pods, err := again.Ask(t.Context(), "pods")
	if err != nil || !strings.Contains(pods, f.pod["gw-b"]) {
		t.Errorf("pod of before: %s %v, want %s", pods, err, f.pod["gw-b"])
	}
}
