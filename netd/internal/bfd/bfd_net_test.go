//go:build net

package bfd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netd/firmware/lab"
	clock "netd/firmware/lab/patience"
	"netd/netd/internal/ownnet"
	"netd/netd/layout"
)

const patience = 20 * time.Second

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// newToR makes a switch, joined by a wire to this namespace, which is the gateway:
// 10.0.1.11 here, 10.0.1.1 and 10.0.1.2 there.
func newToR(t *testing.T) (*lab.Net, *lab.Host) {
	t.Helper()
	n, err := lab.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	tor, err := n.Host(t.Context(), "tor")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"ip link set lo up", "ip link add uplink0 type veth peer name gw netns " + tor.Netns(),
		"ip addr add 10.0.1.11/24 dev uplink0", "ip link set uplink0 up",
	} {
		ownnet.Command(t, line)
	}
	on(t, tor, "ip addr add 10.0.1.1/24 dev gw", "ip addr add 10.0.1.2/24 dev gw", "ip link set gw up")
	return n, tor
}

func on(t *testing.T, h *lab.Host, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if _, err := h.Run(t.Context(), strings.Fields(line)...); err != nil {
			t.Fatal(err)
		}
	}
}

// birdConfig is a BIRD with nothing but BFD toward the gateway.
func birdConfig(ms int, neighbor string) string {
	timers := fmt.Sprintf("min rx interval %d ms; min tx interval %d ms; idle tx interval 1000 ms; multiplier 3;", ms, ms)
	return fmt.Sprintf(`router id 10.0.1.1;
log stderr all;
debug protocols all;
protocol device {}
protocol bfd bfd1 {
	interface "*" { %[1]s };
	multihop { %[1]s };
	neighbor %[2]s;
}
`, timers, neighbor)
}

// start runs a Monitor until the returned function is called, or the test ends.
func start(t *testing.T, sessions ...Session) (*Monitor, func()) {
	t.Helper()
	m, err := New()
	if err != nil {
		t.Fatal(err)
	}
	m.Set(sessions)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stop := func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		done <- context.Canceled
	}
	t.Cleanup(stop)
	return m, stop
}

// until waits until the only session is as cond says.
func until(t *testing.T, m *Monitor, what string, cond func(Status) bool) Status {
	t.Helper()
	var s Status
	ownnet.Within(t, patience, what, func() error {
		all, err := m.Statuses()
		if err != nil || len(all) != 1 {
			return fmt.Errorf("%+v, %w", all, err)
		}
		if s = all[0]; !cond(s) {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	return s
}

func is(state State) func(Status) bool { return func(s Status) bool { return s.State == state } }

func session(ms int) Session {
	d := time.Duration(ms) * time.Millisecond
	return Session{Peer: "tor", Local: ip("10.0.1.11"), Remote: ip("10.0.1.1"), Timers: Timers{MinTx: d, MinRx: d, Multiplier: 3}}
}

// sessions is what BIRD says of its only session: state, interval, timeout.
func sessions(t *testing.T, b *lab.Bird) (state, interval, timeout string) {
	t.Helper()
	out, err := b.Ask(t.Context(), "show bfd sessions")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^10\.\S+\s+\S+\s+(\S+)\s+\S+\s+(\S+)\s+(\S+)$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("BIRD shows no session:\n%s", out)
	}
	return m[1], m[2], m[3]
}

func bird(t *testing.T, h *lab.Host, conf string) *lab.Bird {
	t.Helper()
	b, err := h.Bird(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("BIRD:\n%s", b.Tail(60))
		}
	})
	return b
}

// TestBird: a session with BIRD comes up, both ends use the same intervals, changed
// ones too; a BIRD that stops is noticed within the detection time, one that is
// alive never is.
func TestBird(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		_, tor := newToR(t)
		b := bird(t, tor, birdConfig(50, "10.0.1.11"))
		m, _ := start(t, session(50))
		agree := func(ms int) {
			t.Helper()
			each, all := time.Duration(ms)*time.Millisecond, time.Duration(3*ms)*time.Millisecond
			until(t, m, "the negotiated intervals", func(s Status) bool {
				return s.State == Up && s.RemoteState == Up && s.Transmit == each && s.Detect == all
			})
			ownnet.Within(t, patience, "BIRD's intervals", func() error {
				state, interval, timeout := sessions(t, b)
				if state != "Up" || interval != fmt.Sprintf("%.3f", each.Seconds()) || timeout != fmt.Sprintf("%.3f", all.Seconds()) {
					return fmt.Errorf("%s %s %s", state, interval, timeout)
				}
				return nil
			})
		}
		agree(50)
		flaps := func() int { return until(t, m, "a look", func(Status) bool { return true }).Flaps }
		// A BIRD that gets no CPU for 150 ms is lost, rightly; but not each time.
		for attempt := 1; ; attempt++ {
			before := flaps()
			m.Set([]Session{session(200)}) // longer, by Poll and Final
			agree(200)
			m.Set([]Session{session(50)})
			agree(50)
			if flaps() == before {
				break
			}
			if attempt == 5 {
				t.Fatal("each change of the intervals lost the session")
			}
		}

		before := flaps()
		if err := b.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		stopped, watch := time.Now(), clock.Start()
		defer watch.Stop()
		s := until(t, m, "the loss", is(Down))
		if took := s.Failed.Sub(stopped) - watch.Lost(); s.Failed.IsZero() || took > time.Second {
			t.Errorf("noticed after %s, want 3 × 50 ms and what a busy machine adds: %+v", took, s)
		} else {
			t.Logf("noticed %s after SIGSTOP", took)
		}
		if s.Reason != DiagTimeExpired.String() {
			t.Errorf("reason %q", s.Reason)
		}
		if err := b.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if s := until(t, m, "the return", is(Up)); !s.Failed.IsZero() || s.Flaps <= before {
			t.Errorf("after the return: %+v", s)
		}
	})
}

// upExpired is what BIRD says of a session that it takes for lost.
var upExpired = regexp.MustCompile(`expired\n.*from Up to Down`)

// TestEnd: a Monitor that ends, and the next one, are no failure to BIRD.
func TestEnd(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		_, tor := newToR(t)
		b := bird(t, tor, birdConfig(50, "10.0.1.11"))
		m, stop := start(t, session(50))
		until(t, m, "a session", func(s Status) bool { return s.State == Up && s.RemoteState == Up })
		stop()
		ownnet.Within(t, patience, "BIRD to hear of it", func() error {
			if state, _, _ := sessions(t, b); state == "Up" {
				return errors.New(state)
			}
			return nil
		})
		again, _ := start(t, session(50))
		until(t, again, "a session again", is(Up))
		// After AdminDown BIRD's timer runs on, and may run out: a failure only if Up.
		if log := b.Tail(1000); !strings.Contains(log, "CTL received from 10.0.1.11 [AdminDown") || upExpired.MatchString(log) {
			t.Errorf("no AdminDown, or a failure, in BIRD's log:\n%s", log)
		}
	})
}

// TestMultihop: over a router, both directions by UDP port 4784.
func TestMultihop(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		n, router := newToR(t)
		far, err := n.Host(t.Context(), "far")
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Wire(t.Context(), router, "far", far, "eth0"); err != nil {
			t.Fatal(err)
		}
		on(t, router, "sysctl -qw net.ipv4.ip_forward=1", "ip addr add 10.0.2.1/24 dev far")
		on(t, far, "ip addr add 10.0.2.13/24 dev eth0", "ip route add default via 10.0.2.1")
		ownnet.Command(t, "ip route add 10.0.2.0/24 via 10.0.1.1")
		b := bird(t, far, birdConfig(50, "10.0.1.11 local 10.0.2.13 multihop on"))
		s := session(50)
		s.Remote, s.Multihop = ip("10.0.2.13"), true
		m, _ := start(t, s)
		until(t, m, "a session over the router", func(s Status) bool { return s.State == Up && s.Detect == 150*time.Millisecond })
		if state, _, timeout := sessions(t, b); state != "Up" || timeout != "0.150" {
			t.Errorf("BIRD: %s %s", state, timeout)
		}
		on(t, router, "ip link set far down")
		if s := until(t, m, "the loss", is(Down)); s.Failed.IsZero() {
			t.Errorf("%+v", s)
		}
	})
}

// speaker is a socket of another host that says what no BFD speaker would.
type speaker struct {
	t  *testing.T
	fd int
}

// newSpeaker opens a socket in the host's namespace.
func newSpeaker(t *testing.T, h *lab.Host, from string) *speaker {
	t.Helper()
	s := &speaker{t: t}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends in the other namespace
		done <- func() error {
			f, err := os.Open("/run/netns/" + h.Netns())
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			if s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			return unix.Bind(s.fd, sockaddr(ip(from), 50000))
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(s.fd) })
	return s
}

func (s *speaker) say(ttl int, b []byte) {
	s.t.Helper()
	err := errors.Join(unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_TTL, ttl), unix.Sendto(s.fd, b, 0, sockaddr(ip("10.0.1.11"), layout.BFDPort)))
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestHostile: what must not be believed, and AdminDown, which is no failure.
func TestHostile(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		_, tor := newToR(t)
		peer, stranger := newSpeaker(t, tor, "10.0.1.2"), newSpeaker(t, tor, "10.0.1.1")
		w := session(50)
		w.Remote = ip("10.0.1.2")
		m, _ := start(t, w)
		until(t, m, "a start", func(s Status) bool { return s.State == Down })
		p := packet{state: Down, multiplier: 200, mine: 9, minTx: time.Second, minRx: time.Second}
		withAuth := append(p.marshal(), 1, 2)
		withAuth[1] |= bitAuth
		withAuth[3] = 26
		peer.say(254, p.marshal())
		peer.say(1, p.marshal())
		stranger.say(255, p.marshal())
		peer.say(255, withAuth)
		p.yours = 1 // nobody's
		peer.say(255, p.marshal())
		p.yours = 0
		// Packets are taken in order: the effect of a bad one, which is Init, would be
		// there when the good one makes a difference.
		q := p
		q.mine, q.multiplier = 10, 100
		peer.say(255, q.marshal())
		if s := until(t, m, "Init", is(Init)); s.Detect != 100*time.Second {
			t.Errorf("a bad packet (detection time 200 s) is believed: %+v", s)
		}
		q.state = Init
		// Our discriminator is in what we send: read it from the wire's other end.
		q.yours = heardFrom(t, tor)
		peer.say(255, q.marshal())
		until(t, m, "Up", is(Up))
		q.state = Up
		peer.say(254, func() []byte { down := q; down.state = Down; return down.marshal() }())
		q.state = AdminDown
		peer.say(255, q.marshal())
		if s := until(t, m, "Down", is(Down)); !s.Failed.IsZero() || s.RemoteState != AdminDown {
			t.Errorf("AdminDown is a failure: %+v", s)
		}
		q.state = Down
		peer.say(255, q.marshal())
		until(t, m, "Init", is(Init))
		q.state = Init
		peer.say(255, q.marshal())
		until(t, m, "Up", is(Up))
		q.state = Down
		peer.say(255, q.marshal())
		if s := until(t, m, "Down", is(Down)); s.Failed.IsZero() || s.Reason != DiagNeighborDown.String() {
			t.Errorf("Down is no failure: %+v", s)
		}
	})
}

// heardFrom is the gateway's discriminator, from a packet of its on the wire.
func heardFrom(t *testing.T, h *lab.Host) uint32 {
	t.Helper()
	out, err := h.Run(t.Context(), "tcpdump", "-lnvc", "1", "-i", "gw", "udp port 3784 and src 10.0.1.11")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`My Discriminator: 0x([0-9a-f]{8})`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no discriminator in\n%s", out)
	}
	var d uint32
	if _, err := fmt.Sscanf(m[1], "%x", &d); err != nil {
		t.Fatal(err)
	}
	return d
}
