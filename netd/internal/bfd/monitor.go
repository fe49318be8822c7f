package bfd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
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
	// RemoteState is what the peer said last.
	RemoteState State
	// Transmit is the interval between our packets, less jitter; Detect is the
	// silence that is taken for a failure, 0 if the peer was never heard.
	Transmit, Detect time.Duration
	// Flaps counts how often it went from Up to Down.
	Flaps int
}

// Monitor runs sessions.
type Monitor struct {
	changed chan struct{}

	mu       sync.Mutex // guards what follows
	wanted   []Session
	renew    bool // wanted is new
	bell     int  // an eventfd that wakes the thread; -1 when Run is over
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

// ring wakes the thread.
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
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.ring()
	})
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread ends with this goroutine, so that its priority is no one else's.
		runtime.LockOSThread()
		// Keepalives must go out in time on a box whose CPUs are all busy. Without
		// the privilege (in tests) it works as well as it can.
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
		(&runner{m: m, ears: map[ear]int{}}).run(ctx)
	}()
	<-done
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = unix.Close(m.bell)
	m.bell = -1
	return ctx.Err()
}

// retry is the pause before a socket that could not be opened is tried again.
const retry = time.Second

// voice is a session with its machine and the socket that it sends from.
type voice struct {
	Session
	*machine
	fd, port int // fd is -1 until the local address is there
}

// runner is what the thread owns.
type runner struct {
	m      *Monitor
	voices []*voice
	ears   map[ear]int
	// empty is when the sockets were last seen empty: what is read is younger.
	empty   time.Time
	retryAt time.Time // zero if every ear is open
	problem error
}

func (r *runner) run(ctx context.Context) {
	buf, oob := make([]byte, 512), make([]byte, 512)
	r.empty = time.Now()
	for ctx.Err() == nil {
		r.renew(time.Now())
		r.publish()
		r.wait()
		r.drain(buf, oob)
		for _, v := range r.voices {
			r.send(v, v.tick(r.empty))
		}
	}
	for _, v := range r.voices {
		r.end(v)
	}
	for _, fd := range r.ears {
		_ = unix.Close(fd)
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

// listen opens the ears that the sessions need and closes the others.
func (r *runner) listen(now time.Time) {
	needed := map[ear]bool{}
	for _, v := range r.voices {
		needed[v.ear()] = true
	}
	for e, fd := range maps.Clone(r.ears) {
		if !needed[e] {
			_ = unix.Close(fd)
			delete(r.ears, e)
		}
	}
	r.problem, r.retryAt = nil, time.Time{}
	for e := range needed {
		if _, open := r.ears[e]; open {
			continue
		}
		fd, err := e.listen()
		if err != nil {
			r.problem, r.retryAt = errors.Join(r.problem, err), now.Add(retry)
			continue
		}
		r.ears[e] = fd
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
	for _, fd := range r.ears {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	_, _ = unix.Ppoll(fds, timeout, nil) // An interrupted wait is only a short one.
	var count [8]byte
	_, _ = unix.Read(r.m.bell, count[:])
}

// drain reads all sockets until they are empty, and notes when that was.
func (r *runner) drain(buf, oob []byte) {
	before := r.empty
	r.empty = time.Now()
	for e, fd := range r.ears {
		for {
			d, ok := read(fd, buf, oob)
			if !ok {
				break
			}
			now := time.Now()
			r.receive(e, d, arrived(now, d.wall, before))
		}
	}
}

// arrived turns the kernel's receive time, which is by the wall clock, into one of
// ours, which no one sets: now, less the packet's age. The clock may have been set
// in between, so the age is at most the time since the socket was seen empty.
func arrived(now time.Time, wall int64, empty time.Time) time.Time {
	if wall == 0 {
		return now
	}
	age := time.Duration(now.UnixNano() - wall)
	return now.Add(-min(max(age, 0), max(now.Sub(empty), 0)))
}

// receive finds the session of a datagram. What is not as it must be is dropped
// without a word: anybody can send it.
func (r *runner) receive(e ear, d datagram, at time.Time) {
	if v, p, err := r.accept(e, d); err == nil {
		r.send(v, v.receive(p, at))
	}
}

func (r *runner) accept(e ear, d datagram) (*voice, packet, error) {
	if !e.multihop && d.ttl != fullTTL {
		return nil, packet{}, errTTL
	}
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

var errTTL = errors.New("TTL is not 255")

// between tells whether a datagram is from the session's peer, to us.
func (v *voice) between(d datagram) bool {
	if d.from != v.Remote.WithZone("") || d.to != v.Local.WithZone("") {
		return false
	}
	if zone := v.Remote.Zone(); zone != "" {
		a, _ := sockaddr(v.Remote, 0).(*unix.SockaddrInet6)
		return a != nil && a.ZoneId == d.zone
	}
	return true
}

// send sends a session's packets. What can not be sent is not heard, which the
// peer will say.
func (r *runner) send(v *voice, out []packet) {
	if len(out) == 0 {
		return
	}
	if v.fd < 0 {
		fd, port, err := dial(v.Session, func(port int) bool {
			return slices.ContainsFunc(r.voices, func(o *voice) bool { return o.fd >= 0 && o.port == port })
		})
		if err != nil {
			return // The address is not there, or no longer; the next packet tries again.
		}
		v.fd, v.port = fd, port
	}
	for _, p := range out {
		_ = unix.Sendto(v.fd, p.marshal(), unix.MSG_DONTWAIT, sockaddr(v.Remote, v.ear().port()))
	}
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
		Reason: v.diag.String(), RemoteState: v.far.state, Transmit: v.interval(),
	}
	if !v.heard.IsZero() {
		s.Detect = v.detection()
	}
	return s
}
