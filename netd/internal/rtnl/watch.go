package rtnl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// eventRoom holds the notifications of some ten thousand routes.
const eventRoom = 4 << 20

// Watch calls wake once it listens, and whenever a link, an address or a route has
// changed or a next-hop object is gone (whose routes go without a word), until ctx
// ends. Events are hints: the caller reads again what it needs. A route of the given
// protocol that appears is the caller's own work and wakes nobody. Watch returns an
// error if the kernel drops events or closes the socket; the caller then starts it
// again, and is woken to resynchronize.
func Watch(ctx context.Context, protocol int, wake func()) error {
	done := make(chan struct{})
	defer close(done)
	lost := make(chan error, 4)
	report := func(err error) {
		select {
		case lost <- err:
		default:
		}
	}
	links := make(chan netlink.LinkUpdate, 64)
	addrs := make(chan netlink.AddrUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	others, err := watchGroups(done, report, notNew(protocol), func(uint16) bool { return true }, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	gone, err := watchGroups(done, report, nil, func(kind uint16) bool { return kind == unix.RTM_DELNEXTHOP }, unix.RTNLGRP_NEXTHOP)
	if err != nil {
		return fmt.Errorf("watch next hops: %w", err)
	}
	wake() // What changed before is to be read.
	for {
		open := true
		select {
		case <-gone:
			wake()
		case <-others:
			wake()
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return fmt.Errorf("watch rtnetlink: %w", err)
		case _, open = <-links:
			wake()
		case _, open = <-addrs:
			wake()
		}
		if !open {
			return fmt.Errorf("watch rtnetlink: socket closed")
		}
	}
}

// watchGroups tells when there is a message of one of the kinds, and reads no more of it
// than that: a filled table is as many messages as routes, and the library makes 64 KiB
// of garbage of each. filter may be nil.
func watchGroups(done <-chan struct{}, report func(error), filter []unix.SockFilter, kinds func(uint16) bool, groups ...uint) (<-chan struct{}, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	s := os.NewFile(uintptr(fd), "rtnetlink")
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, g := range groups {
		to.Groups |= 1 << (g - 1)
	}
	if filter != nil {
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	}
	if err := errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventRoom), unix.Bind(fd, to)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	told := make(chan struct{}, 1)
	go func() {
		<-done
		_ = s.Close()
	}()
	go func() {
		var header [unix.SizeofNlMsghdr]byte // Each notification is a datagram of its own.
		for {
			n, err := s.Read(header[:])
			if err != nil {
				report(err)
				return
			}
			if n < len(header) || !kinds(binary.NativeEndian.Uint16(header[typeAt:])) {
				continue
			}
			select {
			case told <- struct{}{}:
			default:
			}
		}
	}()
	return told, nil
}

// typeAt is where struct nlmsghdr has the type.
const typeAt = 4

// notNew is a filter (socket(7), SO_ATTACH_FILTER) for all but new routes of a
// protocol: the kernel does not even queue these.
func notNew(protocol int) []unix.SockFilter {
	const protocolAt = unix.SizeofNlMsghdr + 5 // in struct rtmsg
	var kind [2]byte
	binary.NativeEndian.PutUint16(kind[:], unix.RTM_NEWROUTE)
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: typeAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(binary.BigEndian.Uint16(kind[:])), Jf: 2},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: protocolAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(protocol), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}
