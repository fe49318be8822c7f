package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// watchBuffer holds the notifications of the largest feed, so that none is lost.
	watchBuffer = 256 << 20
	// watchPause between looks is the resolution of all times. Meanwhile the
	// receiver has the processors for itself.
	watchPause = 500 * time.Microsecond
)

// fibWatch counts which of a feed's prefixes are in a namespace's kernel, by what
// the kernel tells of them: the same for whoever puts them there.
type fibWatch struct {
	fd    int
	buf   []byte
	first uint32 // address of the first prefix
	shift int    // one prefix is 1<<shift addresses
	there []bool
	count int
}

// newFIBWatch watches the namespace of the calling thread, for n prefixes from
// the first on.
func newFIBWatch(first netip.Prefix, n int) (*fibWatch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	base := first.Addr().As4()
	w := &fibWatch{
		fd: fd, buf: make([]byte, 64<<10), first: binary.BigEndian.Uint32(base[:]), shift: 32 - first.Bits(), there: make([]bool, n),
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchBuffer),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_IPV4_ROUTE}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch routes: %w", err), unix.Close(fd))
	}
	return w, nil
}

func (w *fibWatch) close() { _ = unix.Close(w.fd) }

// until waits until so many of the prefixes are there, and returns when that was.
// alive is asked now and then, and ends the wait with its error.
func (w *fibWatch) until(count int, timeout time.Duration, alive func() error) (time.Time, error) {
	deadline := time.Now().Add(timeout)
	for {
		if err := w.read(); err != nil {
			return time.Time{}, fmt.Errorf("watch routes: %w", err)
		}
		now := time.Now()
		if w.count == count {
			return now, nil
		}
		if err := alive(); err != nil {
			return now, err
		}
		if now.After(deadline) {
			return now, fmt.Errorf("%d of the prefixes are in the kernel after %s, expected %d", w.count, timeout, count)
		}
		time.Sleep(watchPause)
	}
}

// read takes in all that the kernel has told.
func (w *fibWatch) read() error {
	for {
		n, _, err := unix.Recvfrom(w.fd, w.buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		}
		for b := w.buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.SizeofNlMsghdr || size > len(b) {
				return errors.New("short message from the kernel")
			}
			w.note(binary.NativeEndian.Uint16(b[4:]), b[unix.SizeofNlMsghdr:size])
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// note is one route that came or went; struct rtmsg and its attributes.
func (w *fibWatch) note(kind uint16, b []byte) {
	if len(b) < unix.SizeofRtMsg || b[1] != byte(32-w.shift) || b[4] != unix.RT_TABLE_MAIN {
		return
	}
	for b = b[unix.SizeofRtMsg:]; len(b) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		if binary.NativeEndian.Uint16(b[2:]) == unix.RTA_DST && size == unix.SizeofRtAttr+4 {
			w.mark(int(binary.BigEndian.Uint32(b[unix.SizeofRtAttr:])-w.first)>>w.shift, kind == unix.RTM_NEWROUTE)
			return
		}
		b = b[min((size+3)&^3, len(b)):]
	}
}

func (w *fibWatch) mark(i int, there bool) {
	if i < 0 || i >= len(w.there) || w.there[i] == there {
		return
	}
	if w.there[i] = there; there {
		w.count++
	} else {
		w.count--
	}
}
