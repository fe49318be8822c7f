package radv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	ipv6Level    = unix.IPPROTO_IPV6
	ipv6HopLimit = unix.IPV6_HOPLIMIT
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// socket hears and sends the messages of one link.
type socket struct {
	*net.IPConn
	link net.Interface
}

func listen(ctx context.Context, link net.Interface) (*socket, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = prepare(int(fd), link) }), err)
	}}
	c, err := config.ListenPacket(ctx, "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("listen for router advertisements on %s: %w", link.Name, err)
	}
	return &socket{c.(*net.IPConn), link}, nil
}

// prepare binds the socket to the link and keeps everything else out of it.
func prepare(fd int, link net.Interface) error {
	filter := unix.ICMPv6Filter{Data: [8]uint32{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)}}
	for _, kind := range []int{solicitation, advertisement} {
		filter.Data[kind/32] &^= 1 << (kind % 32)
	}
	group := unix.IPv6Mreq{Multiaddr: allRouters.As16(), Interface: uint32(link.Index)}
	return errors.Join(
		unix.SetsockoptICMPv6Filter(fd, unix.SOL_ICMPV6, unix.ICMPV6_FILTER, &filter),
		unix.BindToDevice(fd, link.Name),
		unix.SetsockoptIPv6Mreq(fd, ipv6Level, unix.IPV6_JOIN_GROUP, &group),
		unix.SetsockoptInt(fd, ipv6Level, unix.IPV6_RECVHOPLIMIT, 1),
		unix.SetsockoptInt(fd, ipv6Level, unix.IPV6_MULTICAST_HOPS, 255),
		unix.SetsockoptInt(fd, ipv6Level, unix.IPV6_MULTICAST_LOOP, 0),
		unix.SetsockoptInt(fd, ipv6Level, unix.IPV6_MULTICAST_IF, link.Index),
	)
}

// send sends a message to all who listen for its kind.
func (s *socket) send(kind byte) error {
	to := allNodes
	if kind == solicitation {
		to = allRouters
	}
	_, err := s.WriteToIP(newMessage(kind, s.link.HardwareAddr), &net.IPAddr{IP: to.AsSlice(), Zone: s.link.Name})
	return err
}

// message is one that came.
type message struct {
	kind     byte
	from     netip.Addr
	lifetime time.Duration // of an advertisement's router; 0 if it is no default router
}

// receive waits for the next message that is right.
func (s *socket) receive() (message, error) {
	octets, control := make([]byte, 2048), make([]byte, 256)
	for {
		n, cn, _, from, err := s.ReadMsgIP(octets, control)
		if err != nil {
			return message{}, err
		}
		parsed, err := unix.ParseSocketControlMessage(control[:cn])
		if err != nil {
			continue
		}
		for _, m := range parsed {
			limit, ok := hopLimitOf(m.Header.Level, m.Header.Type, m.Data)
			sender, valid := netip.AddrFromSlice(from.IP)
			if kind := kindOf(octets[:n], limit); ok && valid && kind != 0 {
				return message{kind, sender, lifetimeOf(octets[:n])}, nil
			}
		}
	}
}
