package link

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// Lease is what a DHCP server gave.
type Lease struct {
	// Address is invalid if there is no lease (any more).
	Address netip.Prefix
	Router  netip.Addr
	DNS     []netip.Addr
	// Former is the address of the lease before, to be taken from the link.
	Former netip.Prefix
}

const (
	// dhcpTimeout bounds one attempt; attempts go on for ever.
	dhcpTimeout = 10 * time.Second
	// dhcpPause is between attempts that fail at once (a link without carrier).
	dhcpPause = 2 * time.Second
	// minRenew keeps a server with absurd lease times from keeping us busy.
	minRenew = 5 * time.Second
)

// RunDHCP keeps a DHCPv4 lease for the named link and calls changed with each
// new one, and with an empty one when it ran out, until ctx ends. The lease is
// not released at the end: the address stays, as the routes do.
func RunDHCP(ctx context.Context, name string, log *slog.Logger, changed func(Lease)) error {
	var current Lease
	said := ""
	for ctx.Err() == nil {
		lease, err := acquire(ctx, name)
		if err != nil {
			if said != err.Error() && ctx.Err() == nil {
				said = err.Error()
				log.Warn("no DHCP lease; trying on", "link", name, "err", err)
			}
			wait(ctx, dhcpPause)
			continue
		}
		said = ""
		next := parseLease(lease.ACK)
		next.Former = current.Address
		current = next
		log.Info("DHCP lease", "link", name, "address", current.Address, "router", current.Router,
			"time", lease.ACK.IPAddressLeaseTime(0))
		changed(current)
		keep(ctx, name, lease, log)
		if ctx.Err() == nil {
			log.Warn("DHCP lease ran out", "link", name, "address", current.Address)
			changed(Lease{Former: current.Address})
		}
	}
	return ctx.Err()
}

func acquire(ctx context.Context, name string) (*nclient4.Lease, error) {
	c, err := nclient4.New(name)
	if err != nil {
		return nil, fmt.Errorf("open DHCP client on %s: %w", name, err)
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(ctx, dhcpTimeout)
	defer cancel()
	lease, err := c.Request(ctx)
	if err != nil {
		return nil, fmt.Errorf("request DHCP lease on %s: %w", name, err)
	}
	return lease, nil
}

// keep renews the lease at half of its time (T1) and then again and again until
// it runs out (RFC 2131 section 4.4.5), which ends keep.
func keep(ctx context.Context, name string, lease *nclient4.Lease, log *slog.Logger) {
	duration := lease.ACK.IPAddressLeaseTime(time.Hour)
	end := time.Now().Add(duration)
	for pause := duration / 2; time.Until(end) > 0; pause = time.Until(end) / 2 {
		wait(ctx, max(pause, minRenew))
		if ctx.Err() != nil {
			return
		}
		c, err := nclient4.New(name)
		if err == nil {
			attempt, cancel := context.WithTimeout(ctx, dhcpTimeout)
			var renewed *nclient4.Lease
			if renewed, err = c.Renew(attempt, lease); err == nil {
				lease, duration = renewed, renewed.ACK.IPAddressLeaseTime(time.Hour)
				end = time.Now().Add(duration)
			}
			cancel()
			_ = c.Close()
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("DHCP lease not renewed; trying on until it runs out", "link", name, "end", end, "err", err)
		}
	}
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
	return l
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
