package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"netd/netd/retry"
)

// flapPause is the least between two carriers' returns that are asked about.
const flapPause = 5 * time.Second

// keep renews a lease (RFC 2131 section 4.4.5): from T1 on with the server that gave it,
// from T2 on with any. One that an agent before had is verified first. It returns why it is
// over.
func (c *client) keep(ctx context.Context, b binding, before bool) string {
	if before {
		c.bound(b)
	}
	due := b.renew
	for ; ; before = false {
		again := before || c.wait(ctx, time.Until(earliest(due, b.end)))
		switch {
		case ctx.Err() != nil:
			return ""
		case !time.Now().Before(b.end):
			return "it ran out"
		case again:
			if reason := c.reboot(ctx, &b); reason != "" {
				return reason
			}
			due = earliest(b.renew, b.rebind)
			continue
		}
		err := c.extend(ctx, &b, time.Now().Before(b.rebind))
		var refused nak
		switch {
		case errors.As(err, &refused):
			return refused.Error()
		case err == nil:
			due = b.renew
		default:
			due = c.next(ctx, &b, err)
		}
	}
}

// next is when a lease that could not be renewed is tried again: after half of what is left
// of its time with this server, or with any.
func (c *client) next(ctx context.Context, b *binding, err error) time.Time {
	now, phase := time.Now(), b.rebind
	if !now.Before(b.rebind) {
		phase = b.end
		b.Problem = fmt.Sprintf("the DHCP lease of %s by %s is not renewed, and over at %s: %s",
			b.Address, named(b.Server), b.end.UTC().Format(time.RFC3339), oneLine(err))
		if ctx.Err() == nil {
			c.bound(*b)
		}
	}
	least := min(longPause, max(leastPause, b.end.Sub(b.renew)/10))
	return earliest(now.Add(max(phase.Sub(now)/2, least)), later(phase, now))
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// later is a moment that is still to come, or in a while.
func later(a, now time.Time) time.Time {
	if a.After(now) {
		return a
	}
	return now.Add(leastPause)
}

// extend asks for more time: of the server that gave the lease, or of any.
func (c *client) extend(ctx context.Context, b *binding, renewing bool) error {
	w, err := c.openWithin(ctx, 0)
	if err != nil {
		return fmt.Errorf("open DHCP client on %s: %w", c.Link, err)
	}
	defer func() { _ = w.Close() }()
	m, err := c.message(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.IP(b.Address.Addr().AsSlice())))
	if err != nil {
		return err
	}
	var to netip.Addr
	phase := b.end
	if renewing {
		to, phase = b.Server, b.rebind
	}
	asked := time.Now()
	// Of a lease of seconds there is time for another try.
	wait := min(answerWait, max(leastPause, phase.Sub(asked)/2))
	g, err := c.ask(w, m, b.Lease, to, earliest(asked.Add(wait), b.end), true)
	if err == nil && ctx.Err() == nil {
		*b = bind(g, asked)
		c.bound(*b)
	}
	return err
}

// reboot asks whether the lease holds on a link whose carrier has returned. Where nobody
// knows it another one is asked for; until there is one it is kept. reason is why it is over.
func (c *client) reboot(ctx context.Context, b *binding) (reason string) {
	retry.Sleep(ctx, flapPause-time.Since(c.verified)) // A carrier may flap.
	c.verified = time.Now()
	known, reason := c.verify(ctx, b)
	if known || reason != "" {
		return reason
	}
	if other, err := c.acquire(ctx); err == nil {
		*b = other
	}
	return ""
}

// verify is INIT-REBOOT (RFC 2131 section 4.4.2).
func (c *client) verify(ctx context.Context, b *binding) (known bool, reason string) {
	w, err := c.openWithin(ctx, offerWait)
	if err != nil {
		return false, ""
	}
	defer func() { _ = w.Close() }()
	m, err := c.message(dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IP(b.Address.Addr().AsSlice()))))
	for i := 0; i < requests && err == nil && ctx.Err() == nil; i++ {
		asked := time.Now()
		g, failed := c.ask(w, m, b.Lease, netip.Addr{}, earliest(asked.Add(answerWait), b.end), true)
		var refused nak
		switch {
		case errors.As(failed, &refused):
			return false, refused.Error()
		case failed == nil:
			*b = bind(g, asked)
			c.bound(*b)
			return true, ""
		case !errors.Is(failed, errSilent):
			return false, ""
		}
	}
	return false, ""
}
