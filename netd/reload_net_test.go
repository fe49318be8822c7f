//go:build net

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/netd/internal/ownnet"
)

// change writes the file with the replacements made, and returns its path.
func (w *world) change(t *testing.T, from, to string, replace ...string) string {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%q is not in\n%s", replace[i], text)
		}
		text = strings.Replace(text, replace[i], replace[i+1], 1)
	}
	if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// shows waits for something that a program on the host prints; a "!" before it waits
// for its end.
func shows(t *testing.T, h *lab.Host, want string, args ...string) {
	t.Helper()
	within(t, time.Minute, fmt.Sprintf("%s on %s: %s", strings.Join(args, " "), h.Name, want), func(ctx context.Context) error {
		out, err := h.Run(ctx, args...)
		text, absent := strings.CutPrefix(want, "!")
		if err == nil && strings.Contains(nextHopID.ReplaceAllString(out, ""), text) == absent {
			err = errors.New(out)
		}
		return err
	})
}

// ask runs a verb that must succeed and say what is wanted.
func ask(t *testing.T, gw *lab.Netd, want, verb string, args ...string) string {
	t.Helper()
	out, err := gw.Ask(t.Context(), verb, args...)
	if err != nil || !strings.Contains(out, want) {
		t.Fatalf("netd %s %s: %v, want %q in\n%s", verb, strings.Join(args, " "), err, want, out)
	}
	return out
}

// changes runs a verb that changes the configuration and must say what is wanted. Its
// status may be 1: without lease, or while the speaker starts again, not all works yet.
func changes(t *testing.T, gw *lab.Netd, want, verb string, args ...string) string {
	t.Helper()
	out, err := gw.Ask(t.Context(), verb, args...)
	if !strings.Contains(out, want) {
		t.Fatalf("netd %s %s: %v, want %q in\n%s", verb, strings.Join(args, " "), err, want, out)
	}
	return out
}

// refuses runs a verb that must fail and say why.
func refuses(t *testing.T, gw *lab.Netd, want, verb string, args ...string) {
	t.Helper()
	out, err := gw.Ask(t.Context(), verb, args...)
	if err == nil || !strings.Contains(out, want) {
		t.Errorf("netd %s %s: %v, want it to fail with %q:\n%s", verb, strings.Join(args, " "), err, want, out)
	}
}

// Every part of a configuration follows a reload, and nothing else moves.
func TestReload(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		bird := w.bird(t, "10.0.1.11")
		file := w.config(t, static, "never")
		gw := w.start(t, file)
		within(t, time.Minute, "the session", gw.Established)
		ask(t, gw, "web-0 10.64.1.0 dev pod", "pod", "add", "web-0")
		ask(t, gw, "no value has changed", "reload")

		// A bad file touches nothing, and all its errors are told.
		bad := w.change(t, file, w.gw.Path("bad.toml"), "as = 65001", "as = 0", `"tor1"`, `"TOR"`)
		refuses(t, gw, `bgp.peer[TOR].name: "TOR": expected`, "reload", bad)
		refuses(t, gw, "as: 0: expected", "reload", bad)

		// Another block: the pod that runs gets an address of it, and the ToR learns.
		w.change(t, file, file, `block = "10.64.1.0/26"`, `block = "10.64.7.0/26"`, `name = "gw"`, `name = "gw-x"`)
		ask(t, gw, `block: "10.64.1.0/26" -> "10.64.7.0/26"`, "reload", "--dry-run")
		ask(t, gw, "10.64.1.0", "pods")
		out := changes(t, gw, `pool[pods].block: "10.64.1.0/26" -> "10.64.7.0/26"`, "reload")
		if !strings.Contains(out, `gateway.name: "gw" -> "gw-x"`) {
			t.Errorf("reload: %s", out)
		}
		ask(t, gw, "10.64.7.0", "pods")
		shows(t, w.gw, "blackhole 10.64.7.0/26", "ip", "route")
		shows(t, w.gw, "!10.64.1.0", "ip", "route")
		within(t, time.Minute, "the new block on the ToR, alone", func(ctx context.Context) error {
			out, err := bird.Ask(ctx, "show route protocol gateway1")
			if err == nil && (!strings.Contains(out, "10.64.7.0/26") || strings.Contains(out, "10.64.1.0/26")) {
				err = errors.New(out)
			}
			return err
		})
		if out, err := gw.InPod(t.Context(), "web-0", "ip", "addr", "show", "dev", "eth0"); err != nil || !strings.Contains(out, "10.64.7.0/32") || strings.Contains(out, "10.64.1.0") {
			t.Errorf("the pod: %v\n%s", err, out)
		}

		// Another address and a second one, by SIGHUP; what is not netd's stays.
		w.must(t, w.gw, "ip addr add 192.0.2.1/32 dev uplink0")
		w.change(t, file, file, `["10.0.1.11/24"]`, `["10.0.1.12/24", "10.0.9.1/32"]`)
		if err := gw.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		shows(t, w.gw, "inet 10.0.9.1/32", "ip", "addr", "show", "dev", "uplink0")
		shows(t, w.gw, "!10.0.1.11", "ip", "addr", "show", "dev", "uplink0")
		shows(t, w.gw, "inet 192.0.2.1/32", "ip", "addr", "show", "dev", "uplink0")
		within(t, time.Minute, "the status", says(gw, "router id 10.0.1.12", "status"))

		// What this kernel can not do is refused, and undone. (One with ipip can.)
		if _, err := w.gw.Run(t.Context(), "ip", "link", "add", "t0", "type", "ipip", "local", "10.0.1.12"); err != nil {
			wrong := w.change(t, file, w.gw.Path("ipip.toml"), `encapsulation = "never"`, `encapsulation = "always"`)
			refuses(t, gw, `this kernel has no ipip`, "apply", wrong)
			ask(t, gw, "no value has changed", "reload")
		}

		// Workloads come, change their number and go. (Their containers are the vm tier's.)
		const web = "[[workload]]\nname = \"web\"\nimage = \"web.tar\"\nreplicas = 2\n"
		w.change(t, file, file, "[[pool]]", web+"[[pool]]")
		ask(t, gw, "+ workload[web]: ", "reload")
		within(t, time.Minute, "the second pod", says(gw, "web-1  waiting", "pods"))
		w.change(t, file, file, "replicas = 2", "replicas = 1")
		ask(t, gw, "workload[web].replicas: 2 -> 1", "reload")
		if out := ask(t, gw, "web-0", "pods"); strings.Contains(out, "web-1") {
			t.Errorf("pods:\n%s", out)
		}
		w.change(t, file, file, "[[workload]]\nname = \"web\"\nimage = \"web.tar\"\nreplicas = 1\n", "")
		ask(t, gw, "- workload[web]: ", "reload")
		ask(t, gw, "web-0  network", "pods") // made by hand

		// An uplink that goes takes its address along, but not its link.
		w.must(t, w.gw, "ip link add eth5 type veth peer name eth6")
		w.change(t, file, file, "[bgp]", "[[uplink]]\nname = \"uplink1\"\nmatch = { name = \"eth5\" }\naddress = [\"10.0.5.1/24\"]\n[bgp]")
		changes(t, gw, "+ uplink[uplink1]", "reload")
		shows(t, w.gw, "inet 10.0.5.1/24", "ip", "addr", "show", "dev", "uplink1")
		w.change(t, file, file, "[[uplink]]\nname = \"uplink1\"\nmatch = { name = \"eth5\" }\naddress = [\"10.0.5.1/24\"]\n", "")
		changes(t, gw, "- uplink[uplink1]", "reload")
		shows(t, w.gw, "!10.0.5.1", "ip", "addr", "show", "dev", "uplink1")
	})
}

// An uplink changes from static to DHCP and back.
func TestReloadToDHCP(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		w.bird(t, "10.0.1.50")
		if _, err := w.tor.Start("dnsmasq", "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--port=0",
			"--interface=tor0", "--bind-interfaces", "--user=root", "--pid-file=", "--dhcp-authoritative", "--no-ping",
			"--dhcp-leasefile="+w.tor.Path("leases"), "--dhcp-range=10.0.1.50,10.0.1.50,2m"); err != nil {
			t.Fatal(err)
		}
		file := w.config(t, static, "never")
		gw := w.start(t, file)
		w.config(t, "dhcp = true", "never")
		changes(t, gw, "uplink[uplink0].dhcp: false -> true", "reload")
		within(t, time.Minute, "the lease, alone", says(gw, "uplink   uplink0 10.0.1.50/24, MTU", "status"))
		within(t, time.Minute, "the session", gw.Established)
		w.config(t, static, "never")
		changes(t, gw, "uplink[uplink0].dhcp: true -> false", "reload")
		ask(t, gw, "uplink   uplink0 10.0.1.11/24, MTU", "status")
		// The task has ended: no lease comes back when the server offers one.
		if out := gw.Tail(1000); strings.Count(out, "msg=\"DHCP lease\"") != 1 {
			t.Errorf("log:\n%s", out)
		}
	})
}

// Sessions that a change does not concern do not notice it, at either end.
func TestReloadPeers(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		w.must(t, w.tor, "ip addr add 10.0.1.2/24 dev tor0")
		protocol := func(n int) string {
			return fmt.Sprintf("protocol bgp gateway%d { local 10.0.1.%[1]d as 65001; neighbor 10.0.1.1%[1]d as 65101; connect delay time 1; ipv4 { import all; export none; }; }\n", n)
		}
		bird, err := w.tor.Bird(t.Context(), "router id 10.0.1.1;\nlog stderr all;\nprotocol device {}\n"+protocol(1)+protocol(2))
		if err != nil {
			t.Fatal(err)
		}
		// (BIRD has one session with an address.)
		file := w.config(t, `address = ["10.0.1.11/24", "10.0.1.12/24"]`, "never")
		gw := w.start(t, file)
		within(t, time.Minute, "the session", gw.Established)
		// BIRD's line has the time since when the session is up.
		line := func() string {
			t.Helper()
			out, err := bird.Ask(t.Context(), "show protocols gateway1")
			if err != nil || !strings.Contains(out, "Established") {
				t.Fatalf("%v\n%s", err, out)
			}
			return out
		}
		before := line()
		const tor2 = "[[bgp.peer]]\nname = \"tor2\"\naddress = \"10.0.1.2\"\nsource = \"10.0.1.12\"\nas = 65001\n"
		second := func(want string) {
			t.Helper()
			within(t, time.Minute, "gateway2 "+want, func(ctx context.Context) error {
				out, err := bird.Ask(ctx, "show protocols gateway2")
				if err == nil && strings.Contains(out, "Established") != (want == "up") {
					err = errors.New(out)
				}
				return err
			})
		}
		w.change(t, file, file, "[[pool]]", tor2+"[[pool]]")
		ask(t, gw, "+ bgp.peer[tor2]: address = \"10.0.1.2\"", "reload")
		second("up")
		w.change(t, file, file, tor2, tor2+"max-prefixes = 7\n")
		ask(t, gw, "bgp.peer[tor2].max-prefixes: 10000 -> 7", "reload")
		second("up")
		w.change(t, file, file, `block = "10.64.1.0/26"`, `block = "10.64.7.0/26"`)
		ask(t, gw, "pool[pods].block", "reload")
		within(t, time.Minute, "the other block on the ToR", func(ctx context.Context) error {
			out, err := bird.Ask(ctx, "show route 10.64.7.0/26")
			if err == nil && !strings.Contains(out, "gateway1") {
				err = errors.New(out)
			}
			return err
		})
		w.change(t, file, file, tor2+"max-prefixes = 7\n", "")
		ask(t, gw, "- bgp.peer[tor2]", "reload")
		second("down")
		if after := line(); after != before {
			t.Errorf("the session that nothing concerned:\n%s, before\n%s", after, before)
		}
	})
}

// A configuration on trial that cuts the gateway off is rolled back by itself, and
// the session returns; one that is confirmed stays.
func TestTrial(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		w.bird(t, "10.0.1.11")
		file := w.config(t, static, "never")
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		active := func(want string) {
			t.Helper()
			if b, err := os.ReadFile(file); err != nil || string(b) != want {
				t.Errorf("the active file: %v\n%s\nwant\n%s", err, b, want)
			}
			for _, pattern := range []string{file + ".trial", file + "*.new-*", w.gw.Path("data") + "/*.new-*"} {
				if left, _ := filepath.Glob(pattern); left != nil {
					t.Errorf("left behind: %v", left)
				}
			}
		}
		gw := w.start(t, file)
		within(t, time.Minute, "the session", gw.Established)
		refuses(t, gw, "nothing is on trial", "rollback")

		// A wrong address of the uplink, and of the peer.
		cut := w.change(t, file, w.gw.Path("cut.toml"), "10.0.1.11/24", "10.0.1.99/24", `address = "10.0.1.1"`, `address = "10.0.1.77"`)
		out := changes(t, gw, "on trial for", "apply", "--confirm", "3s", cut)
		if !strings.Contains(out, `bgp.peer[tor1].address: "10.0.1.1" -> "10.0.1.77"`) {
			t.Errorf("apply: %s", out)
		}
		shows(t, w.gw, "10.0.1.99", "ip", "addr")
		within(t, time.Minute, "the trial to be rolled back", says(gw, "cut.toml was rolled back: nobody confirmed it in time", "status"))
		shows(t, w.gw, "!10.0.1.99", "ip", "addr")
		within(t, time.Minute, "the session after the trial", gw.Established)
		active(string(before))
		refuses(t, gw, "nobody confirmed it in time", "confirm")

		// One that is confirmed. Asked again, as after a broken connection, nothing is
		// different; something else has to wait.
		good := w.change(t, file, w.gw.Path("good.toml"), "address = [\"10.0.1.11/24\"]", "address = [\"10.0.1.11/24\", \"10.0.9.9/32\"]")
		changes(t, gw, "on trial for", "apply", "--confirm", "5m", good)
		changes(t, gw, "trial", "apply", "--confirm", "5m", good, "--json")
		ask(t, gw, "good.toml is on trial for another", "status")
		for _, args := range [][]string{{"apply", cut}, {"apply", "--confirm", "5m", cut}, {"reload"}} {
			refuses(t, gw, "good.toml is on trial for another", args[0], args[1:]...)
		}
		changes(t, gw, "in use: "+file, "confirm")
		changes(t, gw, "in use: "+file, "confirm")
		after, err := os.ReadFile(good)
		if err != nil {
			t.Fatal(err)
		}
		active(string(after))
		gw.Kill()
		if err := gw.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		shows(t, w.gw, "10.0.9.9", "ip", "addr")

		// Nobody can confirm when the agent is killed: its next life has the former one.
		changes(t, gw, "on trial for", "apply", "--confirm", "5m", cut)
		gw.Kill()
		if err := gw.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		ask(t, gw, "was rolled back: the agent was restarted before netd confirm", "status")
		shows(t, w.gw, "!10.0.1.99", "ip", "addr")
		within(t, time.Minute, "the session after the restart", gw.Established)
		active(string(after))
		if b, err := os.ReadFile(file + ".rejected"); err != nil || !strings.Contains(string(b), "10.0.1.99") {
			t.Errorf("the rejected file: %v\n%s", err, b)
		}
		// By hand, at once.
		changes(t, gw, "on trial for", "apply", "--confirm", "5m", cut)
		changes(t, gw, "in use: "+file, "rollback")
		within(t, time.Minute, "the session after a roll-back", gw.Established)
	})
}

// Killed at any moment of an apply, the next life has the old file or the new one.
func TestApplyKilled(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		file := w.config(t, static, "never")
		one := w.change(t, file, w.gw.Path("one.toml"), `name = "gw"`, `name = "one"`)
		two := w.change(t, file, w.gw.Path("two.toml"), `name = "gw"`, `name = "two"`, "10.0.1.11/24", "10.0.1.12/24")
		w.change(t, one, file)
		texts := map[string]string{}
		for name, f := range map[string]string{"one": one, "two": two} {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			texts[name] = string(b)
		}
		gw := w.start(t, file)
		seen := map[string]int{}
		for i := range 16 {
			next := two
			if b, _ := os.ReadFile(file); string(b) == texts["two"] {
				next = one
			}
			args := [][]string{{"apply", next}, {"apply", "--confirm", "5m", next}}[i%2]
			asked := make(chan struct{})
			go func() {
				defer close(asked)
				_, _ = gw.Ask(t.Context(), args[0], args[1:]...) // it is killed meanwhile
			}()
			<-time.After(time.Duration(i/2) * 15 * time.Millisecond) // Where it hits is luck; every place must do.
			gw.Kill()
			<-asked
			b, err := os.ReadFile(file)
			if err != nil || string(b) != texts["one"] && string(b) != texts["two"] {
				t.Fatalf("kill %d left a file that is neither: %v\n%s", i, err, b)
			}
			if err := gw.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			name := "one"
			if string(b) == texts["two"] {
				name = "two"
			}
			seen[name]++
			ask(t, gw, "gateway  "+name+",", "status")
			within(t, time.Minute, "the address of the file, alone", func(ctx context.Context) error {
				out, err := w.gw.Run(ctx, "ip", "addr", "show", "dev", "uplink0")
				if err == nil && strings.Contains(out, "10.0.1.12/24") != (name == "two") || strings.Contains(out, "10.0.1.11/24") != (name == "one") {
					err = errors.New(out)
				}
				return err
			})
			if left, _ := filepath.Glob(file + "*.new-*"); left != nil {
				t.Errorf("left behind: %v", left)
			}
		}
		t.Logf("after 16 kills: %v", seen)
	})
}

// What can not be written is not applied: the file in use, on disk and in the kernel,
// stays the former one.
func TestApplyOnFullDisk(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		small := w.gw.Path("small")
		if err := errors.Join(os.Mkdir(small, 0o755), syscall.Mount("tmpfs", small, "tmpfs", 0, "size=64k")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
		source := w.config(t, static, "never")
		file := w.change(t, source, filepath.Join(small, "netd.toml"))
		next := w.change(t, source, w.gw.Path("next.toml"), "10.0.1.11/24", "10.0.1.12/24")
		gw := w.start(t, file)
		ballast := filepath.Join(small, "ballast")
		if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("fill the partition: %v", err)
		}
		refuses(t, gw, "no space left on device; nothing was changed", "apply", "--confirm", "5m", next)
		refuses(t, gw, "no space left on device; the former one is in use", "apply", next)
		shows(t, w.gw, "inet 10.0.1.11/24", "ip", "addr", "show", "dev", "uplink0")
		shows(t, w.gw, "!10.0.1.12", "ip", "addr", "show", "dev", "uplink0")
		ask(t, gw, "no value has changed", "reload")
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		changes(t, gw, "in use: "+file, "apply", next)
		shows(t, w.gw, "inet 10.0.1.12/24", "ip", "addr", "show", "dev", "uplink0")
	})
}
