package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// This is the part of rtnetlink that goes by the thousand: routes and next hops,
// written in chunks and read without a library between. A message is sent many
// to a datagram; each has a number of its own, and the kernel answers those that
// it refuses and the last one. It works on them in order, and it has done all of
// them when sendto(2) returns.

var (
	errShort  = errors.New("short message from the kernel")
	errSilent = errors.New("no answer from the kernel")
)

const (
	// chunkSize is the number of messages in one datagram: some 16 kB of the
	// socket's 212.
	chunkSize = 256
	// answerRoom holds a chunk's worth of refusals, if the kernel allows so much.
	answerRoom = 1 << 20
	// readSize is above the kernel's largest dump datagram (32 kB).
	readSize = 64 << 10
	// silence is how long an answer may take.
	silence = 10 * time.Second
)

// socket is one rtnetlink socket. Its lock is held for a request and its answers.
type socket struct {
	s    *nl.NetlinkSocket
	seq  uint32
	port uint32
	buf  []byte
	sent int // datagrams; tests look at it
	// heard is when the kernel was last asked something, or answered; it may be silent for
	// so long.
	heard   time.Time
	silence time.Duration
}

func openSocket(at netns.NsHandle) (*socket, error) {
	ns, err := nl.GetNetlinkSocketAt(at, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	s := &socket{s: ns, buf: make([]byte, readSize)}
	s.port, err = ns.GetPid()
	// Old kernels do not know these, and answer more, or less well.
	for _, opt := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK, unix.NETLINK_GET_STRICT_CHK} {
		_ = unix.SetsockoptInt(ns.GetFd(), unix.SOL_NETLINK, opt, 1)
	}
	_ = ns.SetReceiveBufferSize(answerRoom, true)
	err = errors.Join(err, unix.SetNonblock(ns.GetFd(), false), s.setSilence(silence))
	if err != nil {
		ns.Close()
		return nil, err
	}
	return s, nil
}

// setSilence bounds the wait for an answer, and that for room to ask.
func (s *socket) setSilence(d time.Duration) error {
	s.silence = d
	timeout := unix.NsecToTimeval(int64(d))
	return errors.Join(
		unix.SetsockoptTimeval(s.s.GetFd(), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptTimeval(s.s.GetFd(), unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout),
	)
}

// message is one request without its header.
type message struct {
	kind, flags uint16
	body        []byte
}

func (m message) appendTo(b []byte, seq, port uint32) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(m.body)))
	b = binary.NativeEndian.AppendUint16(b, m.kind)
	b = binary.NativeEndian.AppendUint16(b, m.flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, port)
	return append(b, m.body...) // Whose length is a multiple of 4 already.
}

func (s *socket) send(b []byte) error {
	s.sent++
	s.heard = time.Now()
	return unix.Sendto(s.s.GetFd(), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// header is what is looked at of an answer's.
type header struct {
	kind, flags uint16
	seq         uint32
}

// receive reads one datagram and gives each of its messages to f.
func (s *socket) receive(f func(h header, body []byte) error) error {
	n, from, err := unix.Recvfrom(s.s.GetFd(), s.buf, 0)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR) && time.Since(s.heard) > s.silence: // A signal begins the wait anew.
		return errSilent
	case errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return err
	}
	if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
		return nil // Not from the kernel.
	}
	s.heard = time.Now()
	for b := s.buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return errShort
		}
		h := header{binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:]), binary.NativeEndian.Uint32(b[8:])}
		if err := f(h, b[unix.SizeofNlMsghdr:size]); err != nil {
			return err
		}
		b = b[min(align(size), len(b)):]
	}
	return nil
}

// drain throws away the answers that wait. While a socket is full the kernel
// drops those to come, too.
func (s *socket) drain() {
	s.s.Lock()
	defer s.s.Unlock()
	for {
		_, _, err := unix.Recvfrom(s.s.GetFd(), s.buf, unix.MSG_DONTWAIT)
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// chunk sends messages in one datagram and returns the error of each. The second
// result is for what makes these unknown.
func (s *socket) chunk(messages []message) ([]error, error) {
	s.s.Lock()
	defer s.s.Unlock()
	first := s.seq + 1
	var b []byte
	for i, m := range messages {
		if i == len(messages)-1 {
			m.flags |= unix.NLM_F_ACK
		}
		s.seq++
		b = m.appendTo(b, s.seq, s.port)
	}
	if err := s.send(b); err != nil {
		return nil, err
	}
	errs := make([]error, len(messages))
	for done := false; !done; {
		err := s.receive(func(h header, body []byte) error {
			if i := h.seq - first; h.kind == unix.NLMSG_ERROR && i < uint32(len(errs)) {
				errs[i] = refusal(h, body)
				done = done || h.seq == s.seq
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return errs, nil
}

// refusal is the error in an NLMSG_ERROR, with the kernel's own words if it has any.
func refusal(h header, body []byte) error {
	if len(body) < 4+unix.SizeofNlMsghdr {
		return errShort
	}
	number := int32(binary.NativeEndian.Uint32(body))
	if number == 0 {
		return nil
	}
	err := error(unix.Errno(-number))
	echo := unix.SizeofNlMsghdr
	if h.flags&unix.NLM_F_CAPPED == 0 {
		echo = align(int(binary.NativeEndian.Uint32(body[4:])))
	}
	if h.flags&unix.NLM_F_ACK_TLVS == 0 || 4+echo > len(body) {
		return err
	}
	_ = eachAttr(body[4+echo:], func(kind uint16, v []byte) error {
		if kind == nl.NLMSGERR_ATTR_MSG {
			err = fmt.Errorf("%w: %s", err, unix.ByteSliceToString(v))
		}
		return nil
	})
	return err
}

// dumpAll reads a whole list. One that changed meanwhile is ErrDumpInterrupted.
func dumpAll[T any](s *socket, kind uint16, request []byte, decode func([]byte) (T, error)) ([]T, error) {
	s.s.Lock()
	defer s.s.Unlock()
	s.seq++
	if err := s.send(message{kind, unix.NLM_F_DUMP, request}.appendTo(nil, s.seq, s.port)); err != nil {
		return nil, err
	}
	var list []T
	var failed error
	for done := false; !done; {
		err := s.receive(func(h header, body []byte) error {
			if h.seq != s.seq {
				return nil
			}
			if h.flags&unix.NLM_F_DUMP_INTR != 0 {
				failed = netlink.ErrDumpInterrupted
			}
			switch h.kind {
			case unix.NLMSG_ERROR:
				done, failed = true, refusal(h, body)
			case unix.NLMSG_DONE:
				done = true
				if len(body) >= 4 && int32(binary.NativeEndian.Uint32(body)) < 0 {
					failed = unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
				}
			default:
				item, err := decode(body)
				if err != nil {
					failed = err
				}
				list = append(list, item)
			}
			return nil
		})
		if errors.Is(err, unix.ENOBUFS) {
			err = netlink.ErrDumpInterrupted // Something was dropped.
		}
		if err != nil {
			return nil, err
		}
	}
	return list, failed
}

// ask sends one request and returns its one answer.
func (s *socket) ask(m message) ([]byte, error) {
	s.s.Lock()
	defer s.s.Unlock()
	s.seq++
	if err := s.send(m.appendTo(nil, s.seq, s.port)); err != nil {
		return nil, err
	}
	var answer []byte
	var refused error
	for answer == nil && refused == nil {
		err := s.receive(func(h header, body []byte) error {
			switch {
			case h.seq != s.seq:
			case h.kind == unix.NLMSG_ERROR:
				refused = refusal(h, body)
			default:
				answer = slices.Clone(body)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return answer, refused
}

func align(n int) int { return (n + 3) &^ 3 }

// attr appends an attribute, padded.
func attr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, align(len(value))-len(value))...)
}

func attr32(b []byte, kind uint16, value uint32) []byte {
	return attr(b, kind, binary.NativeEndian.AppendUint32(nil, value))
}

// eachAttr calls f with each attribute.
func eachAttr(b []byte, f func(kind uint16, value []byte) error) error {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return errShort
		}
		if err := f(binary.NativeEndian.Uint16(b[2:])&^unix.NLA_F_NESTED, b[unix.SizeofRtAttr:size]); err != nil {
			return err
		}
		b = b[min(align(size), len(b)):]
	}
	return nil
}

func uint32Of(v []byte, to *uint32) error {
	if len(v) != 4 {
		return errShort
	}
	*to = binary.NativeEndian.Uint32(v)
	return nil
}

func intOf(v []byte, to *int) error {
	var n uint32
	err := uint32Of(v, &n)
	*to = int(n)
	return err
}
