//go:build net

package daemon_test

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
	"netd/firmware/lab/patience"
	"netd/netd/internal/api"
	"netd/netd/internal/ownnet"
)

// learnedPrefix is what both ToRs announce.
const learnedPrefix = "10.64.3.0/26"

// rack is a gateway and two ToRs on one subnet, joined by a switch that forwards
// whatever state they are in: the gateway's carrier tells nothing.
type rack struct {
	net    *lab.Net
	sw     *lab.Host
	gw     *lab.Netd
	birds  map[string]*lab.Bird // by the ToR's address
	wires  map[string]string    // the switch's port, by the ToR's address
	config string
	flaps  map[string]int // of BFD, when all was settled: a busy machine's
}

func rackConfig(bfd string) string {
	peers := ""
	for i, address := range []string{"10.0.1.1", "10.0.1.2"} {
		peers += fmt.Sprintf("[[bgp.peer]]\nname = \"tor%d\"\naddress = %q\nas = 6500%d\n%s\n", i+1, address, i+1, bfd)
	}
	return `schema = 1
[gateway]
name = "gw-a"
[[uplink]]
name = "uplink0"
match = { name = "eth0" }
address = ["10.0.1.11/24"]
[bgp]
as = 65101
hold-time = "90s"
` + peers + `
[[pool]]
name = "pods"
prefix = "10.64.0.0/16"
block = "10.64.1.0/26"
encapsulation = "never"
`
}

func rackBird(address string, as, ms int) string {
	return fmt.Sprintf(`router id %[1]s;
log stderr all;
debug protocols { events };
protocol device {}
protocol bfd { interface "*" { min rx interval %[4]d ms; min tx interval %[4]d ms; multiplier 3; }; }
protocol static { ipv4; route %[2]s blackhole; }
protocol bgp gw_a {
	local %[1]s as %[3]d;
	neighbor 10.0.1.11 as 65101;
	hold time 90;
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 2;
	bfd on;
	ipv4 { import all; export all; next hop self; };
}
`, address, learnedPrefix, as, ms)
}

// newRack makes one with BFD at the interval of so many milliseconds.
func newRack(t *testing.T, ms int) *rack {
	t.Helper()
	ctx := t.Context()
	dir, err := os.MkdirTemp("", "rack-") // t.TempDir is closed to the speaker's user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n, err := lab.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := &rack{net: n, birds: map[string]*lab.Bird{}, wires: map[string]string{}, config: filepath.Join(dir, "gw-a.toml")}
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
			for _, l := range logs {
				b, _ := os.ReadFile(l)
				t.Logf("=== %s\n%s", filepath.Base(l), b[max(0, len(b)-8000):])
			}
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	host := func(name string, lines ...string) *lab.Host {
		h, err := n.Host(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if r.sw == nil {
			r.sw = h
		} else {
			if err := n.Wire(ctx, h, "eth0", r.sw, name); err != nil {
				t.Fatal(err)
			}
			rackRun(t, r.sw, "ip link set "+name+" master br0")
		}
		for _, line := range lines {
			rackRun(t, h, line)
		}
		return h
	}
	host("switch", "ip link add br0 type bridge forward_delay 0", "ip link set br0 up")
	for i, address := range []string{"10.0.1.1", "10.0.1.2"} {
		name := fmt.Sprintf("tor%d", i+1)
		h := host(name, "ip addr add "+address+"/24 dev eth0")
		if r.birds[address], err = h.Bird(ctx, rackBird(address, 65001+i, ms)); err != nil {
			t.Fatal(err)
		}
		r.wires[address] = name
	}
	if err := os.WriteFile(r.config, []byte(rackConfig(fmt.Sprintf(`bfd = { min-tx = "%dms", min-rx = "%[1]dms", multiplier = 3 }`, ms))), 0o644); err != nil {
		t.Fatal(err)
	}
	bin, err := filepath.Abs("../../../bin/amd64/netd")
	if err != nil {
		t.Fatal(err)
	}
	if r.gw, err = host("gw-a").Netd(ctx, bin, r.config, lab.Gateway{Name: "gw-a"}); err != nil {
		t.Fatal(err)
	}
	r.settled(t, ms)
	return r
}

func rackRun(t *testing.T, h *lab.Host, line string) string {
	t.Helper()
	out, err := h.Run(t.Context(), strings.Fields(line)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// peers asks the agent.
func (r *rack) peers(ctx context.Context) (map[string]api.Peer, error) {
	var list []api.Peer
	err := r.gw.JSON(ctx, &list, "peers")
	peers := map[string]api.Peer{}
	for _, p := range list {
		peers[p.Address.String()] = p
	}
	return peers, err
}

// settled waits until both sessions are Established and watched.
func (r *rack) settled(t *testing.T, ms int) {
	t.Helper()
	ownnet.Within(t, time.Minute, "both ToRs, with BFD", func() error {
		peers, err := r.peers(t.Context())
		for _, p := range peers {
			if p.State != "Established" || p.Accepted != 1 || p.BFD == nil || p.BFD.State != "Up" || p.BFD.RemoteState != "Up" || p.BFD.DetectMS != int64(3*ms) {
				err = errors.Join(err, fmt.Errorf("%+v, BFD %+v", p, p.BFD))
			}
		}
		if len(peers) != 2 {
			err = errors.Join(err, fmt.Errorf("%d peers", len(peers)))
		}
		return err
	})
	ownnet.Within(t, 30*time.Second, "the first round to be over", func() error {
		var s api.Status
		if err := r.gw.JSON(t.Context(), &s, "status"); err != nil || !s.Settled {
			return fmt.Errorf("%+v %w", s, err)
		}
		return nil
	})
	peers, err := r.peers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.flaps = map[string]int{}
	for address, p := range peers {
		r.flaps[address] = p.BFD.Flaps
	}
}

// via is the kernel's next hop for the learned prefix, "" if it has no route.
func (r *rack) via(t *testing.T) string {
	t.Helper()
	fields := strings.Fields(rackRun(t, r.gw.Host, "ip route show "+learnedPrefix+" proto 120"))
	for i, f := range fields {
		if f == "via" {
			return fields[i+1]
		}
	}
	return ""
}

func other(address string) string {
	return map[string]string{"10.0.1.1": "10.0.1.2", "10.0.1.2": "10.0.1.1"}[address]
}

// failsOver waits until the kernel's route leaves the ToR, and compares the time
// with the BGP hold time of 90 s.
func (r *rack) failsOver(t *testing.T, from string, watch *patience.Stopwatch) {
	t.Helper()
	ownnet.Within(t, 20*time.Second, "the route to leave "+from, func() error {
		if v := r.via(t); v != other(from) {
			return fmt.Errorf("it is via %q", v)
		}
		return nil
	})
	watch.Stop()
	t.Logf("the route left %s after %s (detection time 150 ms, BGP hold time 90 s)", from, watch)
	if watch.Took()-watch.Lost() > 2*time.Second {
		t.Errorf("%s is not at once", watch)
	}
	ownnet.Within(t, 20*time.Second, "the agent to say so", func() error {
		peers, err := r.peers(t.Context())
		p := peers[from]
		if err != nil || p.State == "Established" || p.BFD == nil || !p.BFD.Lost || p.BFD.Flaps == 0 {
			return fmt.Errorf("%+v, BFD %+v, %w", p, p.BFD, err)
		}
		return nil
	})
	if p, _ := r.peers(t.Context()); p[other(from)].State != "Established" || p[other(from)].BFD.Flaps > r.flaps[other(from)] {
		t.Errorf("the other ToR: %+v, BFD %+v", p[other(from)], p[other(from)].BFD)
	}
}

// TestSilentToR: a ToR that falls silent takes its routes with it at once, whether
// it hangs or the wire behind the switch is cut; when it is back, so are they.
func TestSilentToR(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		r := newRack(t, 50)
		from := r.via(t)
		if other(from) == "" {
			t.Fatalf("before: via %q", from)
		}
		watch := patience.Start()
		if err := r.birds[from].Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		r.failsOver(t, from, watch)
		if err := r.birds[from].Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		ownnet.Within(t, time.Minute, "the ToR to be used again", func() error {
			peers, err := r.peers(t.Context())
			if p := peers[from]; err != nil || p.State != "Established" || p.Accepted != 1 || p.BFD.Lost {
				return fmt.Errorf("%+v, BFD %+v, %w", p, p.BFD, err)
			}
			return nil
		})
	})
}

// TestCutWire: the wire behind the switch is cut.
func TestCutWire(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		r := newRack(t, 50)
		from := r.via(t)
		watch := patience.Start()
		rackRun(t, r.sw, "ip link set "+r.wires[from]+" nomaster") // its carrier stays
		r.failsOver(t, from, watch)
	})
}

// TestRestartWithBFD: over a restart of the agent both ends keep their routes: BFD goes
// on, and BGP restarts gracefully.
func TestRestartWithBFD(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		r := newRack(t, 300)
		kept := func(when string) {
			t.Helper()
			if r.via(t) == "" {
				t.Errorf("%s the gateway's kernel has lost the route", when)
			}
			for address, b := range r.birds {
				if out, err := b.Ask(t.Context(), "show route 10.64.1.0/26"); err != nil || !strings.Contains(out, "via 10.0.1.11") {
					t.Errorf("%s the ToR %s has lost the gateway's block: %v\n%s", when, address, err, out)
				}
			}
		}
		kept("before")
		if err := r.gw.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-r.gw.Done()
		kept("after its end")
		if err := r.gw.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		kept("at its return")
		r.settled(t, 300)
		kept("at last")
		for address, b := range r.birds {
			if log := b.Tail(1000); strings.Contains(log, "changed state from Up to Down") {
				t.Errorf("the ToR %s saw an end of BFD:\n%s", address, log)
			}
		}
	})
}

// A session that ends in order says why before its BFD goes: a ToR that sees BFD go first
// counts a failure and reads no more.
func TestGoodbyeWithBFD(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		r := newRack(t, 300)
		const why = "rack 7 moves"
		said := func(words string) {
			t.Helper()
			within(t, time.Minute, "both ToRs to be told "+words, func(context.Context) error {
				for address, b := range r.birds {
					if log := b.Tail(1000); !strings.Contains(log, words) || strings.Contains(log, "due to errors") {
						return fmt.Errorf("%s:\n%s", address, log)
					}
				}
				return nil
			})
		}
		for _, tor := range []string{"tor1", "tor2"} {
			if out, err := r.gw.Ask(t.Context(), "peer", "down", tor, "--message", why); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		said(why)
		for _, tor := range []string{"tor1", "tor2"} {
			if out, err := r.gw.Ask(t.Context(), "peer", "up", tor); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		r.settled(t, 300)
		if err := r.gw.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		<-r.gw.Done()
		said("the gateway goes down")
	})
}
