package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/layout"
)

const (
	// Source ports (RFC 5881 section 4).
	firstSource, sources = 49152, 65536 - 49152
	// fullTTL is sent, and over a single hop required: who is further away can
	// not send it (RFC 5881 section 5, RFC 5082).
	fullTTL = 255
	// control is the traffic class of routing protocols, CS6 (RFC 2474).
	control = 0xc0
)

// ear says where packets are received: one socket for each family and kind.
type ear struct{ v6, multihop bool }

func (e ear) port() int {
	if e.multihop {
		return layout.BFDMultihopPort
	}
	return layout.BFDPort
}

func (e ear) family() int {
	if e.v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// option is one socket option.
type option struct{ level, name, value int }

func open(family int, options []option) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open BFD socket: %w", err)
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return -1, errors.Join(fmt.Errorf("set option %d of a BFD socket: %w", o.name, err), unix.Close(fd))
		}
	}
	return fd, nil
}

// listen opens the socket of an ear for the peers.
func (e ear) listen(peers []netip.Addr) (int, error) {
	options := []option{{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}}
	var all unix.Sockaddr = &unix.SockaddrInet4{Port: e.port()}
	if e.v6 {
		all = &unix.SockaddrInet6{Port: e.port()}
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1}, option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1})
	} else {
		options = append(options, option{unix.IPPROTO_IP, unix.IP_PKTINFO, 1})
	}
	fd, err := open(e.family(), options)
	if err != nil {
		return -1, err
	}
	if err := attach(fd, admit(e, peers)); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	if err := unix.Bind(fd, all); err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			err = errors.New("taken by another program (ss -lunp names it)")
		}
		return -1, errors.Join(fmt.Errorf("listen for BFD on UDP port %d: %w", e.port(), err), unix.Close(fd))
	}
	return fd, nil
}

// dial opens the socket that a session sends from, with the source port that it had
// before, or else one that no other session has.
func dial(s Session, before int, used func(port int) bool) (fd, port int, err error) {
	e := s.ear()
	options := []option{{unix.SOL_SOCKET, unix.SO_RCVBUF, 0}} // the least there is: nothing is read from it
	if e.v6 {
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, fullTTL}, option{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, control})
	} else {
		options = append(options, option{unix.IPPROTO_IP, unix.IP_TTL, fullTTL}, option{unix.IPPROTO_IP, unix.IP_TOS, control})
	}
	if !s.Multihop {
		options = append(options, option{unix.SOL_SOCKET, unix.SO_DONTROUTE, 1})
	}
	if fd, err = open(e.family(), options); err != nil {
		return -1, 0, err
	}
	begin := rand.IntN(sources)
	if before > 0 {
		begin = before - firstSource
	}
	for i := range sources {
		port = firstSource + (begin+i)%sources
		if used(port) {
			continue
		}
		if err = unix.Bind(fd, sockaddr(s.from(), port)); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return -1, 0, errors.Join(fmt.Errorf("send BFD from %s: %w", s.Local, err), unix.Close(fd))
	}
	return fd, port, nil
}

// from is the address to send from; a link-local one is of the peer's link.
func (s Session) from() netip.Addr {
	if s.Local.Is6() && s.Local.IsLinkLocalUnicast() {
		return s.Local.WithZone(s.Remote.Zone())
	}
	return s.Local
}

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Port: port, Addr: a.As16(), ZoneId: linkIndex(a.Zone())}
}

// linkIndex is 0 for no link, and for one that is not there.
func linkIndex(name string) uint32 {
	if name == "" {
		return 0
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0
	}
	return uint32(i.Index)
}

// datagram is what was received, and how.
type datagram struct {
	payload  []byte
	from, to netip.Addr // without zone
	zone     uint32     // the link's index, for link-local addresses
	wall     int64      // the kernel's receive time, in ns since 1970; 0 if not known
}

// read takes one datagram from the socket; false if there is none.
func read(fd int, buf, oob []byte) (datagram, bool) {
	for {
		n, oobn, _, from, err := unix.Recvmsg(fd, buf, oob, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return datagram{}, false
		}
		d := datagram{payload: buf[:n]}
		switch a := from.(type) {
		case *unix.SockaddrInet4:
			d.from = netip.AddrFrom4(a.Addr)
		case *unix.SockaddrInet6:
			d.from, d.zone = netip.AddrFrom16(a.Addr), a.ZoneId
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			continue
		}
		for _, m := range messages {
			d.note(m)
		}
		return d, true
	}
}

// note takes what the kernel tells beside the payload.
func (d *datagram) note(m unix.SocketControlMessage) {
	switch at := [2]int32{m.Header.Level, m.Header.Type}; {
	case at == [2]int32{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS} && len(m.Data) >= 16:
		d.wall = int64(binary.NativeEndian.Uint64(m.Data))*int64(time.Second) + int64(binary.NativeEndian.Uint64(m.Data[8:]))
	case at == [2]int32{unix.IPPROTO_IP, unix.IP_PKTINFO} && len(m.Data) >= 12: // index, specific destination, destination
		d.to = netip.AddrFrom4([4]byte(m.Data[8:12]))
	case at == [2]int32{unix.IPPROTO_IPV6, unix.IPV6_PKTINFO} && len(m.Data) >= 16:
		d.to = netip.AddrFrom16([16]byte(m.Data))
	}
}
