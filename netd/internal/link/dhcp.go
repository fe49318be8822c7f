package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"netd/netd/retry"
)

// Lease is what a DHCP server gave.
type Lease struct {
	// Address is invalid if there is no lease (any more).
	Address netip.Prefix
	Router  netip.Addr
	DNS     []netip.Addr
	// MTU in octets (RFC 2132 section 5.1); 0 if the server names none that can be.
	MTU int
}

const (
	// dhcpTimeout bounds one attempt; attempts go on for ever.
	dhcpTimeout = 10 * time.Second
	// dhcpPause is between attempts that fail at once (a link without carrier).
	dhcpPause = 2 * time.Second
	// minRenew keeps a server with absurd lease times from keeping us busy.
	minRenew = 5 * time.Second
	// leastMTU and mostMTU are the configuration's own bounds.
	leastMTU, mostMTU = 576, 9216
)

// client keeps one link's lease.
type client struct {
	link    string
	log     *slog.Logger
	changed func(Lease)
	current Lease
}

// RunDHCP keeps a DHCPv4 lease for the named link and calls changed with each
// one that differs, and with an empty one when it is lost, until ctx ends. The
// lease is not released at the end: the address stays, as the routes do.
func RunDHCP(ctx context.Context, name string, log *slog.Logger, changed func(Lease)) error {
	c := &client{link: name, log: log, changed: changed}
	said := ""
	for ctx.Err() == nil {
		lease, err := acquire(ctx, name)
		if err != nil {
			if said != err.Error() && ctx.Err() == nil {
				said = err.Error()
				log.Warn("no DHCP lease; trying on", "link", name, "err", err)
			}
			retry.Sleep(ctx, dhcpPause)
			continue
		}
		said = ""
		c.tell(lease.ACK)
		reason := c.keep(ctx, lease)
		if ctx.Err() == nil {
			log.Warn("DHCP lease lost", "link", name, "address", c.current.Address, "reason", reason)
			c.current = Lease{}
			changed(c.current)
		}
	}
	return ctx.Err()
}

// tell passes on what a server acknowledged, if it is news.
func (c *client) tell(ack *dhcpv4.DHCPv4) {
	next := parseLease(ack)
	if next.Address == c.current.Address && next.Router == c.current.Router && next.MTU == c.current.MTU && slices.Equal(next.DNS, c.current.DNS) {
		return
	}
	c.current = next
	c.log.Info("DHCP lease", "link", c.link, "address", next.Address, "router", next.Router, "mtu", next.MTU,
		"time", ack.IPAddressLeaseTime(0))
	c.changed(next)
}

// wanted are the options that we ask for.
func wanted() dhcpv4.Modifier {
	return dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter,
		dhcpv4.OptionDomainNameServer, dhcpv4.OptionInterfaceMTU)
}

func acquire(ctx context.Context, name string) (*nclient4.Lease, error) {
	c, err := nclient4.New(name)
	if err != nil {
		return nil, fmt.Errorf("open DHCP client on %s: %w", name, err)
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(ctx, dhcpTimeout)
	defer cancel()
	lease, err := c.Request(ctx, wanted())
	if err != nil {
		return nil, fmt.Errorf("request DHCP lease on %s: %w", name, err)
	}
	return lease, nil
}

// keep renews the lease at T1 and then again and again until it runs out
// (RFC 2131 section 4.4.5) or a server refuses it, and returns which it was.
func (c *client) keep(ctx context.Context, lease *nclient4.Lease) string {
	end, pause := times(lease)
	for {
		if !retry.Sleep(ctx, min(max(pause, minRenew), time.Until(end))) || time.Until(end) <= 0 {
			return "it ran out"
		}
		renewed, err := renew(ctx, c.link, lease, end)
		var refused *nclient4.ErrNak
		switch {
		case err == nil:
			lease = renewed
			end, pause = times(lease)
			c.tell(lease.ACK)
			continue
		case errors.As(err, &refused):
			return refused.Error()
		case ctx.Err() == nil:
			c.log.Warn("DHCP lease not renewed; trying on until it runs out", "link", c.link, "end", end, "err", err)
		}
		pause = time.Until(end) / 2
	}
}

// times are the end of a lease that was just given, and how long to wait before
// it is to be renewed: the server's T1, or else half of it.
func times(lease *nclient4.Lease) (end time.Time, renew time.Duration) {
	duration := lease.ACK.IPAddressLeaseTime(time.Hour)
	renew = lease.ACK.IPAddressRenewalTime(duration / 2)
	if renew > duration {
		renew = duration / 2
	}
	return time.Now().Add(duration), renew
}

func renew(ctx context.Context, name string, lease *nclient4.Lease, end time.Time) (*nclient4.Lease, error) {
	c, err := nclient4.New(name)
	if err != nil {
		return nil, fmt.Errorf("open DHCP client on %s: %w", name, err)
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(ctx, min(dhcpTimeout, time.Until(end)))
	defer cancel()
	return c.Renew(ctx, lease, wanted())
}

func parseLease(ack *dhcpv4.DHCPv4) Lease {
	var l Lease
	if a, ok := netip.AddrFromSlice(ack.YourIPAddr.To4()); ok {
		bits := a.BitLen()
		if mask := ack.SubnetMask(); mask != nil {
			bits, _ = mask.Size()
		}
		l.Address = netip.PrefixFrom(a, bits)
	}
	if routers := ack.Router(); len(routers) > 0 {
		l.Router, _ = netip.AddrFromSlice(routers[0].To4())
	}
	for _, d := range ack.DNS() {
		if a, ok := netip.AddrFromSlice(d.To4()); ok {
			l.DNS = append(l.DNS, a)
		}
	}
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options); err == nil && leastMTU <= mtu && mtu <= mostMTU {
		l.MTU = int(mtu)
	}
	return l
}
