package rtnl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Conn talks to the rtnetlink of one network namespace.
type Conn struct {
	h       *netlink.Handle
	fib     *socket
	journal journal
}

// Open connects to the namespace of the calling thread.
func Open() (*Conn, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	return newConn(h, netns.None(), err)
}

// OpenAt connects to the namespace behind path (such as /run/netns/NAME).
func OpenAt(path string) (*Conn, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", path, err)
	}
	defer func() { _ = ns.Close() }()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	return newConn(h, ns, err)
}

func newConn(h *netlink.Handle, at netns.NsHandle, err error) (*Conn, error) {
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	// Let the kernel filter dumps by table and protocol; old kernels do not
	// know the option, and the library filters again anyway.
	_ = h.SetStrictCheck(true)
	fib, err := openSocket(at)
	if err == nil {
		err = h.SetSocketTimeout(silence) // The library's own waits for ever.
	}
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	return &Conn{h: h, fib: fib, journal: journal{sysctls: map[string]string{}}}, nil
}

// Close ends the connection.
func (c *Conn) Close() {
	c.h.Close()
	c.fib.s.Close()
}

// dumpTries bounds how often an interrupted dump is read again.
const dumpTries = 5

// dump reads a list until the kernel says that it did not change meanwhile
// (NLM_F_DUMP_INTR).
func dump[T any](what string, read func() ([]T, error)) ([]T, error) {
	for try := 1; ; try++ {
		list, err := read()
		if err == nil {
			return list, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == dumpTries {
			return nil, fmt.Errorf("list %s: %w", what, err)
		}
	}
}

// IsNotExist tells whether err means that the link, address or route is not there.
func IsNotExist(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) ||
		errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENOENT)
}

// IsSilent tells whether err means that the kernel has not answered in time.
func IsSilent(err error) bool { return errors.Is(err, errSilent) }

// IsNotSupported tells whether err means that the kernel lacks the kind of link.
func IsNotSupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT)
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func fromIP(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func toIP(a netip.Addr) net.IP {
	if !a.IsValid() {
		return nil
	}
	return a.AsSlice()
}
