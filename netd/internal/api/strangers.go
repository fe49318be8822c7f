package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What strangers may take of the box by a port that is open to them: all in all some
// 10 MB, of which most are the kernel's buffers, and a handful of descriptors.
const (
	// strangers is how many connections there may be at once, and strangersEach how many
	// of one source.
	strangers, strangersEach = 64, 8
	// strangersWait is for how many the kernel keeps the first packets while they are not
	// accepted.
	strangersWait = 64
	// headerTimeout bounds the time for a request, answerTimeout that and the answer's.
	headerTimeout, answerTimeout = 5 * time.Second, 15 * time.Second
	// headerMost is the most octets of a request, answerBuffer what the kernel keeps of an
	// answer for a client that does not read.
	headerMost, answerBuffer = 4 << 10, 64 << 10
)

// ListenToStrangers opens a TCP port whose connections cost the box little.
func ListenToStrangers(at netip.AddrPort) (net.Listener, error) {
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return nil, err
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	var shorter error
	// listen(2) again: Go's queue is as long as the machine permits (4,096).
	err = raw.Control(func(fd uintptr) { shorter = unix.Listen(int(fd), strangersWait) })
	if err := errors.Join(err, shorter); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return limit(l, strangers, strangersEach), nil
}

// ServeStrangers answers by the handler until ctx ends, one request a connection. The
// handler waits for nothing that a client decides.
func ServeStrangers(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: answerTimeout, MaxHeaderBytes: headerMost,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // Strangers write no log.
	}
	s.SetKeepAlivesEnabled(false)
	return serve(ctx, s, l)
}

// limited is a listener that refuses connections beyond a number of all and of one
// source at once: one that waited for its turn would cost as much as one that is served.
type limited struct {
	net.Listener
	all, each int

	mu   sync.Mutex // guards what follows
	open int
	of   map[netip.Prefix]int
}

func limit(l net.Listener, all, each int) *limited {
	return &limited{Listener: l, all: all, each: each, of: map[netip.Prefix]int{}}
}

// Accept returns the next connection that is within the bounds.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := sourceOf(c)
		if l.enter(source) {
			frugal(c)
			return &admitted{Conn: c, leave: sync.OnceFunc(func() { l.leave(source) })}, nil
		}
		refuse(c)
	}
}

func (l *limited) enter(source netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.all || l.of[source] >= l.each {
		return false
	}
	l.open++
	l.of[source]++
	return true
}

func (l *limited) leave(source netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.of[source]--; l.of[source] == 0 {
		delete(l.of, source)
	}
}

// sourceOf is who has connected: an IPv4 address, an IPv6 subnet, in which a host takes
// as many addresses as it likes, or nobody in particular (a unix socket).
func sourceOf(c net.Conn) netip.Prefix {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Prefix{}
	}
	const subnet = 64
	a := at.Addr().Unmap().WithZone("")
	p, _ := a.Prefix(min(a.BitLen(), subnet)) // It fails for lengths that no address has.
	return p
}

// frugal keeps the kernel's buffers of a connection from growing to megabytes.
func frugal(c net.Conn) {
	if c, ok := c.(*net.TCPConn); ok {
		// They fail on a connection that is gone.
		_, _ = c.SetReadBuffer(headerMost), c.SetWriteBuffer(answerBuffer)
	}
}

// refuse ends a connection so that nothing is left of it.
func refuse(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// admitted is a connection that makes room when it ends.
type admitted struct {
	net.Conn
	leave func()
}

// Close ends it.
func (a *admitted) Close() error {
	defer a.leave()
	return a.Conn.Close()
}
