package bfd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Session is a wanted session.
type Session struct {
	// Peer is its name, once among all sessions.
	Peer string
	// Local is the own address to send from. Both are of one family.
	Local, Remote netip.Addr
	// Multihop: there may be routers between (RFC 5883); otherwise there is none.
	Multihop bool
	Timers   Timers
}

func (s Session) ear() ear { return ear{v6: s.Remote.Is6(), multihop: s.Multihop} }

// same tells whether o is the same session, but for its timers.
func (s Session) same(o Session) bool {
	s.Timers = o.Timers
	return s == o
}

// Status is a session as it is.
type Status struct {
	Session
	State State
	Since time.Time
	// Reason is why this end left the state before; "" if for no failure.
	Reason string
	// Failed is when the session went from Up to Down; zero if it is Up, never was,
	// or the peer says that it is meant (AdminDown).
	Failed time.Time
	// RemoteState is what the peer said last, and RemoteDiag why it left its state before.
	RemoteState State
	RemoteDiag  Diag
	// Independent: the peer's BFD does not share the fate of its control plane, as it
	// said last (the C bit, RFC 5882 section 4.3).
	Independent bool
	// Transmit is the interval between our packets, less jitter; Detect is the
	// silence that is taken for a failure, 0 if the peer was never heard.
	Transmit, Detect time.Duration
	// Flaps counts how often it went from Up to Down.
	Flaps int
}

// Signalled tells whether the session went Down by the peer's word, not by its silence.
func (s Status) Signalled() bool { return s.Reason == DiagNeighborDown.String() }

// Monitor runs sessions.
type Monitor struct {
	changed chan struct{}
	rounds  atomic.Uint64

	mu       sync.Mutex // guards what follows
	wanted   []Session
	renew    bool // wanted is new
	bell     int  // an eventfd that wakes Run; -1 when Run is over
	statuses []Status
	problem  error
}

// New makes a Monitor without sessions.
func New() (*Monitor, error) {
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open eventfd for BFD: %w", err)
	}
	return &Monitor{changed: make(chan struct{}, 1), bell: bell}, nil
}

// Set says which sessions there are to be: all of them. Those that stay the same
// are not touched; changed timers are negotiated.
func (m *Monitor) Set(sessions []Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Equal(m.wanted, sessions) {
		return
	}
	m.wanted, m.renew = slices.Clone(sessions), true
	m.ring()
}

// Rounds counts how often Run was through with all that was due. It goes through once
// more after Wake.
func (m *Monitor) Rounds() uint64 { return m.rounds.Load() }

// Wake lets Run look at once whether anything is due.
func (m *Monitor) Wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ring()
}

// ring wakes Run.
func (m *Monitor) ring() {
	if m.bell >= 0 {
		_, _ = unix.Write(m.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full only if it rings already
	}
}

// Changed is ready (once) when Statuses may differ.
func (m *Monitor) Changed() <-chan struct{} { return m.changed }

// Statuses has the sessions in Set's order. The error is for what keeps a session
// from running: a port that another program has, say.
func (m *Monitor) Statuses() ([]Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.statuses, m.problem
}

// Run runs the sessions until ctx ends; it then tells the peers that this is meant.
func (m *Monitor) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, m.Wake)
	defer stop()
	(&runner{m: m, ears: map[ear]*hearing{}}).run(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = unix.Close(m.bell)
	m.bell = -1
	return ctx.Err()
}

const (
	// retry is the pause before a socket that could not be opened is tried again.
	retry = time.Second
	// gulp is how many packets are read at most before it is our turn to send.
	gulp = 64
)

// voice is a session with its machine and the socket that it sends from.
type voice struct {
	Session
	*machine
	fd, port int // fd is -1 until the local address is there
	to       unix.Sockaddr
	link     uint32 // of a link-local peer
}

// hearing is an open ear.
type hearing struct {
	fd int
	// read is a time such that whatever arrived before it has been read.
	read time.Time
}

// runner is what the one goroutine owns.
type runner struct {
	m       *Monitor
	voices  []*voice
	ears    map[ear]*hearing
	retryAt time.Time // zero if every ear is open
	problem error
}

func (r *runner) run(ctx context.Context) {
	buf, oob := make([]byte, 512), make([]byte, 512)
	for ctx.Err() == nil {
		r.renew(time.Now())
		r.publish()
		r.wait()
		for e, h := range r.ears {
			r.drain(e, h, buf, oob)
		}
		for _, v := range r.voices {
			now := time.Now()
			read := now
			if h, open := r.ears[v.ear()]; open {
				read = h.read
			}
			r.send(v, v.tick(now, read))
		}
		r.m.rounds.Add(1)
	}
	for _, v := range r.voices {
		r.end(v)
	}
	for _, h := range r.ears {
		_ = unix.Close(h.fd)
	}
}

// renew takes over what Set wants.
func (r *runner) renew(now time.Time) {
	r.m.mu.Lock()
	wanted, renew := r.m.wanted, r.m.renew
	r.m.renew = false
	r.m.mu.Unlock()
	if renew {
		r.set(wanted, now)
	}
	if renew || !r.retryAt.IsZero() && !now.Before(r.retryAt) {
		r.listen(now)
	}
}

func (r *runner) set(wanted []Session, now time.Time) {
	before := r.voices
	r.voices = nil
	for _, w := range wanted {
		if i := slices.IndexFunc(before, func(v *voice) bool { return v.same(w) }); i >= 0 {
			v := before[i]
			before = slices.Delete(before, i, i+1)
			r.voices = append(r.voices, v)
			if v.Session != w {
				v.Session = w
				r.send(v, v.configure(w.Timers, now))
			}
			continue
		}
		v := &voice{Session: w, fd: -1}
		r.voices = append(r.voices, v)
	}
	for _, v := range before {
		r.end(v)
	}
	for _, v := range r.voices {
		if v.machine == nil {
			var out []packet
			v.machine, out = begin(r.discriminator(), v.Timers, rand.Float64, now)
			r.send(v, out)
		}
	}
}

// discriminator is a number that is no session's, and no former one's but by chance.
func (r *runner) discriminator() uint32 {
	for {
		d := rand.Uint32()
		if d != 0 && !slices.ContainsFunc(r.voices, func(v *voice) bool { return v.machine != nil && v.discr == d }) {
			return d
		}
	}
}

// listen opens the ears that the sessions need, closes the others, and tells each
// whom to hear.
func (r *runner) listen(now time.Time) {
	needed := map[ear][]netip.Addr{}
	for _, v := range r.voices {
		needed[v.ear()] = append(needed[v.ear()], v.Remote)
	}
	for e, h := range maps.Clone(r.ears) {
		if needed[e] == nil {
			_ = unix.Close(h.fd)
			delete(r.ears, e)
		}
	}
	r.problem, r.retryAt = nil, time.Time{}
	for e, peers := range needed {
		var err error
		if h, open := r.ears[e]; open {
			err = attach(h.fd, admit(e, peers))
		} else {
			h = &hearing{read: now}
			if h.fd, err = e.listen(peers); err == nil {
				r.ears[e] = h
			}
		}
		if err != nil {
			r.problem, r.retryAt = errors.Join(r.problem, err), now.Add(retry)
		}
	}
}

// wait returns when a packet, the bell or a session's next time is there.
func (r *runner) wait() {
	deadline := r.retryAt
	for _, v := range r.voices {
		if at := v.next(); !at.IsZero() && (deadline.IsZero() || at.Before(deadline)) {
			deadline = at
		}
	}
	var timeout *unix.Timespec
	if !deadline.IsZero() {
		t := unix.NsecToTimespec(max(time.Until(deadline), 0).Nanoseconds())
		timeout = &t
	}
	fds := []unix.PollFd{{Fd: int32(r.m.bell), Events: unix.POLLIN}}
	for _, h := range r.ears {
		fds = append(fds, unix.PollFd{Fd: int32(h.fd), Events: unix.POLLIN})
	}
	_, _ = unix.Ppoll(fds, timeout, nil) // An interrupted wait is only a short one.
	var count [8]byte
	_, _ = unix.Read(r.m.bell, count[:])
}

// drain reads the ear until it is empty, but not for ever: what comes faster than
// it is read is no reason to be silent.
func (r *runner) drain(e ear, h *hearing, buf, oob []byte) {
	before := h.read
	h.read = time.Now()
	for n := 1; ; n++ {
		d, ok := read(h.fd, buf, oob)
		if !ok {
			return
		}
		at := arrived(time.Now(), d.wall, before)
		r.receive(e, d, at)
		if n == gulp {
			h.read = at // The next one is not older.
			return
		}
	}
}

// arrived turns the kernel's receive time, which is by the wall clock, into one of
// ours, which no one sets: now, less the packet's age. The clock may have been set
// in between, so the age is at most the time since all before had been read.
func arrived(now time.Time, wall int64, read time.Time) time.Time {
	if wall == 0 {
		return now
	}
	age := time.Duration(now.UnixNano() - wall)
	return now.Add(-min(max(age, 0), max(now.Sub(read), 0)))
}

// receive finds the session of a datagram. What is not as it must be is dropped
// without a word: anybody can send it.
func (r *runner) receive(e ear, d datagram, at time.Time) {
	if v, p, err := r.accept(e, d); err == nil {
		r.send(v, v.receive(p, at))
	}
}

func (r *runner) accept(e ear, d datagram) (*voice, packet, error) {
	p, auth, err := parse(d.payload)
	if err != nil {
		return nil, p, err
	}
	for _, v := range r.voices {
		if v.ear() != e || !v.between(d) || p.yours != 0 && p.yours != v.discr {
			continue
		}
		if auth {
			return nil, p, errAuth
		}
		return v, p, nil
	}
	return nil, p, errNoSession
}

// between tells whether a datagram is from the session's peer, to us.
func (v *voice) between(d datagram) bool {
	if d.from != v.Remote.WithZone("") || d.to != v.Local.WithZone("") {
		return false
	}
	return v.Remote.Zone() == "" || d.zone == v.link
}

// send sends a session's packets. What can not be sent is not heard, which the
// peer will say.
func (r *runner) send(v *voice, out []packet) {
	if len(out) == 0 || v.fd < 0 && !r.dial(v) {
		return
	}
	for _, p := range out {
		switch err := unix.Sendto(v.fd, p.marshal(), unix.MSG_DONTWAIT, v.to); err {
		case unix.EINVAL, unix.ENODEV, unix.ENXIO, unix.EADDRNOTAVAIL:
			// The address has left, or the link, which may be back with another index.
			_ = unix.Close(v.fd)
			v.fd = -1
			return
		}
	}
}

// dial opens the session's socket, if its address is there; else the next packet
// tries again.
func (r *runner) dial(v *voice) bool {
	fd, port, err := dial(v.Session, v.port, func(port int) bool {
		return slices.ContainsFunc(r.voices, func(o *voice) bool { return o != v && o.port == port })
	})
	if err != nil {
		return false
	}
	v.fd, v.port, v.to, v.link = fd, port, sockaddr(v.Remote, v.ear().port()), linkIndex(v.Remote.Zone())
	return true
}

// end says goodbye.
func (r *runner) end(v *voice) {
	r.send(v, v.farewell())
	if v.fd >= 0 {
		_ = unix.Close(v.fd)
		v.fd = -1
	}
}

// publish shows what has changed.
func (r *runner) publish() {
	now := make([]Status, len(r.voices))
	for i, v := range r.voices {
		now[i] = v.status()
	}
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if slices.Equal(now, r.m.statuses) && text(r.problem) == text(r.m.problem) {
		return
	}
	r.m.statuses, r.m.problem = now, r.problem
	select {
	case r.m.changed <- struct{}{}:
	default:
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimSpace(err.Error())
}

func (v *voice) status() Status {
	s := Status{
		Session: v.Session, State: v.state, Since: v.since, Failed: v.failed, Flaps: v.flaps,
		Reason: v.diag.String(), RemoteState: v.far.state, RemoteDiag: v.far.diag, Independent: v.apart, Transmit: v.interval(),
	}
	if !v.heard.IsZero() {
		s.Detect = v.detection()
	}
	return s
}
