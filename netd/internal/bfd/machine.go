package bfd

import "time"

const (
	// slow is the least interval between packets of a session that is not Up
	// (RFC 5880 section 6.8.3).
	slow = time.Second
	// grace is how long a session that the peer began anew may take to be Up again.
	grace = 3 * slow
)

// Timers are what this end offers and asks for.
type Timers struct {
	// MinTx is the least interval at which this end wants to send, MinRx the least
	// at which it can receive. What is used is the larger of the two ends' wishes.
	MinTx, MinRx time.Duration
	// Multiplier is how many intervals of silence the peer is to take for a
	// failure, 1 to 255.
	Multiplier uint8
}

// machine is one session. It has no clock, no socket and no lock: whoever calls
// it says what time it is, and sends the packets that it returns.
type machine struct {
	timers Timers
	// jitter returns a number in [0, 1).
	jitter func() float64
	discr  uint32

	state State
	diag  Diag
	// far is what the peer said last.
	far far
	// minTx and minRx are what is told to the peer. Until it has confirmed a change
	// of them (Poll, Final), txNow and rxNow are what is used: the shorter interval
	// to send, the longer one to wait (RFC 5880 section 6.8.3).
	minTx, minRx, txNow, rxNow time.Duration
	polling, pollAgain         bool

	sent   time.Time // the last periodic packet
	spread float64   // its jitter, in [0, 1)
	heard  time.Time // the last good packet; zero if none within a detection time
	apart  bool      // the peer's BFD is not bound to its control plane, as it said last

	since time.Time // of state
	// failed is when the session went from Up to Down, until it is Up again or the
	// peer says that Down is meant.
	failed time.Time
	// renewed is when the peer began an Up session anew, which is no failure if it is
	// Up again within grace; else zero.
	renewed time.Time
	flaps   int
}

// far is the peer's end.
type far struct {
	state        State
	diag         Diag
	discr        uint32
	minTx, minRx time.Duration
	multiplier   uint8
	demand       bool
}

// unheard is a peer that nothing is known of (RFC 5880 section 6.8.1).
func unheard() far { return far{state: Down, minRx: time.Microsecond} }

// begin starts the session. A peer whose session with an earlier life of ours is
// still Up would take our Down for a failure; so AdminDown comes before it.
func begin(discr uint32, t Timers, jitter func() float64, now time.Time) (*machine, []packet) {
	m := &machine{timers: t, jitter: jitter, discr: discr, far: unheard(), state: AdminDown, diag: DiagAdminDown, since: now}
	m.slowDown()
	out := m.farewell()
	m.state, m.diag = Down, DiagNone
	return m, append(out, m.periodic(now))
}

// farewell is what to send before the session ends by our will. It is said twice,
// for a packet may be lost.
func (m *machine) farewell() []packet {
	p := m.packet()
	p.state, p.diag, p.poll = AdminDown, DiagAdminDown, false
	return []packet{p, p}
}

// configure changes the timers of a session that may be Up.
func (m *machine) configure(t Timers, now time.Time) []packet {
	m.timers = t
	if m.state != Up {
		m.slowDown()
		return nil
	}
	m.negotiate()
	return []packet{m.periodic(now)}
}

// slowDown sets the intervals of a session that is not Up.
func (m *machine) slowDown() {
	m.minTx, m.minRx = max(m.timers.MinTx, slow), m.timers.MinRx
	m.txNow, m.rxNow = m.minTx, m.minRx
	m.polling, m.pollAgain = false, false
}

// negotiate tells an Up session's peer the configured intervals, and asks it to
// confirm.
func (m *machine) negotiate() {
	m.minTx, m.minRx = m.timers.MinTx, m.timers.MinRx
	m.txNow, m.rxNow = min(m.txNow, m.minTx), max(m.rxNow, m.minRx)
	// A Final that is under way confirms what was asked before.
	m.polling, m.pollAgain = true, m.polling
}

// receive takes a packet that is meant for this session and passed the checks of
// parse; at is when it arrived. (RFC 5880 section 6.8.6)
func (m *machine) receive(p packet, at time.Time) []packet {
	renewed := p.state == Down && p.diag == DiagNone && m.far.discr != 0 && p.mine != m.far.discr
	m.far = far{
		state: p.state, diag: p.diag, discr: p.mine, minTx: p.minTx, minRx: p.minRx, multiplier: p.multiplier, demand: p.demand,
	}
	m.heard, m.apart = at, p.plane
	if m.polling && p.final {
		if m.polling, m.pollAgain = m.pollAgain, false; !m.polling {
			m.txNow, m.rxNow = m.minTx, m.minRx
		}
	}
	var out []packet
	if was := m.state; m.step(p.state, at) {
		if was == Up && renewed {
			// Its BFD was started again, or told another address (FRR, when BGP is
			// Established): it forgot us, and misses nothing.
			m.failed, m.renewed = time.Time{}, at
		}
		// What is new is told at once (section 6.8.7).
		out = append(out, m.periodic(at))
	}
	if p.poll {
		answer := m.packet()
		answer.poll, answer.final = false, true
		out = append(out, answer)
	}
	return out
}

// step is the table of states; it tells whether the state changed.
func (m *machine) step(far State, now time.Time) bool {
	switch {
	case far == AdminDown:
		m.failed, m.renewed = time.Time{}, time.Time{}
		if m.state == Down {
			return false
		}
		m.enter(Down, DiagNeighborDown, now)
		m.failed = time.Time{} // It is meant (RFC 5882 section 3.2).
	case m.state == Down && far == Down:
		m.enter(Init, m.diag, now)
	case m.state == Down && far == Init, m.state == Init && (far == Init || far == Up):
		m.enter(Up, DiagNone, now)
	case m.state == Up && far == Down:
		m.enter(Down, DiagNeighborDown, now)
	default:
		return false
	}
	return true
}

func (m *machine) enter(s State, d Diag, now time.Time) {
	was := m.state
	m.state, m.diag, m.since = s, d, now
	switch {
	case s == Up:
		m.failed, m.renewed = time.Time{}, time.Time{}
		m.negotiate()
	case was == Up:
		m.failed = now
		m.flaps++
		m.slowDown()
	}
}

// tick does what is due: it notices silence, and sends. All that arrived before read was
// given to receive.
func (m *machine) tick(now, read time.Time) []packet {
	if end := m.silentAt(); !end.IsZero() && !read.Before(end) {
		m.far, m.heard = unheard(), time.Time{}
		if m.state == Init || m.state == Up {
			m.enter(Down, DiagTimeExpired, now)
			return []packet{m.periodic(now)}
		}
	}
	if end := m.renewed.Add(grace); !m.renewed.IsZero() && !read.Before(end) {
		m.failed, m.renewed = m.renewed, time.Time{}
	}
	if at := m.sendAt(); !at.IsZero() && !now.Before(at) {
		return []packet{m.periodic(now)}
	}
	return nil
}

// next is when tick has something to do; zero if never.
func (m *machine) next() time.Time {
	send, silent := m.sendAt(), m.silentAt()
	if send.IsZero() || !silent.IsZero() && silent.Before(send) {
		return silent
	}
	return send
}

// detection is how long a silence is a failure; 0 if nothing was heard yet
// (RFC 5880 section 6.8.4).
func (m *machine) detection() time.Duration {
	return time.Duration(m.far.multiplier) * max(m.rxNow, m.far.minTx)
}

func (m *machine) silentAt() time.Time {
	if m.heard.IsZero() {
		return time.Time{}
	}
	return m.heard.Add(m.detection())
}

// interval between our packets, without jitter.
func (m *machine) interval() time.Duration { return max(m.txNow, m.far.minRx) }

// sendAt is when the next periodic packet is due; zero if the peer wants none.
// (RFC 5880 section 6.8.7)
func (m *machine) sendAt() time.Time {
	quiet := m.far.demand && m.state == Up && m.far.state == Up && !m.polling
	if m.far.minRx == 0 || quiet {
		return time.Time{}
	}
	return m.sent.Add(jittered(m.interval(), m.timers.Multiplier, m.spread))
}

// jittered shortens an interval by up to a quarter. With a multiplier of 1 at
// least a tenth is taken, or the packet might come too late.
func jittered(d time.Duration, multiplier uint8, spread float64) time.Duration {
	most := 1.0
	if multiplier == 1 {
		most = 0.9
	}
	return time.Duration(float64(d) * (0.75 + spread*(most-0.75)))
}

// periodic is the packet of now, from which the next interval counts.
func (m *machine) periodic(now time.Time) packet {
	m.sent, m.spread = now, m.jitter()
	return m.packet()
}

func (m *machine) packet() packet {
	return packet{
		// The process of this session is not the control plane's, which may come and go
		// without it (RFC 5882 section 4.3).
		diag: m.diag, state: m.state, poll: m.polling, plane: true, multiplier: m.timers.Multiplier,
		mine: m.discr, yours: m.far.discr, minTx: m.minTx, minRx: m.minRx,
	}
}
