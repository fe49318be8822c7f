package rtnl

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Watch calls wake whenever a link, an address or a route has changed, until
// ctx ends. Events are hints: the caller reads again what it needs. A route of
// the given protocol that appears is the caller's own work and wakes nobody.
// Watch returns an error if the kernel drops events or closes the socket; the
// caller then resynchronizes and starts it again.
func Watch(ctx context.Context, protocol int, wake func()) error {
	done := make(chan struct{})
	defer close(done)
	lost := make(chan error, 3)
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
	if err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	for {
		open := true
		select {
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
