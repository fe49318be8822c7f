package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"netd/netd/layout"
)

// Guard keeps a policy in force. It is one goroutine's.
type Guard struct {
	rules   Rules
	kept    table // as it was read when nobody else had changed it
	inForce bool
}

// applyTries bounds how often the table is made anew because somebody else has changed
// nftables between our change and its reading.
const applyTries = 3

// Apply puts the policy in force, if it is another one than that in force.
func (g *Guard) Apply(r Rules) error {
	if g.inForce && g.rules.Equal(r) {
		return nil
	}
	return g.apply(r, nil)
}

// apply replaces the table, and reads what the kernel has made of it.
func (g *Guard) apply(r Rules, counted map[string][]count) error {
	g.inForce = false
	for range applyTries {
		before, err := generation()
		if err != nil {
			return err
		}
		if err := apply(r, counted); err != nil {
			return err
		}
		if g.kept, err = read(); err != nil {
			return err
		}
		after, err := generation()
		if err != nil {
			return err
		}
		if after == before+1 {
			break
		}
	}
	g.rules, g.inForce = r, true
	return nil
}

// Repair compares the kernel's table with the one in force, and puts it back if it is
// another one: at once and as a whole, with what the rules have counted that were still
// there. It returns what was put back.
func (g *Guard) Repair() ([]string, error) {
	if !g.inForce {
		return nil, nil // The next Apply has it all to do.
	}
	have, err := read()
	if err != nil {
		return nil, err
	}
	if len(have.differences(g.kept)) == 0 {
		return nil, nil
	}
	if have, err = read(); err != nil { // Once more: it may have changed while it was read.
		return nil, err
	}
	lost := have.differences(g.kept)
	if len(lost) == 0 {
		return nil, nil
	}
	for i := range lost {
		lost[i] = fmt.Sprintf("nftables table inet %s: %s", layout.Table, lost[i])
	}
	return lost, g.apply(g.rules, have.counted(g.kept))
}

func generation() (uint32, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return 0, fmt.Errorf("open nftables: %w", err)
	}
	defer func() { _ = c.Close() }()
	return reading{c}.generation()
}

func missing(err error) bool { return errors.Is(err, unix.ENOENT) }

// Watch tells whenever somebody has changed our table, or may have, until ctx ends: at its
// begin, and when the kernel has dropped events, too. We ourselves are somebody: who
// compares finds nothing then. tell must not wait.
func Watch(ctx context.Context, tell func()) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	defer func() { _ = c.Close() }()
	if err := c.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	tell()
	for {
		messages, err := c.Receive()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("watch nftables: %w", err)
		}
		for _, m := range messages {
			// In each kind of message the first attribute is the table's name, or its number
			// for an element or a set that has gone with it.
			if len(m.Data) >= nfgenmsg && text(attributes(m.Data[nfgenmsg:])[1]) == layout.Table {
				tell()
				break
			}
		}
	}
}
