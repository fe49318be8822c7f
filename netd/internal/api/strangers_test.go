package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// from connects a source to a listener on the loopback. One that is refused may be told
// by this or by the first question.
func from(t *testing.T, source string, to net.Addr) (net.Conn, error) {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(source), 0))}
	c, err := d.DialContext(t.Context(), "tcp", to.String())
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// asks sends a request and returns the answer.
func asks(c net.Conn, err error) (string, error) {
	if err != nil {
		return "", err
	}
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: gw\r\n\r\n"); err != nil {
		return "", err
	}
	all, err := io.ReadAll(c)
	if err == nil && len(all) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return string(all), err
}

// A source has its places and no more, and an end of one of its connections makes room.
func TestStrangers(t *testing.T) {
	l, err := ListenToStrangers(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() {
		served <- ServeStrangers(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") }), slog.New(slog.DiscardHandler))
	}()
	var idle []net.Conn
	for range strangersEach {
		c, err := from(t, "127.0.0.2", l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	if got, err := asks(from(t, "127.0.0.2", l.Addr())); err == nil {
		t.Errorf("one too many of a source is told %q", got)
	}
	// One request a connection.
	if got, err := asks(from(t, "127.0.0.3", l.Addr())); err != nil || !strings.HasSuffix(got, "\r\n\r\nserved") || !strings.Contains(got, "\r\nConnection: close\r\n") {
		t.Errorf("another source: %v, %q", err, got)
	}
	if got, err := asks(idle[0], nil); err != nil || !strings.HasSuffix(got, "served") {
		t.Errorf("one that waited: %v, %q", err, got)
	}
	deadline := time.Now().Add(time.Minute)
	for err := errors.New("no answer"); err != nil; {
		if _, err = asks(from(t, "127.0.0.2", l.Addr())); err != nil && time.Now().After(deadline) {
			t.Fatalf("no room after the end of a connection: %v", err)
		}
	}
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// All together have no more than their places.
func TestAllStrangers(t *testing.T) {
	l := limit(nil, 3, 2)
	a, b, c := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32"), netip.MustParsePrefix("2001:db8::/64")
	got := []bool{l.enter(a), l.enter(a), l.enter(a), l.enter(b), l.enter(c)}
	l.leave(a)
	got = append(got, l.enter(c), l.enter(b))
	if diff := cmp.Diff([]bool{true, true, false, true, false, true, false}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, p := range []netip.Prefix{a, b, c} {
		l.leave(p)
	}
	if l.open != 0 || len(l.of) != 0 {
		t.Errorf("%d open, %v after the last one has left", l.open, l.of)
	}
}

// named is a connection from an address.
type named struct {
	net.Conn
	address string
}

func (n named) RemoteAddr() net.Addr {
	if a, err := net.ResolveTCPAddr("tcp", n.address); err == nil {
		return a
	}
	return &net.UnixAddr{Name: n.address, Net: "unix"}
}

func TestSource(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.9:80": "192.0.2.9/32", "[::ffff:192.0.2.9]:80": "192.0.2.9/32",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64", "[fe80::1%lo]:80": "fe80::/64", "@": "invalid Prefix",
	} {
		if got := sourceOf(named{address: address}).String(); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// Who asks too many things of the socket at once is told so.
func TestTooManyClients(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	inner, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	l := limit(inner, 1, 1)
	defer func() { _ = l.Close() }()
	first, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	admitted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		c, err := l.Accept() // refuses the second one
		if err == nil {
			_ = c.Close()
		}
	}()
	err = NewClient(socket).Get(t.Context(), "/v1/status", new(Status))
	if err == nil || !strings.Contains(err.Error(), "or has 256 clients already") {
		t.Errorf("a second one is told %v", err)
	}
	if err := admitted.Close(); err != nil {
		t.Error(err)
	}
}
