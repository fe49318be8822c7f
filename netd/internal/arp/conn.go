package arp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"netd/netd/retry"
)

// frame is an ARP packet for IPv4 on Ethernet (RFC 826).
type frame struct {
	operation      uint16
	sender, target netip.Addr
	mac            net.HardwareAddr // the sender's
}

const (
	frameSize   = 28
	macSize     = 6
	request     = 1
	macAt       = 8
	senderAt    = 14
	targetAt    = 24
	probes      = 3
	probePause  = 250 * time.Millisecond
	framePause  = 10 * time.Millisecond // so that a flood of them costs little
	ethernet    = 1
	isIPv4      = 0x0800
	readPause   = time.Second // how long a read may hold up the end of its context
	everythingB = frameSize   // octets of a frame that the filter lets through
)

func (f frame) encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, ethernet)
	b = binary.BigEndian.AppendUint16(b, isIPv4)
	b = append(b, macSize, net.IPv4len)
	b = binary.BigEndian.AppendUint16(b, f.operation)
	b = append(append(b, f.mac...), f.sender.AsSlice()...)
	return append(append(b, make([]byte, macSize)...), f.target.AsSlice()...)
}

func decode(b []byte) (frame, bool) {
	if len(b) < frameSize || !bytes.Equal(b[:6], []byte{0, ethernet, isIPv4 >> 8, isIPv4 & 0xff, macSize, net.IPv4len}) {
		return frame{}, false
	}
	f := frame{operation: binary.BigEndian.Uint16(b[6:]), mac: slices.Clone(net.HardwareAddr(b[macAt : macAt+macSize]))}
	f.sender, f.target = netip.AddrFrom4([4]byte(b[senderAt:])), netip.AddrFrom4([4]byte(b[targetAt:]))
	return f, true
}

// conn hears who says that it has one of some addresses.
type conn struct {
	*packet.Conn
	mac       net.HardwareAddr
	addresses []netip.Addr
}

// open listens on a link. The kernel hands on only what is said by one of the addresses,
// and with probing what is asked for one.
func open(link string, addresses []netip.Addr, probing bool) (*conn, error) {
	i, err := net.InterfaceByName(link)
	if err != nil {
		return nil, fmt.Errorf("listen to ARP on %s: %w", link, err)
	}
	if len(i.HardwareAddr) != macSize {
		return nil, fmt.Errorf("listen to ARP on %s: it has no MAC address", link)
	}
	filter, err := bpf.Assemble(accept(addresses, probing))
	if err != nil {
		return nil, fmt.Errorf("listen to ARP on %s: %w", link, err)
	}
	c, err := packet.Listen(i, packet.Datagram, unix.ETH_P_ARP, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("listen to ARP on %s: %w", link, err)
	}
	return &conn{c, i.HardwareAddr, addresses}, nil
}

// accept is a filter (socket(7), SO_ATTACH_FILTER).
func accept(addresses []netip.Addr, probing bool) []bpf.Instruction {
	places := []uint32{senderAt}
	if probing {
		places = append(places, targetAt)
	}
	var program []bpf.Instruction
	for _, at := range places {
		program = append(program, bpf.LoadAbsolute{Off: at, Size: net.IPv4len})
		for _, a := range addresses {
			// The next one, the frame, is stepped over if it is another address.
			program = append(program,
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(a.AsSlice()), SkipTrue: 1},
				bpf.RetConstant{Val: everythingB})
		}
	}
	return append(program, bpf.RetConstant{Val: 0})
}

func (c *conn) send(f frame) error {
	_, err := c.WriteTo(f.encode(), &packet.Addr{HardwareAddr: net.HardwareAddr{255, 255, 255, 255, 255, 255}})
	return err
}

// probe asks who has an address, without saying that it is ours.
func (c *conn) probe(a netip.Addr) error {
	return c.send(frame{request, netip.IPv4Unspecified(), a, c.mac})
}

// announce says that an address is ours.
func (c *conn) announce(a netip.Addr) error { return c.send(frame{request, a, a, c.mac}) }

// hear waits until somebody else has said that he has, or with probing wants, one of the
// addresses; the time is over at until, and then the address is invalid.
func (c *conn) hear(ctx context.Context, until time.Time) (netip.Addr, net.HardwareAddr, error) {
	b := make([]byte, 2*frameSize)
	for ctx.Err() == nil {
		now := time.Now()
		if !now.Before(until) {
			return netip.Addr{}, nil, nil
		}
		if err := c.SetReadDeadline(now.Add(min(until.Sub(now), readPause))); err != nil {
			return netip.Addr{}, nil, err
		}
		n, _, err := c.ReadFrom(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return netip.Addr{}, nil, err
		}
		f, ok := decode(b[:n])
		if !ok || isOwn(f.mac) {
			retry.Sleep(ctx, framePause)
			continue
		}
		if slices.Contains(c.addresses, f.sender) {
			return f.sender, f.mac, nil
		}
		if f.operation == request && f.sender.IsUnspecified() && slices.Contains(c.addresses, f.target) {
			return f.target, f.mac, nil
		}
	}
	return netip.Addr{}, nil, ctx.Err()
}

// isOwn tells whether a MAC address is one of this box's: two of its links may be on one
// wire.
func isOwn(mac net.HardwareAddr) bool {
	all, err := net.Interfaces()
	return err == nil && slices.ContainsFunc(all, func(i net.Interface) bool { return bytes.Equal(i.HardwareAddr, mac) })
}

// Probe asks on a link whether another host has an address, or wants it at this moment, and
// returns its MAC address; nil if nobody has.
func Probe(ctx context.Context, link string, a netip.Addr) (net.HardwareAddr, error) {
	c, err := open(link, []netip.Addr{a}, true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	for range probes {
		if err := c.probe(a); err != nil {
			return nil, fmt.Errorf("ask for %s on %s: %w", a, link, err)
		}
		if _, mac, err := c.hear(ctx, time.Now().Add(probePause)); err != nil || mac != nil {
			return mac, err
		}
	}
	return nil, nil
}
