package bfd

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func fast() Timers {
	return Timers{MinTx: 50 * time.Millisecond, MinRx: 60 * time.Millisecond, Multiplier: 3}
}

func begun() time.Time { return time.Unix(1000, 0) }

// newMachine is a session in the state, with a peer that was just heard.
func newMachine(s State) *machine {
	m, _ := begin(1, fast(), func() float64 { return 1 }, begun())
	if s == Init || s == Up {
		m.receive(from(Down), begun())
	}
	if s == Up {
		m.receive(from(Init), begun())
	}
	return m
}

// from is a packet of a peer in the state, with timers of its own.
func from(s State) packet {
	return packet{state: s, mine: 2, yours: 1, multiplier: 5, minTx: 100 * time.Millisecond, minRx: 70 * time.Millisecond}
}

// The whole table of RFC 5880 section 6.8.6: each own state, each state of the
// peer's, and silence; what a person must hear of is a failure.
func TestStates(t *testing.T) {
	tests := []struct {
		own    State
		heard  State
		want   State
		diag   Diag
		failed bool
	}{
		{Down, AdminDown, Down, DiagNone, false},
		{Down, Down, Init, DiagNone, false},
		{Down, Init, Up, DiagNone, false},
		{Down, Up, Down, DiagNone, false},
		{Init, AdminDown, Down, DiagNeighborDown, false},
		{Init, Down, Init, DiagNone, false},
		{Init, Init, Up, DiagNone, false},
		{Init, Up, Up, DiagNone, false},
		{Up, AdminDown, Down, DiagNeighborDown, false},
		{Up, Down, Down, DiagNeighborDown, true},
		{Up, Init, Up, DiagNone, false},
		{Up, Up, Up, DiagNone, false},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s hears %s", tt.own, tt.heard), func(t *testing.T) {
			m := newMachine(tt.own)
			if m.state != tt.own {
				t.Fatalf("begins in %s", m.state)
			}
			out := m.receive(from(tt.heard), begun().Add(time.Second))
			if m.state != tt.want || m.diag != tt.diag || m.failed.IsZero() == tt.failed {
				t.Errorf("state %s, diag %d, failed %v; want %s, %d, %v", m.state, m.diag, m.failed, tt.want, tt.diag, tt.failed)
			}
			if changed := tt.own != tt.want; changed != (len(out) == 1) {
				t.Errorf("%d packets at once, want one if the state changed: %v", len(out), out)
			}
		})
	}
}

func TestSilence(t *testing.T) {
	for _, s := range []State{Down, Init, Up} {
		t.Run(s.String(), func(t *testing.T) {
			m := newMachine(s)
			m.receive(packet{state: s, mine: 2, yours: 1, multiplier: 5, minTx: 100 * time.Millisecond, minRx: 70 * time.Millisecond}, begun())
			before := m.state
			detect := 500 * time.Millisecond // 5 × max(our 60 ms, its 100 ms)
			if m.detection() != detect {
				t.Fatalf("detection time %s", m.detection())
			}
			m.tick(begun().Add(detect-1), begun().Add(detect-1))
			if m.state != before || m.far.discr != 2 {
				t.Errorf("too early: %s, its discriminator %d", m.state, m.far.discr)
			}
			m.tick(begun().Add(detect), begun().Add(detect))
			if m.far.discr != 0 {
				t.Error("the silent peer's discriminator is kept (section 6.8.1)")
			}
			if want := (before == Up); m.state != Down && before != Down || want == m.failed.IsZero() {
				t.Errorf("was %s, is %s, failed %v", before, m.state, m.failed)
			}
			if before == Up && m.diag != DiagTimeExpired {
				t.Errorf("diag %d", m.diag)
			}
		})
	}
}

// A failure lasts until the session is Up again, or the peer says it is meant.
func TestFailureEnds(t *testing.T) {
	for _, end := range []State{Up, AdminDown} {
		m := newMachine(Up)
		m.receive(from(Down), begun().Add(time.Second))
		failed := m.failed
		m.receive(from(Down), begun().Add(2*time.Second)) // Init
		if m.state != Init || m.failed != failed || failed.IsZero() {
			t.Fatalf("%s, failed %v, was %v", m.state, m.failed, failed)
		}
		m.receive(from(end), begun().Add(3*time.Second))
		if !m.failed.IsZero() || m.flaps != 1 {
			t.Errorf("after %s: failed %v, %d flaps", end, m.failed, m.flaps)
		}
	}
}

// A start says AdminDown first, so that the other end of a former life's session
// does not take our Down for a failure; and so does an end.
func TestBeginAndFarewell(t *testing.T) {
	m, out := begin(7, fast(), func() float64 { return 0 }, begun())
	var states []State
	for _, p := range append(out, m.farewell()...) {
		states = append(states, p.state)
		if p.mine != 7 || p.minTx < slow {
			t.Errorf("%+v", p)
		}
	}
	if diff := cmp.Diff([]State{AdminDown, AdminDown, Down, AdminDown, AdminDown}, states); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !m.failed.IsZero() || m.flaps != 0 {
		t.Error("a start is a failure")
	}
}

func TestSlowWhileNotUp(t *testing.T) {
	for _, s := range []State{Down, Init} {
		m := newMachine(s)
		if p := m.periodic(begun()); p.minTx != slow || p.poll || m.interval() != slow {
			t.Errorf("%s: %+v every %s", s, p, m.interval())
		}
	}
	m := newMachine(Up)
	if p := m.periodic(begun()); p.minTx != 50*time.Millisecond || !p.poll {
		t.Errorf("Up: %+v", p)
	}
	if m.interval() != 70*time.Millisecond { // its wish is the larger
		t.Errorf("Up: every %s", m.interval())
	}
	m.tick(begun().Add(time.Second), begun().Add(time.Second))
	if p := m.periodic(begun()); m.state != Down || p.minTx != slow || p.poll {
		t.Errorf("down again: %+v", p)
	}
}

// Poll and Final: a longer interval to send and a shorter one to wait are used only
// when the peer has confirmed them.
func TestPoll(t *testing.T) {
	m := newMachine(Up)
	confirm := func() {
		p := from(Up)
		p.final = true
		m.receive(p, begun())
	}
	confirm()
	if m.polling {
		t.Fatal("polls on after a Final")
	}
	out := m.configure(Timers{MinTx: 400 * time.Millisecond, MinRx: 50 * time.Millisecond, Multiplier: 4}, begun())
	if len(out) != 1 || !out[0].poll || out[0].minTx != 400*time.Millisecond || out[0].minRx != 50*time.Millisecond || out[0].multiplier != 4 {
		t.Fatalf("told: %+v", out)
	}
	if m.txNow != 50*time.Millisecond || m.rxNow != 60*time.Millisecond {
		t.Errorf("unconfirmed and used: %s, %s", m.txNow, m.rxNow)
	}
	// Changed again before the Final, which may be the first one's.
	m.configure(Timers{MinTx: 300 * time.Millisecond, MinRx: 80 * time.Millisecond, Multiplier: 4}, begun())
	confirm()
	if !m.polling || m.txNow == 300*time.Millisecond {
		t.Error("a Final of the first question is taken for the second one's")
	}
	confirm()
	if m.polling || m.txNow != 300*time.Millisecond || m.rxNow != 80*time.Millisecond {
		t.Errorf("confirmed: polling %v, %s, %s", m.polling, m.txNow, m.rxNow)
	}

	p := from(Up)
	p.poll = true
	out = m.receive(p, begun())
	if len(out) != 1 || !out[0].final || out[0].poll {
		t.Errorf("answer to a Poll: %+v", out)
	}
}

// What the peer allows: its wish for longer intervals, none at all, demand mode.
func TestPeerSetsThePace(t *testing.T) {
	m := newMachine(Up)
	p := from(Up)
	p.final, p.minRx = true, 10*time.Second
	m.receive(p, begun())
	if m.interval() != 10*time.Second {
		t.Errorf("every %s", m.interval())
	}
	p.minRx = 0
	m.receive(p, begun())
	if !m.sendAt().IsZero() || m.next() != begun().Add(m.detection()) {
		t.Error("sends to a peer that wants nothing")
	}
	p.minRx, p.demand = time.Millisecond, true
	m.receive(p, begun())
	if !m.sendAt().IsZero() {
		t.Error("sends to a peer in demand mode")
	}
}

func TestJitter(t *testing.T) {
	const d = time.Second
	for _, tt := range []struct {
		multiplier uint8
		most       time.Duration
	}{{1, 900 * time.Millisecond}, {2, d}, {3, d}, {255, d}} {
		for spread := 0.0; spread < 1; spread += 1.0 / 64 {
			if got := jittered(d, tt.multiplier, spread); got < d*3/4 || got > tt.most {
				t.Errorf("multiplier %d, spread %f: %s", tt.multiplier, spread, got)
			}
		}
		if lo, hi := jittered(d, tt.multiplier, 0), jittered(d, tt.multiplier, 1); lo != d*3/4 || hi != tt.most {
			t.Errorf("multiplier %d: from %s to %s", tt.multiplier, lo, hi)
		}
	}
}

// wire joins two machines on a fake clock: steps of 1 ms, a delay of one step.
func TestTwoMachines(t *testing.T) {
	now := begun()
	a, out := begin(1, fast(), func() float64 { return 0.5 }, now)
	b, back := begin(2, Timers{MinTx: 200 * time.Millisecond, MinRx: 200 * time.Millisecond, Multiplier: 2}, func() float64 { return 0.9 }, now)
	sent := 0
	for range 5000 {
		now = now.Add(time.Millisecond)
		var nextOut, nextBack []packet
		for _, p := range out {
			nextBack = append(nextBack, b.receive(p, now)...)
		}
		for _, p := range back {
			nextOut = append(nextOut, a.receive(p, now)...)
		}
		out, back = append(nextOut, a.tick(now, now)...), append(nextBack, b.tick(now, now)...)
		sent += len(out)
	}
	if a.state != Up || b.state != Up || a.flaps+b.flaps > 0 || a.polling || b.polling {
		t.Fatalf("a %s, b %s after 5 s; flaps %d %d, polling %v %v", a.state, b.state, a.flaps, b.flaps, a.polling, b.polling)
	}
	if a.interval() != 200*time.Millisecond || b.interval() != 200*time.Millisecond ||
		a.detection() != 400*time.Millisecond || b.detection() != 600*time.Millisecond {
		t.Errorf("a sends every %s, detects in %s; b %s, %s", a.interval(), a.detection(), b.interval(), b.detection())
	}
	if sent > 40 { // 5 s at 200 ms less jitter, and the handshake
		t.Errorf("a sent %d packets", sent)
	}
}

// A session that the peer begins anew is no failure, unless it stays away; one that
// it goes on with, and that it says has failed, is.
func TestRenewed(t *testing.T) {
	anew := packet{state: Down, mine: 3, multiplier: 3, minTx: time.Second, minRx: time.Second}
	old, failed := anew, anew
	old.mine, failed.diag = 2, DiagTimeExpired
	for name, p := range map[string]packet{"old": old, "failed": failed} {
		m := newMachine(Up)
		if m.receive(p, begun()); m.failed.IsZero() || m.state != Down {
			t.Errorf("%s: %s, failed %v", name, m.state, m.failed)
		}
	}
	at := begun().Add(time.Second)
	for _, returns := range []bool{true, false} {
		m := newMachine(Up)
		m.receive(anew, at)
		if m.state != Down || !m.failed.IsZero() {
			t.Fatalf("%s, failed %v", m.state, m.failed)
		}
		end := at.Add(grace)
		if returns {
			m.receive(from(Init), end.Add(-time.Millisecond))
		}
		m.tick(end.Add(-1), end.Add(-1))
		if !m.failed.IsZero() {
			t.Errorf("returns %v: a failure before its time", returns)
		}
		m.tick(end, end)
		if want := map[bool]time.Time{true: {}, false: at}[returns]; returns != (m.state == Up) || m.failed != want {
			t.Errorf("returns %v: %s, failed %v, want %v", returns, m.state, m.failed, want)
		}
	}
}
