// Package feed is a peer that does nothing but feed: it speaks as much BGP as a
// receiver needs to take many prefixes from it, and has the UPDATEs ready before
// the clock starts. It reads what it is sent only to notice a NOTIFICATION.
package feed

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/layout"
)

// The types of a message (RFC 4271, 4.1).
const (
	typeOpen         = 1
	typeUpdate       = 2
	typeNotification = 3
	typeKeepalive    = 4
)

const (
	headerSize = 19
	maxSize    = 4096
	holdTime   = 180 * time.Second
)

// Session is an established one.
type Session struct {
	conn net.Conn
	done chan struct{}
	err  error // set before done is closed
}

// Dial opens a session from local, as AS as, with the receiver at remote. It must
// be called on a thread that is in the namespace to speak from.
func Dial(ctx context.Context, local, remote netip.Addr, as uint32) (*Session, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0)), Timeout: time.Second, Control: fullTTL}
	conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(remote, layout.BGPPort).String())
	if err != nil {
		return nil, err
	}
	s := &Session{conn: conn, done: make(chan struct{})}
	if err := s.open(local, as); err != nil {
		return nil, errors.Join(fmt.Errorf("open a session with %s: %w", remote, err), conn.Close())
	}
	go s.read()
	go s.keepAlive()
	return s, nil
}

// fullTTL is for receivers that check it (RFC 5082).
func fullTTL(_, _ string, c syscall.RawConn) error {
	var err error
	outer := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 255) })
	return errors.Join(outer, err)
}

// Close ends the session without a NOTIFICATION.
func (s *Session) Close() error {
	err := s.conn.Close()
	<-s.done
	return err
}

// Err is why the session has ended, nil if it has not.
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Send writes messages.
func (s *Session) Send(messages []byte) error {
	_, err := s.conn.Write(messages)
	return errors.Join(err, s.Err())
}

// open exchanges OPEN and the first KEEPALIVE.
func (s *Session) open(id netip.Addr, as uint32) error {
	if err := s.conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := s.conn.Write(append(open(id, as), message(typeKeepalive, nil)...)); err != nil {
		return err
	}
	for _, want := range []byte{typeOpen, typeKeepalive} {
		kind, body, err := s.receive(make([]byte, maxSize))
		if err != nil {
			return err
		}
		if kind != want {
			return fmt.Errorf("message of type %d (% x), expected %d", kind, body, want)
		}
	}
	return s.conn.SetDeadline(time.Time{})
}

// read throws away what comes, until the session ends.
func (s *Session) read() {
	defer close(s.done)
	buf := make([]byte, maxSize)
	for {
		kind, body, err := s.receive(buf)
		if err == nil && kind == typeNotification {
			err = fmt.Errorf("NOTIFICATION % x", body)
		}
		if err != nil {
			s.err = err
			return
		}
	}
}

func (s *Session) keepAlive() {
	tick := time.NewTicker(holdTime / 3)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
			_, _ = s.conn.Write(message(typeKeepalive, nil)) // read sees its end.
		}
	}
}

func (s *Session) receive(buf []byte) (kind byte, body []byte, err error) {
	if _, err := io.ReadFull(s.conn, buf[:headerSize]); err != nil {
		return 0, nil, err
	}
	size := int(binary.BigEndian.Uint16(buf[16:]))
	if size < headerSize || size > maxSize {
		return 0, nil, fmt.Errorf("message of %d octets", size)
	}
	_, err = io.ReadFull(s.conn, buf[headerSize:size])
	return buf[18], buf[headerSize:size], err
}
