package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"netd/netd/retry"
)

// Options of Run.
type Options struct {
	Link string
	Log  *slog.Logger
	// Taken are addresses that the lease may not have, now.
	Taken func() []Taken
	// Again is for a carrier that has returned: the link may be another network's.
	Again <-chan struct{}
	// Probe finds another host on the link that has an address; nil: none has.
	Probe func(ctx context.Context, link string, a netip.Addr) (net.HardwareAddr, error)
	// File is where the lease outlives the agent; empty: nowhere.
	File string
	// Changed is told each lease that is another one, and when one is over.
	Changed func(Lease)
	// open is for tests. It gives the link's MAC address, too.
	open func(link string) (wire, net.HardwareAddr, error)
}

// wire is where packets go and come from, of one link.
type wire interface {
	// Send sends to a server from our address, or to all if to is invalid.
	Send(m *dhcpv4.DHCPv4, from, to netip.Addr) error
	// Receive waits for a packet; it is nil when the time is over.
	Receive(until time.Time) (*dhcpv4.DHCPv4, error)
	// Has tells whether the link has an address already.
	Has(a netip.Addr) bool
	Close() error
}

const (
	// offerWait is for how long offers are awaited, but firstWait of the first try: at a start
	// the link may just have got its name. answerWait is for how long an answer to a request
	// is, and requests how many are sent.
	firstWait, offerWait, answerWait, requests = time.Second, 3 * time.Second, 2 * time.Second, 3
	// The pauses between tries to get a lease (RFC 2131 section 4.1 has 4 to 64 s).
	firstPause, lastPause = time.Second, time.Minute
	// declinedPause follows a DHCPDECLINE (RFC 2131 section 3.1).
	declinedPause = 10 * time.Second
	// leastPause is between two tries to keep a lease; the RFC's 60 s are for long ones.
	leastPause, longPause = 250 * time.Millisecond, time.Minute
	// linkPause is before a link is looked for again that is not there (yet).
	linkPause = 200 * time.Millisecond
)

var (
	errSilent   = errors.New("no DHCP server answers")
	errDeclined = errors.New("another host has it")
)

// client keeps one link's lease.
type client struct {
	Options
	mac      net.HardwareAddr
	patience time.Duration // for how long the next try awaits offers
	verified time.Time     // when it was last asked whether a lease holds
	told     Lease
	declined map[netip.Addr]bool
}

// binding is a lease with the moments at which something is to be done about it.
type binding struct {
	Lease
	renew, rebind, end time.Time
}

func bind(g grant, asked time.Time) binding {
	return binding{g.Lease, asked.Add(g.timing.renew), asked.Add(g.timing.rebind), asked.Add(g.whole)}
}

// Run keeps a lease until ctx ends. It is not given back at the end: the address stays, as
// the routes do.
func Run(ctx context.Context, o Options) error {
	if o.open == nil {
		o.open = openWire
	}
	c := client{Options: o, patience: firstWait, declined: map[netip.Addr]bool{}}
	// A server that gives and takes makes no storm either.
	tries, flaps := retry.Backoff{First: firstPause, Last: lastPause}, retry.Backoff{First: firstPause, Last: lastPause}
	b, known := c.recall()
	for ; ctx.Err() == nil; known = false {
		var err error
		if !known {
			b, err = c.acquire(ctx)
		}
		if err != nil {
			c.unbound(ctx, err)
			pause := tries.Next(0)
			if errors.Is(err, errDeclined) {
				pause = max(pause, declinedPause)
			}
			if c.patience = offerWait; c.wait(ctx, pause) {
				tries.Reset()
			}
			continue
		}
		c.patience = offerWait
		tries.Reset()
		begin := time.Now()
		reason := c.keep(ctx, b, known)
		if ctx.Err() == nil {
			c.Log.Warn("DHCP lease lost", "link", c.Link, "address", c.told.Address, "reason", reason)
			c.forget()
			c.tell(Lease{Over: true, Problem: "the last one is over: " + reason})
			c.wait(ctx, flaps.Next(time.Since(begin)))
		}
	}
	return ctx.Err()
}

// wait waits, and is true if a carrier has returned, which ends it.
func (c *client) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-c.Again:
		return true
	}
	return false
}

// unbound tells why there is no lease.
func (c *client) unbound(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	problem := oneLine(err)
	if problem != c.told.Problem {
		c.Log.Warn("no DHCP lease; trying on", "link", c.Link, "err", err)
	}
	c.tell(Lease{Over: c.told.Over, Problem: problem})
}

// tell passes on a lease, if it is news.
func (c *client) tell(l Lease) {
	if l.Equal(c.told) {
		return
	}
	c.told = l
	c.Changed(l)
}

// bound tells of a lease that was given or kept.
func (c *client) bound(b binding) {
	if !b.Equal(c.told) {
		c.Log.Info("DHCP lease", "link", c.Link, "address", b.Address, "router", b.Router, "routes", b.Routes, "mtu", b.MTU,
			"server", b.Server, "until", b.end.Format(time.RFC3339), "problem", b.Problem)
	}
	c.remember(b)
	c.tell(b.Lease)
}

// acquire gets a lease, from the first server whose offer is good.
func (c *client) acquire(ctx context.Context) (binding, error) {
	w, err := c.openWithin(ctx, offerWait)
	if err != nil {
		return binding{}, fmt.Errorf("open DHCP client on %s: %w", c.Link, err)
	}
	defer func() { _ = w.Close() }()
	select {
	case <-c.Again: // Until now.
	default:
	}
	offer, err := c.discover(ctx, w)
	if err != nil {
		return binding{}, err
	}
	g, asked, err := c.request(ctx, w, offer)
	if err != nil {
		return binding{}, err
	}
	if err := c.claim(ctx, w, g); err != nil {
		return binding{}, err
	}
	b := bind(g, asked)
	c.bound(b)
	return b, nil
}

// openWithin waits for a link that is not there yet: at the agent's start it gets its name
// in a moment.
func (c *client) openWithin(ctx context.Context, d time.Duration) (wire, error) {
	for end := time.Now().Add(d); ; {
		w, mac, err := c.open(c.Link)
		if c.mac = mac; err == nil || !time.Now().Before(end) || !retry.Sleep(ctx, linkPause) {
			return w, err
		}
	}
}

// discover asks all servers, and takes the first good offer.
func (c *client) discover(ctx context.Context, w wire) (grant, error) {
	m, err := c.message(dhcpv4.MessageTypeDiscover)
	if err != nil {
		return grant{}, err
	}
	if err := w.Send(m, netip.Addr{}, netip.Addr{}); err != nil {
		return grant{}, fmt.Errorf("ask for a DHCP lease on %s: %w", c.Link, err)
	}
	refused := errSilent
	for until := time.Now().Add(c.patience); ctx.Err() == nil; {
		answer, err := c.answer(w, m, until)
		if err != nil || answer == nil {
			break
		}
		if answer.MessageType() != dhcpv4.MessageTypeOffer {
			continue
		}
		g, err := read(answer)
		if err == nil && !g.Server.IsValid() {
			err = refusal{g.Server, "server identifier", "(none)", "nobody can be asked for the lease", "option 54"}
		}
		if err == nil {
			g, err = usable(g, c.Taken())
		}
		if err == nil {
			return g, nil
		}
		refused = err
	}
	return grant{}, refused
}

// request asks a server for what it has offered.
func (c *client) request(ctx context.Context, w wire, offer grant) (grant, time.Time, error) {
	m, err := c.message(dhcpv4.MessageTypeRequest,
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP(offer.Server.AsSlice()))),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IP(offer.Address.Addr().AsSlice()))))
	if err != nil {
		return grant{}, time.Time{}, err
	}
	for range requests {
		asked := time.Now()
		g, err := c.ask(w, m, offer.Lease, netip.Addr{}, asked.Add(answerWait), false)
		if !errors.Is(err, errSilent) || ctx.Err() != nil {
			return g, asked, err
		}
	}
	return grant{}, time.Time{}, fmt.Errorf("the DHCP server %s offers %s and then does not answer", named(offer.Server), offer.Address)
}

// claim makes sure that nobody else has an address before it is used.
func (c *client) claim(ctx context.Context, w wire, g grant) error {
	a := g.Address.Addr()
	if w.Has(a) {
		return nil // It is in use already; who watches the link says if somebody objects.
	}
	mac, err := c.Probe(ctx, c.Link, a)
	if err != nil || mac == nil {
		return ctx.Err() // A link that can not be asked is no reason to have no address.
	}
	if c.declined[a] {
		c.Log.Warn("the DHCP server insists on an address that another host has; it is used", "link", c.Link, "address", a, "mac", mac, "server", g.Server)
		return nil
	}
	c.declined[a] = true
	m, err := c.message(dhcpv4.MessageTypeDecline,
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP(g.Server.AsSlice()))),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IP(a.AsSlice()))))
	if err == nil {
		err = w.Send(m, netip.Addr{}, netip.Addr{})
	}
	return errors.Join(fmt.Errorf("the DHCP server %s gives %s, which another host on the link has: %s; expected an address of its own; declined: %w",
		named(g.Server), a, mac, errDeclined), err)
}

// message begins a packet that has what we ask for.
func (c *client) message(kind dhcpv4.MessageType, more ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(c.mac), dhcpv4.WithMessageType(kind)}, more...)...)
	if err == nil && kind != dhcpv4.MessageTypeDecline {
		// 121 before 3 (RFC 3442).
		m.UpdateOption(dhcpv4.OptParameterRequestList(dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter,
			dhcpv4.OptionDomainNameServer, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue))
		m.UpdateOption(dhcpv4.OptMaxMessageSize(1500))
	}
	return m, err
}

// answer is the next packet for a message; nil when the time is over.
func (c *client) answer(w wire, m *dhcpv4.DHCPv4, until time.Time) (*dhcpv4.DHCPv4, error) {
	for {
		a, err := w.Receive(until)
		if err != nil || a == nil {
			return nil, err
		}
		if a.OpCode == dhcpv4.OpcodeBootReply && a.TransactionID == m.TransactionID {
			return a, nil
		}
	}
}

// nak is a server's refusal of a lease.
type nak struct {
	server  netip.Addr
	message string
}

func (n nak) Error() string {
	words := fmt.Sprintf("the DHCP server %s refuses the address", named(n.server))
	if n.message != "" {
		words += fmt.Sprintf(" (%q)", n.message)
	}
	return words
}

// ask sends a request and takes the first acknowledgement, as far as its options do not
// contradict what is known. With renewal that is kept where the server says nothing.
func (c *client) ask(w wire, m *dhcpv4.DHCPv4, known Lease, to netip.Addr, until time.Time, renewal bool) (grant, error) {
	if err := w.Send(m, known.Address.Addr(), to); err != nil {
		return grant{}, fmt.Errorf("send a DHCP request on %s: %w", c.Link, err)
	}
	refused := errSilent
	for {
		answer, err := c.answer(w, m, until)
		if err != nil {
			return grant{}, err
		}
		if answer == nil {
			return grant{}, refused
		}
		switch answer.MessageType() {
		case dhcpv4.MessageTypeNak:
			server, _ := netip.AddrFromSlice(answer.ServerIdentifier().To4())
			return grant{}, nak{server, answer.Message()}
		case dhcpv4.MessageTypeAck:
			g, err := read(answer)
			if err == nil && renewal {
				if g.Address.Addr() != known.Address.Addr() {
					return grant{}, nak{g.Server, "gives " + g.Address.Addr().String() + " instead"}
				}
				g.keep(known)
			}
			if err == nil {
				g, err = usable(g, c.Taken())
			}
			if err == nil {
				return g, nil
			}
			refused = err
		}
	}
}

// oneLine is an error as a line of a status.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
