package rawbgp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"netd/firmware/lab/patience"
	"netd/netd/internal/watchdog"
)

// Options of a session.
type Options struct {
	Local  netip.Addr
	Remote netip.AddrPort
	AS     uint32
	// Hold time, proposed to the other side: 3 s or more.
	Hold time.Duration
	// Capabilities (RFC 5492) beside those of IPv4 unicast and 4-octet AS numbers,
	// as code, length and value.
	Capabilities []byte
	// TTL of what is sent; 0 is the system's.
	TTL int
}

// Session is an established session.
type Session struct {
	conn net.Conn
	// Peer is the other side's OPEN, without its header.
	Peer    []byte
	updates atomic.Int64
	heard   watchdog.Dog
	done    chan struct{}
	once    sync.Once
	err     error // why it ended; set before done is closed
}

// Ended is the error of a session that the other side ended with a NOTIFICATION.
type Ended struct {
	Code, Subcode byte
	Data          []byte
}

func (e Ended) Error() string { return fmt.Sprintf("NOTIFICATION %d/%d %x", e.Code, e.Subcode, e.Data) }

// Connect opens a session, and tries again until ctx ends: a speaker that has ended
// one does not take the next at once.
func Connect(ctx context.Context, o Options) (*Session, error) {
	for {
		s, err := connect(ctx, o)
		if err == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("open a session from %s to %s: %w", o.Local, o.Remote, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (o Options) open() []byte {
	short := uint16(o.AS)
	if o.AS > 0xffff {
		short = 23456 // AS_TRANS, RFC 6793
	}
	capabilities := []byte{1, 4, 0, 1, 0, 1, 65, 4}
	capabilities = binary.BigEndian.AppendUint32(capabilities, o.AS)
	capabilities = append(capabilities, o.Capabilities...)
	body := []byte{4}
	body = binary.BigEndian.AppendUint16(body, short)
	body = binary.BigEndian.AppendUint16(body, uint16(o.Hold/time.Second))
	body = append(body, o.Local.AsSlice()...)
	body = append(body, byte(2+len(capabilities)), 2, byte(len(capabilities)))
	return Message(Open, append(body, capabilities...))
}

// Dial connects from the address, and leaves the rest to the caller.
func (o Options) Dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(o.Local, 0)),
		Timeout:   5 * time.Second,
		Control: func(_, _ string, c syscall.RawConn) error {
			if o.TTL == 0 {
				return nil
			}
			var err error
			return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, o.TTL) }), err)
		},
	}
	return d.DialContext(ctx, "tcp", o.Remote.String())
}

func connect(ctx context.Context, o Options) (_ *Session, err error) {
	conn, err := o.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	lift := patience.Limit(conn, 5*time.Second)
	defer lift()
	if _, err := conn.Write(append(o.open(), Message(Keepalive, nil)...)); err != nil {
		return nil, err
	}
	s := &Session{conn: conn, done: make(chan struct{})}
	for _, want := range []byte{Open, Keepalive} {
		kind, body, err := Read(conn)
		if err != nil {
			return nil, err
		}
		if kind != want {
			return nil, fmt.Errorf("message of type %d while waiting for one of type %d: %x", kind, want, body)
		}
		if kind == Open {
			s.Peer = body
		}
	}
	lift()
	go s.listen()
	go s.watch(o.Hold)
	go s.keepAlive(o.Hold / 3)
	return s, nil
}

// Read reads one message. A NOTIFICATION is an Ended.
func Read(r io.Reader) (kind byte, body []byte, err error) {
	header := make([]byte, headerLen)
	if _, err := io.ReadFull(r, header); err != nil {
		return 0, nil, err
	}
	length := int(binary.BigEndian.Uint16(header[16:]))
	if length < headerLen {
		return 0, nil, fmt.Errorf("a message of %d octets", length)
	}
	body = make([]byte, length-headerLen)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	if header[18] == Notification && len(body) >= 2 {
		return 0, nil, Ended{body[0], body[1], body[2:]}
	}
	return header[18], body, nil
}

func (s *Session) listen() {
	for {
		kind, _, err := Read(s.conn)
		if err != nil {
			s.end(err)
			return
		}
		s.heard.Feed()
		if kind == UpdateType {
			s.updates.Add(1)
		}
	}
}

// watch ends a session whose other side is silent for longer than the hold time, in which
// the machine ran.
func (s *Session) watch(hold time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-s.done; cancel() }()
	s.heard.Run(ctx, 100*time.Millisecond, hold, func(silent time.Duration) { s.end(fmt.Errorf("silent for %s", silent)) })
}

func (s *Session) keepAlive(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
			if err := s.Send(Message(Keepalive, nil)); err != nil {
				s.end(err)
				return
			}
		}
	}
}

func (s *Session) end(err error) {
	s.once.Do(func() {
		s.err = err
		_ = s.conn.Close()
		close(s.done)
	})
}

// Send writes octets; whole messages, unless that is the point.
func (s *Session) Send(b []byte) error {
	_, err := s.conn.Write(b)
	return err
}

// Updates counts the UPDATEs that were received.
func (s *Session) Updates() int64 { return s.updates.Load() }

// Done is closed when the session has ended; Err is then why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is why an ended session ended.
func (s *Session) Err() error { return s.err }

// Close ends the session without a word.
func (s *Session) Close() { s.end(net.ErrClosed) }
