package rtnl

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
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
	routes := make(chan netlink.RouteUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	if err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{
		ErrorCallback: report, ReceiveBufferSize: eventRoom, ReceiveBufferForceSize: true,
	}); err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	gone, err := watchNextHops(done, report)
	if err != nil {
		return fmt.Errorf("watch next hops: %w", err)
	}
	wake() // What changed before is to be read.
	for {
		open := true
		select {
		case <-gone:
			wake()
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return fmt.Errorf("watch rtnetlink: %w", err)
		case _, open = <-links:
			wake()
		case _, open = <-addrs:
			wake()
		case update, more := <-routes:
			open = more
			if update.Type != unix.RTM_NEWROUTE || int(update.Protocol) != protocol {
				wake()
			}
		}
		if !open {
			return fmt.Errorf("watch rtnetlink: socket closed")
		}
	}
}

// watchNextHops tells when next-hop objects go. The library does not know them.
func watchNextHops(done <-chan struct{}, report func(error)) (<-chan struct{}, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_NEXTHOP)
	if err != nil {
		return nil, err
	}
	gone := make(chan struct{}, 1)
	go func() {
		<-done
		s.Close()
	}()
	go func() {
		for {
			messages, _, err := s.Receive()
			if err != nil {
				report(err)
				return
			}
			for _, m := range messages {
				if m.Header.Type == unix.RTM_DELNEXTHOP {
					select {
					case gone <- struct{}{}:
					default:
					}
				}
			}
		}
	}()
	return gone, nil
}
