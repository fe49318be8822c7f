package dhcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	serverPort, clientPort = 67, 68
	// mostOctets is more than any link's MTU.
	mostOctets = 9216
)

// link is a wire of the kernel's: it hears what comes for a link that has no address yet.
type link struct {
	net.PacketConn
	raw  *packet.Conn
	name string
	udp  net.PacketConn // as which servers know us, while there is one to talk to
}

func openWire(name string) (wire, net.HardwareAddr, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, nil, err
	}
	filter, err := bpf.Assemble(forClients())
	if err != nil {
		return nil, nil, err
	}
	raw, err := packet.Listen(i, packet.Datagram, unix.ETH_P_IP, &packet.Config{Filter: filter})
	if err != nil {
		return nil, nil, err
	}
	return &link{PacketConn: nclient4.NewBroadcastUDPConn(raw, &net.UDPAddr{Port: clientPort}), raw: raw, name: name}, i.HardwareAddr, nil
}

// forClients lets through what is for UDP port 68, of packets that begin with their IP
// header: the rest of a gateway's traffic is not to be looked at.
func forClients() []bpf.Instruction {
	const protocolAt, fragmentAt, portAt, fragment = 9, 6, 2, 0x1fff
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: protocolAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
		bpf.LoadAbsolute{Off: fragmentAt, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: fragment, SkipTrue: 4},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: portAt, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: clientPort, SkipTrue: 1},
		bpf.RetConstant{Val: mostOctets},
		bpf.RetConstant{Val: 0},
	}
}

// Send sends to a server by the kernel's routes, or else to all on the link.
func (l *link) Send(m *dhcpv4.DHCPv4, from, to netip.Addr) error {
	if to.IsValid() && from.IsValid() {
		if err := l.unicast(m.ToBytes(), from, to); err == nil {
			return nil
		}
	}
	_, err := l.WriteTo(m.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: serverPort})
	return err
}

// unicast sends as a host that has its address. The socket stays until the answer has come,
// so that the kernel does not refuse that for us.
func (l *link) unicast(b []byte, from, to netip.Addr) error {
	if l.udp == nil {
		config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			var set error
			err := c.Control(func(fd uintptr) {
				set = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.BindToDevice(int(fd), l.name))
			})
			return errors.Join(err, set)
		}}
		udp, err := config.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(from, clientPort).String())
		if err != nil {
			return err
		}
		l.udp = udp
	}
	_, err := l.udp.WriteTo(b, &net.UDPAddr{IP: to.AsSlice(), Port: serverPort})
	return err
}

// Receive leaves out what is no DHCP packet.
func (l *link) Receive(until time.Time) (*dhcpv4.DHCPv4, error) {
	if err := l.SetReadDeadline(until); err != nil {
		return nil, err
	}
	b := make([]byte, mostOctets)
	for {
		n, _, err := l.ReadFrom(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if m, err := dhcpv4.FromBytes(b[:n]); err == nil {
			return m, nil
		}
	}
}

func (l *link) Has(a netip.Addr) bool {
	i, err := net.InterfaceByName(l.name)
	if err != nil {
		return false
	}
	all, err := i.Addrs()
	return err == nil && slices.ContainsFunc(all, func(have net.Addr) bool {
		p, err := netip.ParsePrefix(have.String())
		return err == nil && p.Addr() == a
	})
}

func (l *link) Close() error {
	if l.udp != nil {
		_ = l.udp.Close()
	}
	return l.raw.Close()
}
