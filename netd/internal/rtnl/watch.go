package rtnl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netd/netd/wake"
)

// eventRoom holds the notifications of some ten thousand routes.
const eventRoom = 4 << 20

// Event is what Watch tells. It is a hint: the caller reads again what it needs.
type Event struct {
	What What
	// Down is the index of a link that was up and is down or gone, if that is the event,
	// else 0. It may be up again by now: the kernel has dropped its routes and next hops.
	Down int
	// Gone is an address that was taken away, if that is the event: IPv4 routes with it as
	// their source have gone too, and not every kernel tells of these.
	Gone netip.Addr
}

// What is the kind of thing that has changed.
type What int

// The kinds.
const (
	WatchBegun What = iota // all may have changed until now
	LinksChanged
	AddressesChanged
	RoutesChanged     // others'
	OwnRoutesChanged  // somebody else has written or removed one of the protocol, or put another in its place
	NextHopsChanged   // by somebody else, or gone with a link: their routes go without a word
	ConfChanged       // sysctls of which the kernel tells: forwarding, rp_filter, proxy_arp, …
	NeighboursChanged // by hand, or a bridge's or a tunnel's
	kinds
)

// Watch tells once that it listens, and whenever a link, an address, a route or a
// next-hop object has changed, until ctx ends. Of what c itself does to routes and next
// hops it tells nothing. tell is called from one goroutine and must not wait. Watch
// returns an error if the kernel drops events or closes the socket; the caller then
// starts it again, and is told to read everything.
func (c *Conn) Watch(ctx context.Context, protocol int, tell func(Event)) error {
	done := make(chan struct{})
	defer close(done)
	w := &watcher{done: done, own: c.fib.port, lost: make(chan error, 4), some: wake.New()}
	links := make(chan netlink.LinkUpdate, 64)
	addrs := make(chan netlink.AddrUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: w.report}); err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ErrorCallback: w.report}); err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	if err := w.listen(routeKind(protocol), unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE); err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	if err := w.listen(func([]byte) What { return NextHopsChanged }, unix.RTNLGRP_NEXTHOP); err != nil {
		return fmt.Errorf("watch next hops: %w", err)
	}
	if err := w.listen(func([]byte) What { return ConfChanged }, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF); err != nil {
		return fmt.Errorf("watch sysctls: %w", err)
	}
	if err := w.listen(neighbourKind, unix.RTNLGRP_NEIGH); err != nil {
		return fmt.Errorf("watch neighbours: %w", err)
	}
	list, err := c.Links()
	if err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	up := map[int]bool{}
	for _, l := range list {
		up[l.Index] = l.Up
	}
	tell(Event{What: WatchBegun})
	for {
		open := true
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-w.lost:
			return fmt.Errorf("watch rtnetlink: %w", err)
		case <-w.some:
			w.each(tell)
		case u, ok := <-links:
			if open = ok; ok {
				tell(linkEvent(up, u))
			}
		case u, ok := <-addrs:
			if open = ok; ok {
				tell(addressEvent(u))
			}
		}
		if !open {
			return errors.New("watch rtnetlink: socket closed")
		}
	}
}

// linkEvent is what a notification means, after what is known of links.
func linkEvent(up map[int]bool, u netlink.LinkUpdate) Event {
	index, e := int(u.Index), Event{What: LinksChanged}
	now := u.Flags&unix.IFF_UP != 0 && u.Header.Type != unix.RTM_DELLINK
	if up[index] && !now {
		e.Down = index
	}
	if up[index] = now; u.Header.Type == unix.RTM_DELLINK {
		delete(up, index)
	}
	return e
}

func addressEvent(u netlink.AddrUpdate) Event {
	e := Event{What: AddressesChanged}
	if !u.NewAddr {
		e.Gone = fromIP(u.LinkAddress.IP)
	}
	return e
}

// routeKind tells a notification of the protocol's routes from others'. One that took
// another's place may have taken ours.
func routeKind(protocol int) func(b []byte) What {
	return func(b []byte) What {
		const protocolAt = unix.SizeofNlMsghdr + 5 // in struct rtmsg
		replaced := binary.NativeEndian.Uint16(b[typeAt:]) == unix.RTM_NEWROUTE && binary.NativeEndian.Uint16(b[flagsAt:])&unix.NLM_F_REPLACE != 0
		if int(b[protocolAt]) == protocol || replaced {
			return OwnRoutesChanged
		}
		return RoutesChanged
	}
}

// neighbourKind tells what somebody says of neighbours from what the kernel finds out of its
// own accord, which is the case every few seconds; but for a bridge's and a tunnel's, whose
// notifications do not say who.
func neighbourKind(b []byte) What {
	if b[unix.SizeofNlMsghdr] != unix.AF_BRIDGE && binary.NativeEndian.Uint32(b[portAt:]) == 0 {
		return ignored
	}
	return NeighboursChanged
}

// ignored is what concerns nobody.
const ignored What = -1

// leastBody is the least that a notification has behind its header: struct netconfmsg and
// an attribute's.
const leastBody = 1

// watcher listens to routes and next hops.
type watcher struct {
	done <-chan struct{}
	own  uint32 // the port of the socket whose work is not told
	lost chan error
	some wake.Signal
	told [kinds]atomic.Bool
}

func (w *watcher) report(err error) {
	select {
	case w.lost <- err:
	default:
	}
}

// each tells what has come since the last time, each kind once.
func (w *watcher) each(tell func(Event)) {
	for k := range w.told {
		if w.told[k].Swap(false) {
			tell(Event{What: What(k)})
		}
	}
}

// listen notes which kinds of messages there are, and parses no more of each than tells
// its kind: a table that is filled is as many messages as routes, and the library makes
// 64 KiB of garbage of each.
func (w *watcher) listen(kind func(b []byte) What, groups ...uint) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	s := os.NewFile(uintptr(fd), "rtnetlink")
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, g := range groups {
		to.Groups |= 1 << (g - 1)
	}
	filter := notFrom(w.own)
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventRoom), unix.Bind(fd, to),
	)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	go func() {
		<-w.done
		_ = s.Close()
	}()
	go func() {
		var begin [unix.SizeofNlMsghdr + unix.SizeofRtMsg]byte // Each notification is a datagram of its own.
		for {
			n, err := s.Read(begin[:])
			if err != nil {
				w.report(err)
				return
			}
			if n < unix.SizeofNlMsghdr+leastBody {
				continue
			}
			if k := kind(begin[:]); k != ignored {
				w.told[k].Store(true)
				w.some.Send()
			}
		}
	}()
	return nil
}

// Where struct nlmsghdr has the type, the flags and the port of who asked for it.
const (
	typeAt  = 4
	flagsAt = 6
	portAt  = 12
)

// notFrom is a filter (socket(7), SO_ATTACH_FILTER) for all but what a port has caused:
// the kernel does not even queue that.
func notFrom(port uint32) []unix.SockFilter {
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: portAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, port)), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}
