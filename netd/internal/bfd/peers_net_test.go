//go:build net

package bfd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/netd/internal/ownnet"
)

// ways are the sessions with one ToR: one hop and several, each family, and a
// link-local peer. The ToR's loopback is reached by the other ToR.
func ways(tor int) []Session {
	own := func(s string) netip.Addr { return ip(fmt.Sprintf(s, tor)) }
	far := func(s string) netip.Addr { return ip(fmt.Sprintf(s, 3-tor)) }
	name := fmt.Sprintf("tor%d ", tor)
	return []Session{
		{Peer: name + "IPv4", Local: own("10.0.%d.11"), Remote: own("10.0.%d.1")},
		{Peer: name + "IPv6", Local: own("2001:db8:%d::11"), Remote: own("2001:db8:%d::1")},
		{Peer: name + "link-local", Local: ip("fe80::11"), Remote: own("fe80::1%%uplink%d")},
		{Peer: name + "multihop IPv4", Local: far("10.0.%d.11"), Remote: own("10.255.0.%d"), Multihop: true},
		{Peer: name + "multihop IPv6", Local: far("2001:db8:%d::11"), Remote: own("2001:db8:255::%d"), Multihop: true},
	}
}

// paced gives all sessions the interval.
func paced(sessions []Session, ms int) []Session {
	for i := range sessions {
		d := time.Duration(ms) * time.Millisecond
		sessions[i].Timers = Timers{MinTx: d, MinRx: d, Multiplier: 3}
	}
	return sessions
}

// twoToRs makes hosts tor1 and tor2, each on an uplink of this namespace, and a
// wire between them.
func twoToRs(t *testing.T) (tors [2]*lab.Host) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bfd-") // t.TempDir is closed to FRR's user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n, err := lab.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range tors {
		if tors[i], err = n.Host(t.Context(), fmt.Sprintf("tor%d", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Wire(t.Context(), tors[0], "fabric", tors[1], "fabric"); err != nil {
		t.Fatal(err)
	}
	ownnet.Command(t, "ip link set lo up")
	for i, tor := range tors {
		own, other := i+1, 2-i
		here := func(format string, a ...any) { ownnet.Command(t, fmt.Sprintf(format, a...)) }
		there := func(format string, a ...any) { on(t, tor, fmt.Sprintf(format, a...)) }
		here("ip link add uplink%d type veth peer name gw netns %s", own, tor.Netns())
		here("sysctl -qw net.ipv6.conf.uplink%d.disable_ipv6=0 net.ipv6.conf.uplink%[1]d.accept_dad=0", own)
		here("ip addr add 10.0.%d.11/24 dev uplink%[1]d", own)
		here("ip link set uplink%d addrgenmode none up", own)
		there("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.gw.accept_dad=0 net.ipv6.conf.fabric.accept_dad=0")
		there("ip link set gw addrgenmode none up")
		for _, a := range []string{fmt.Sprintf("2001:db8:%d::11/64", own), "fe80::11/64"} {
			here("ip addr add %s dev uplink%d nodad", a, own)
		}
		for _, a := range []string{
			fmt.Sprintf("10.0.%d.1/24 dev gw", own), fmt.Sprintf("2001:db8:%d::1/64 dev gw nodad", own), "fe80::1/64 dev gw nodad",
			fmt.Sprintf("10.255.0.%d/32 dev lo", own), fmt.Sprintf("2001:db8:255::%d/128 dev lo nodad", own),
			fmt.Sprintf("10.9.0.%d/30 dev fabric", own), fmt.Sprintf("2001:db8:9::%d/64 dev fabric nodad", own),
		} {
			there("ip addr add %s", a)
		}
		there("ip route add 10.0.%d.0/24 via 10.9.0.%[1]d", other)
		there("ip route add 2001:db8:%d::/64 via 2001:db8:9::%[1]d", other)
		there("ip route add 10.255.0.%d via 10.9.0.%[1]d", other)
		there("ip route add 2001:db8:255::%d via 2001:db8:9::%[1]d", other)
	}
	for own := 1; own <= 2; own++ {
		ownnet.Command(t, fmt.Sprintf("ip route add 10.255.0.%d via 10.0.%d.1", own, 3-own))
		ownnet.Command(t, fmt.Sprintf("ip route add 2001:db8:255::%d via 2001:db8:%d::1", own, 3-own))
	}
	return tors
}

// said is what a ToR says of its session with one of our addresses.
type said struct {
	up           bool
	each, silent time.Duration
}

const birdWays = `router id 10.255.0.1;
log stderr all;
debug protocols all;
protocol device {}
protocol bfd bfd1 {
	interface "*" { min rx interval 50 ms; min tx interval 50 ms; idle tx interval 1000 ms; multiplier 3; };
	multihop { min rx interval 50 ms; min tx interval 50 ms; idle tx interval 1000 ms; multiplier 3; };
	neighbor 10.0.1.11;
	neighbor 2001:db8:1::11;
	neighbor fe80::11 dev "gw";
	neighbor 10.0.2.11 local 10.255.0.1 multihop on;
	neighbor 2001:db8:2::11 local 2001:db8:255::1 multihop on;
}
`

var birdSession = regexp.MustCompile(`(?m)^(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)$`)

// birdSays reads BIRD's sessions, by our address and link.
func birdSays(ctx context.Context, b *lab.Bird) (map[string]said, error) {
	out, err := b.Ask(ctx, "show bfd sessions")
	if err != nil {
		return nil, err
	}
	sessions := map[string]said{}
	for _, f := range birdSession.FindAllStringSubmatch(out, -1) {
		seconds := func(s string) time.Duration { d, _ := time.ParseDuration(s + "s"); return d }
		sessions[f[1]] = said{up: f[3] == "Up", each: seconds(f[5]), silent: seconds(f[6])}
	}
	return sessions, nil
}

const frrWays = `bfd
 profile fast
  receive-interval 50
  transmit-interval 50
 exit
 peer 10.0.2.11 interface gw
  profile fast
 exit
 peer 2001:db8:2::11 local-address 2001:db8:2::1 interface gw
  profile fast
 exit
 peer fe80::11 local-address fe80::1 interface gw
  profile fast
 exit
 peer 10.0.1.11 multihop local-address 10.255.0.2
  profile fast
 exit
 peer 2001:db8:1::11 multihop local-address 2001:db8:255::2
  profile fast
 exit
exit
`

func frrSays(ctx context.Context, f *lab.FRR) (map[string]said, error) {
	out, err := f.Ask(ctx, "show bfd peers json")
	if err != nil {
		return nil, err
	}
	var list []struct {
		Peer       string `json:"peer"`
		Status     string `json:"status"`
		Interval   int    `json:"transmit-interval"`
		Receive    int    `json:"receive-interval"`
		Remote     int    `json:"remote-transmit-interval"`
		RemoteRx   int    `json:"remote-receive-interval"`
		Multiplier int    `json:"remote-detect-multiplier"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("%w in\n%s", err, out)
	}
	sessions := map[string]said{}
	for _, p := range list {
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		sessions[p.Peer] = said{
			up: p.Status == "up", each: ms(max(p.Interval, p.RemoteRx)), silent: ms(p.Multiplier * max(p.Receive, p.Remote)),
		}
	}
	return sessions, nil
}

// statuses waits until cond is nil for each session.
func statuses(t *testing.T, m *Monitor, what string, cond func(Status) error) {
	t.Helper()
	ownnet.Within(t, patience, what, func() error {
		all, err := m.Statuses()
		for _, s := range all {
			if e := cond(s); e != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w: %+v", s.Peer, e, s))
			}
		}
		if len(all) == 0 {
			return errors.New("no sessions")
		}
		return err
	})
}

func state(want State) func(Status) error {
	return func(s Status) error {
		if s.State != want {
			return fmt.Errorf("want %s", want)
		}
		return nil
	}
}

// TestToRs: with BIRD and with FRR, over one hop and several, in each family and with
// a link-local peer: a session comes up at 50 ms × 3, changed intervals are agreed
// without losing it, an end by a person's will is none, silence is a loss.
func TestToRs(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		tors := twoToRs(t)
		b := bird(t, tors[0], birdWays)
		f, err := tors[1].FRR(t.Context(), map[string]string{"bfdd": frrWays})
		if err != nil {
			t.Fatal(err)
		}
		all := func(ms int) []Session { return paced(append(ways(1), ways(2)...), ms) }
		m, _ := start(t, all(50)...)
		agree := func(ms int) {
			t.Helper()
			each, silent := time.Duration(ms)*time.Millisecond, 3*time.Duration(ms)*time.Millisecond
			statuses(t, m, fmt.Sprintf("%d ms in all sessions", ms), func(s Status) error {
				if s.State != Up || s.RemoteState != Up || s.Transmit != each || s.Detect != silent {
					return errors.New("not agreed")
				}
				return nil
			})
			ownnet.Within(t, patience, "the same at the ToRs", func() error {
				theirs, err := birdSays(t.Context(), b)
				frrs, errF := frrSays(t.Context(), f)
				err = errors.Join(err, errF)
				if len(theirs) != 5 || len(frrs) != 5 {
					err = errors.Join(err, errors.New("not five sessions each"))
				}
				for _, sessions := range []map[string]said{theirs, frrs} {
					for who, s := range sessions {
						if !s.up || s.each != each || s.silent != silent {
							err = errors.Join(err, fmt.Errorf("%s: %+v", who, s))
						}
					}
				}
				return err
			})
		}
		agree(50)
		// A ToR that gets no CPU for 150 ms is lost, rightly; but not each time.
		losses := func() (n int) {
			all, _ := m.Statuses()
			for _, s := range all {
				n += s.Flaps
			}
			return n
		}
		for attempt := 1; ; attempt++ {
			before := losses()
			m.Set(all(200))
			agree(200)
			m.Set(all(50))
			agree(50)
			if losses() == before {
				break
			}
			if attempt == 5 {
				t.Fatal("each change of the intervals lost a session")
			}
		}

		// FRR's own end, by a person's will.
		for _, change := range []string{"shutdown", "no shutdown"} {
			_, err := f.Ask(t.Context(), "configure terminal\nbfd\npeer 10.0.2.11 interface gw\n"+change)
			if err != nil {
				t.Fatal(err)
			}
			ownnet.Within(t, patience, change+" of a session of FRR's", func() error {
				all, err := m.Statuses()
				if s := all[5]; err != nil || !s.Failed.IsZero() || (s.State == Up) != (change == "no shutdown") {
					return fmt.Errorf("%w %+v", err, s)
				}
				return nil
			})
		}

		silent := time.Now()
		if err := errors.Join(b.Signal(syscall.SIGSTOP), f.Daemons["bfdd"].Signal(syscall.SIGSTOP)); err != nil {
			t.Fatal(err)
		}
		statuses(t, m, "the loss of all", func(s Status) error {
			if s.State == Up || s.Failed.IsZero() || s.Reason != DiagTimeExpired.String() {
				return errors.New("not lost")
			}
			return nil
		})
		statuses(t, m, "how long each took", func(s Status) error {
			t.Logf("%s: noticed after %s", s.Peer, s.Failed.Sub(silent).Round(time.Millisecond))
			return nil
		})
		if err := errors.Join(b.Signal(syscall.SIGCONT), f.Daemons["bfdd"].Signal(syscall.SIGCONT)); err != nil {
			t.Fatal(err)
		}
		statuses(t, m, "the return of all", state(Up))
		if log := b.Tail(2000); strings.Contains(log, "Invalid") || strings.Contains(log, "Bad packet") {
			t.Errorf("BIRD finds fault with a packet:\n%s", log)
		}
	})
}
