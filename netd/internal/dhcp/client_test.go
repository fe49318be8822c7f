package dhcp

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"
)

func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }
func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// said is what a server says: an ACK's kind, address and options.
type said struct {
	server, address, mask, router string
	time                          uint32
	more                          map[dhcpv4.OptionCode][]byte
}

// plain is a lease as it should be.
func plain() said {
	return said{"10.0.1.1", "10.0.1.50", "255.255.255.0", "10.0.1.1", 24, nil}
}

func four(s string) []byte { return ip(s).AsSlice() }

func seconds(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// reply is a packet that says it.
func (s said) reply(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.IP(four(s.address))))
	if err != nil {
		panic(err)
	}
	for code, value := range map[dhcpv4.OptionCode]string{
		dhcpv4.OptionServerIdentifier: s.server, dhcpv4.OptionSubnetMask: s.mask, dhcpv4.OptionRouter: s.router,
	} {
		if value != "" {
			r.Options.Update(dhcpv4.OptGeneric(code, four(value)))
		}
	}
	r.Options.Update(dhcpv4.OptGeneric(dhcpv4.OptionIPAddressLeaseTime, seconds(s.time)))
	for code, value := range s.more {
		if r.Options.Del(code); value != nil {
			r.Options.Update(dhcpv4.OptGeneric(code, value))
		}
	}
	return r
}

// network is a link with a server that is told what to say.
type network struct {
	// serve answers a packet that was sent to a server, or to all; under mu.
	serve func(m *dhcpv4.DHCPv4, to netip.Addr) []*dhcpv4.DHCPv4
	taken []Taken
	// hosts are the others on the link.
	hosts map[netip.Addr]string
	again chan struct{}
	file  string

	mu     sync.Mutex
	sent   []string // kinds, and to whom
	leases []Lease
	has    netip.Addr
	log    bytes.Buffer
}

type fakeWire struct {
	n  *network
	in chan *dhcpv4.DHCPv4
}

func (w *fakeWire) Send(m *dhcpv4.DHCPv4, _, to netip.Addr) error {
	whom := "all"
	if to.IsValid() {
		whom = to.String()
	}
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	w.n.sent = append(w.n.sent, m.MessageType().String()+" "+whom)
	for _, r := range w.n.serve(m, to) {
		w.in <- r
	}
	return nil
}

func (w *fakeWire) Receive(until time.Time) (*dhcpv4.DHCPv4, error) {
	select {
	case m := <-w.in:
		return m, nil
	case <-time.After(time.Until(until)):
		return nil, nil
	}
}

func (w *fakeWire) Has(a netip.Addr) bool {
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	return w.n.has == a
}
func (w *fakeWire) Close() error { return nil }

// run keeps a lease for a while of the test's own time; steps are done at their moments.
func (n *network) run(t *testing.T, d time.Duration, steps ...func()) {
	t.Helper()
	n.again = make(chan struct{}, 1)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		n.again = make(chan struct{}, 1)
		go func() {
			defer close(done)
			_ = Run(ctx, Options{
				Link: "eth0", Log: slog.New(slog.NewTextHandler(&n.log, nil)), Taken: func() []Taken { return n.taken }, Again: n.again, File: n.file,
				Probe: func(_ context.Context, _ string, a netip.Addr) (net.HardwareAddr, error) {
					if mac := n.hosts[a]; mac != "" {
						return net.ParseMAC(mac)
					}
					return nil, nil
				},
				Changed: func(l Lease) {
					n.mu.Lock()
					defer n.mu.Unlock()
					n.leases = append(n.leases, l)
					n.has = l.Address.Addr()
				},
				open: func(string) (wire, net.HardwareAddr, error) {
					return &fakeWire{n, make(chan *dhcpv4.DHCPv4, 16)}, net.HardwareAddr{2, 0, 0, 0, 0, 1}, nil
				},
			})
		}()
		for _, step := range steps {
			time.Sleep(d)
			n.mu.Lock()
			step()
			n.mu.Unlock()
		}
		time.Sleep(d)
		synctest.Wait()
		cancel()
		<-done
	})
	if t.Failed() {
		t.Log(n.log.String())
	}
}

func (n *network) count(what string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := 0
	for _, s := range n.sent {
		if strings.HasPrefix(s, what) {
			c++
		}
	}
	return c
}

func (n *network) last() Lease {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.leases) == 0 {
		return Lease{}
	}
	return n.leases[len(n.leases)-1]
}

// gives has a server that says this to whoever asks.
func gives(s said) func(*dhcpv4.DHCPv4, netip.Addr) []*dhcpv4.DHCPv4 {
	return func(m *dhcpv4.DHCPv4, _ netip.Addr) []*dhcpv4.DHCPv4 {
		switch m.MessageType() {
		case dhcpv4.MessageTypeDiscover:
			return []*dhcpv4.DHCPv4{s.reply(m, dhcpv4.MessageTypeOffer)}
		case dhcpv4.MessageTypeRequest:
			return []*dhcpv4.DHCPv4{s.reply(m, dhcpv4.MessageTypeAck)}
		}
		return nil
	}
}

// own is what the gateway of the table has elsewhere.
func own() []Taken {
	return []Taken{
		{pfx("10.64.0.0/16"), "the pool pods", false},
		{pfx("10.0.1.3/32"), "the peer tor1", true},
		{pfx("10.255.0.11/32"), "this gateway's own address", false},
		{pfx("10.0.2.0/24"), "the subnet of uplink1", false},
		{pfx("10.0.3.11/32"), "the uplink uplink2", false},
	}
}

// What no server may give: nothing of it gets on the link, a person is told who gives what
// and why not, and the server is not asked again and again.
func TestHostileLeases(t *testing.T) {
	with := func(change func(*said)) said {
		s := plain()
		change(&s)
		return s
	}
	address := func(a string) said { return with(func(s *said) { s.address = a }) }
	mask := func(m string) said { return with(func(s *said) { s.mask = m }) }
	option := func(code dhcpv4.OptionCode, value []byte) said {
		return with(func(s *said) { s.more = map[dhcpv4.OptionCode][]byte{code: value} })
	}
	for name, c := range map[string]struct {
		said said
		want string
	}{
		"no address":             {address("0.0.0.0"), "the address 0.0.0.0/24: overlaps 0.0.0.0/8"},
		"this network":           {address("0.1.2.3"), "0.1.2.3/24: overlaps 0.0.0.0/8"},
		"loopback":               {address("127.0.0.1"), "127.0.0.1/24: overlaps 127.0.0.0/8 (loopback)"},
		"loopback, its end":      {address("127.255.255.254"), "loopback"},
		"link-local":             {address("169.254.7.7"), "link-local"},
		"the pods' router":       {address("169.254.1.1"), "pods reach the gateway by 169.254.1.1"},
		"multicast":              {address("224.0.0.5"), "multicast"},
		"multicast, its end":     {address("239.255.255.250"), "multicast"},
		"reserved":               {address("240.0.0.1"), "reserved"},
		"all hosts":              {address("255.255.255.255"), "broadcast"},
		"the network":            {address("10.0.1.0"), "the first and last address of 10.0.1.0/24"},
		"the broadcast address":  {address("10.0.1.255"), "the first and last address of 10.0.1.0/24"},
		"broadcast of a /30":     {with(func(s *said) { s.address, s.mask = "10.0.1.3", "255.255.255.252" }), "the first and last address of 10.0.1.0/30"},
		"network of a /22":       {with(func(s *said) { s.address, s.mask = "10.0.4.0", "255.255.252.0" }), "the first and last address of 10.0.4.0/22"},
		"the router":             {address("10.0.1.1"), "the router's own"},
		"the router elsewhere":   {with(func(s *said) { s.address, s.router, s.server = "10.0.1.9", "10.0.1.9", "10.0.1.1" }), "the router's own"},
		"the server":             {with(func(s *said) { s.address, s.server = "10.0.1.7", "10.0.1.7" }), "the server's own"},
		"a peer":                 {address("10.0.1.3"), "it is the peer tor1's"},
		"the gateway itself":     {address("10.255.0.11"), "this gateway's own address"},
		"in the pool":            {address("10.64.1.7"), "its subnet overlaps 10.64.0.0/16 (the pool pods)"},
		"the pool in its subnet": {with(func(s *said) { s.mask = "255.0.0.0" }), "overlaps 10.64.0.0/16 (the pool pods)"},
		"another uplink's":       {address("10.0.2.50"), "overlaps 10.0.2.0/24 (the subnet of uplink1)"},
		"another uplink's /32":   {with(func(s *said) { s.address = "10.0.3.11" }), "it is the uplink uplink2's"},
		"mask 0":                 {mask("0.0.0.0"), "10.0.1.50/0: a subnet that holds every address"},
		"mask 1":                 {mask("128.0.0.0"), "10.0.1.50/1: a subnet of 2147483648 addresses"},
		"mask 2":                 {mask("192.0.0.0"), "10.0.1.50/2: a subnet of"},
		"mask 7":                 {mask("254.0.0.0"), "10.0.1.50/7: a subnet of"},
		"mask with a hole":       {mask("255.0.255.0"), "the subnet mask 255.0.255.0: its ones are not in one row"},
		"mask upside down":       {mask("0.255.255.255"), "the subnet mask 0.255.255.255"},
		"mask of one":            {mask("0.0.0.1"), "the subnet mask 0.0.0.1"},
		"mask of three octets":   {option(dhcpv4.OptionSubnetMask, []byte{255, 255, 255}), "the subnet mask of 3 octets"},
		"mask of five octets":    {option(dhcpv4.OptionSubnetMask, []byte{255, 255, 255, 0, 0}), "the subnet mask of 5 octets"},
		"a lease of no time":     {with(func(s *said) { s.time = 0 }), "the lease time 0 s"},
		"no server":              {with(func(s *said) { s.server = "" }), "the server identifier (none)"},
	} {
		t.Run(name, func(t *testing.T) {
			n := &network{serve: gives(c.said), taken: own()}
			n.run(t, 10*time.Minute)
			for _, l := range n.leases {
				if l.Address.IsValid() {
					t.Errorf("taken: %+v", l)
				}
			}
			server := c.said.server
			if server == "" {
				server = "(without a name)"
			}
			if got := n.last().Problem; !strings.Contains(got, c.want) || !strings.HasPrefix(got, "the DHCP server "+server+" gives the ") || !strings.Contains(got, "; expected ") {
				t.Errorf("problem %q, want one with %q", got, c.want)
			}
			if len(n.sent) > 25 {
				t.Errorf("%d packets in ten minutes: %v", len(n.sent), n.sent)
			}
		})
	}
}

// What can be left out of a lease is, and told; the rest is used.
func TestHostileOptions(t *testing.T) {
	base := Lease{Address: pfx("10.0.1.50/24"), Router: ip("10.0.1.1"), Server: ip("10.0.1.1")}
	with := func(change func(*Lease)) Lease {
		l := base
		change(&l)
		return l
	}
	noRouter := func(problem string) Lease {
		return with(func(l *Lease) { l.Router, l.Problem = netip.Addr{}, problem })
	}
	routes := func(list ...string) []byte {
		var all dhcpv4.Routes
		for _, r := range list {
			to, via, _ := strings.Cut(r, " ")
			p := pfx(to)
			all = append(all, &dhcpv4.Route{Dest: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}, Router: four(via)})
		}
		return all.ToBytes()
	}
	router, all, dns, mtu := dhcpv4.OptionRouter, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionDomainNameServer, dhcpv4.OptionInterfaceMTU
	for name, c := range map[string]struct {
		code  dhcpv4.OptionCode
		value []byte
		want  Lease
	}{
		"no router":             {router, nil, noRouter("")},
		"router 0.0.0.0":        {router, four("0.0.0.0"), noRouter("")},
		"the second router":     {router, append(four("0.0.0.0"), four("10.0.1.2")...), with(func(l *Lease) { l.Router = ip("10.0.1.2") })},
		"router loopback":       {router, four("127.0.0.1"), noRouter("the router 127.0.0.1: overlaps 127.0.0.0/8 (loopback)")},
		"router multicast":      {router, four("224.0.0.1"), noRouter("the router 224.0.0.1: overlaps")},
		"router link-local":     {router, four("169.254.1.1"), noRouter("the router 169.254.1.1")},
		"router broadcast":      {router, four("10.0.1.255"), noRouter("the router 10.0.1.255: the first and last address of 10.0.1.0/24")},
		"router in the pool":    {router, four("10.64.0.1"), noRouter("the router 10.64.0.1: it is the pool pods's")},
		"router of half":        {router, []byte{10, 0}, noRouter("")},
		"router off the subnet": {router, four("192.0.2.1"), with(func(l *Lease) { l.Router = ip("192.0.2.1") })},
		"router is a peer":      {router, four("10.0.1.3"), with(func(l *Lease) { l.Router = ip("10.0.1.3") })},
		"121 wins over 3":       {all, routes("0.0.0.0/0 10.0.1.9", "198.51.100.0/24 10.0.1.8"), with(func(l *Lease) { l.Router, l.Routes = ip("10.0.1.9"), []Route{{pfx("198.51.100.0/24"), ip("10.0.1.8")}} })},
		"121 without default":   {all, routes("198.51.100.0/24 10.0.1.8"), with(func(l *Lease) { l.Router, l.Routes = netip.Addr{}, []Route{{pfx("198.51.100.0/24"), ip("10.0.1.8")}} })},
		"121 on the link":       {all, routes("192.0.2.1/32 0.0.0.0", "0.0.0.0/0 192.0.2.1"), with(func(l *Lease) { l.Router, l.Routes = ip("192.0.2.1"), []Route{{Prefix: pfx("192.0.2.1/32")}} })},
		"121 the subnet itself": {all, routes("10.0.1.0/24 0.0.0.0", "0.0.0.0/0 10.0.1.1"), base},
		"121 of a cloud":        {all, routes("169.254.169.254/32 10.0.1.1", "0.0.0.0/0 10.0.1.1"), with(func(l *Lease) { l.Routes = []Route{{pfx("169.254.169.254/32"), ip("10.0.1.1")}} })},
		"121 into the pool":     {all, routes("10.64.2.0/24 10.0.1.8", "0.0.0.0/0 10.0.1.1"), with(func(l *Lease) { l.Problem = "the route 10.64.2.0/24 via 10.0.1.8: it is the pool pods's" })},
		"121 loopback":          {all, routes("127.0.0.0/8 10.0.1.8", "0.0.0.0/0 10.0.1.1"), with(func(l *Lease) { l.Problem = "the route 127.0.0.0/8 via 10.0.1.8" })},
		"121 cut short":         {all, []byte{24, 198, 51}, noRouter("the routes (option 121) of 3 octets")},
		"121 of 40 bits":        {all, []byte{40, 198, 51, 100, 0, 0, 10, 0, 1, 1}, noRouter("the routes (option 121) of 10 octets")},
		"DNS":                   {dns, append(four("127.0.0.1"), four("10.0.1.53")...), with(func(l *Lease) { l.DNS, l.Problem = []netip.Addr{ip("10.0.1.53")}, "the DNS server 127.0.0.1" })},
		"DNS of a cloud":        {dns, four("169.254.169.253"), with(func(l *Lease) { l.DNS = []netip.Addr{ip("169.254.169.253")} })},
		"DNS the pods' router":  {dns, four("169.254.1.1"), with(func(l *Lease) { l.Problem = "the DNS server 169.254.1.1" })},
		"MTU 0":                 {mtu, []byte{0, 0}, with(func(l *Lease) { l.Problem = "the MTU 0: no link has it; expected 576 to 9216 octets" })},
		"MTU 68":                {mtu, []byte{0, 68}, with(func(l *Lease) { l.Problem = "the MTU 68" })},
		"MTU 65535":             {mtu, []byte{255, 255}, with(func(l *Lease) { l.Problem = "the MTU 65535" })},
		"MTU 9000":              {mtu, []byte{0x23, 0x28}, with(func(l *Lease) { l.MTU = 9000 })},
		"no mask":               {dhcpv4.OptionSubnetMask, nil, with(func(l *Lease) { l.Problem = "the subnet mask (none): taken for 10.0.1.0/24" })},
		"mask of one address":   {dhcpv4.OptionSubnetMask, four("255.255.255.255"), with(func(l *Lease) { l.Address = pfx("10.0.1.50/32") })},
		"more routes than clouds": {all, bytes.Repeat(routes("198.51.100.0/24 10.0.1.8"), mostRoutes+1), with(func(l *Lease) {
			l.Router, l.Problem = netip.Addr{}, "the routes (option 121) 65: the rest of them is left out"
			for range mostRoutes {
				l.Routes = append(l.Routes, Route{pfx("198.51.100.0/24"), ip("10.0.1.8")})
			}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			s := plain()
			s.more = map[dhcpv4.OptionCode][]byte{c.code: c.value}
			n := &network{serve: gives(s), taken: own()}
			n.run(t, time.Second)
			got := n.last()
			if (c.want.Problem == "") != (got.Problem == "") || !strings.Contains(got.Problem, c.want.Problem) {
				t.Errorf("problem %q, want one with %q", got.Problem, c.want.Problem)
			}
			c.want.Problem, got.Problem = "", ""
			if diff := cmp.Diff(fmt.Sprintf("%+v", c.want), fmt.Sprintf("%+v", got)); diff != "" {
				t.Errorf("lease (-want +got):\n%s", diff)
			}
		})
	}
}

// However a server names its times, a lease is kept, does not flap, and makes no storm.
func TestTimes(t *testing.T) {
	for name, c := range map[string]struct {
		time        uint32
		t1, t2      []byte
		least, most int // requests in ten minutes
	}{
		"a day":            {86400, nil, nil, 1, 1},
		"infinite":         {0xffffffff, nil, nil, 1, 1},
		"24 s":             {24, nil, nil, 40, 60},
		"T1 and T2 are 0":  {24, seconds(0), seconds(0), 40, 60},
		"T1 is later":      {24, seconds(240), nil, 40, 60},
		"T1 is at once":    {86400, seconds(1), nil, 100, 125},
		"T2 before T1":     {120, seconds(60), seconds(1), 9, 12},
		"30 s":             {30, nil, nil, 35, 45},
		"10 s":             {10, nil, nil, 100, 130},
		"3 s":              {3, nil, nil, 350, 450},
		"1 s":              {1, nil, nil, 1000, 1300},
		"T1 of two octets": {24, []byte{0, 6}, nil, 40, 60},
	} {
		t.Run(name, func(t *testing.T) {
			s := plain()
			s.time, s.more = c.time, map[dhcpv4.OptionCode][]byte{}
			if c.t1 != nil {
				s.more[dhcpv4.OptionRenewTimeValue] = c.t1
			}
			if c.t2 != nil {
				s.more[dhcpv4.OptionRebindingTimeValue] = c.t2
			}
			n := &network{serve: gives(s)}
			n.run(t, 10*time.Minute)
			if len(n.leases) != 1 || n.leases[0].Address != pfx("10.0.1.50/24") || n.leases[0].Problem != "" {
				t.Errorf("leases: %+v, want one", n.leases)
			}
			if got := n.count("REQUEST"); got < c.least || got > c.most {
				t.Errorf("%d requests, want %d to %d", got, c.least, c.most)
			}
			if got := n.count("DISCOVER"); got != 1 {
				t.Errorf("%d discoveries, want one", got)
			}
		})
	}
}

// A server that refuses, or does not keep its word, is asked more and more seldom.
func TestNoLease(t *testing.T) {
	s := plain()
	for name, c := range map[string]struct {
		serve   func(*dhcpv4.DHCPv4, netip.Addr) []*dhcpv4.DHCPv4
		problem string
	}{
		"nobody": {func(*dhcpv4.DHCPv4, netip.Addr) []*dhcpv4.DHCPv4 { return nil }, "no DHCP server answers"},
		"NAK": {func(m *dhcpv4.DHCPv4, _ netip.Addr) []*dhcpv4.DHCPv4 {
			if m.MessageType() == dhcpv4.MessageTypeDiscover {
				return []*dhcpv4.DHCPv4{s.reply(m, dhcpv4.MessageTypeOffer)}
			}
			r := s.reply(m, dhcpv4.MessageTypeNak)
			r.Options.Update(dhcpv4.OptMessage("not here"))
			return []*dhcpv4.DHCPv4{r}
		}, `the DHCP server 10.0.1.1 refuses the address ("not here")`},
		"silent after its offer": {func(m *dhcpv4.DHCPv4, _ netip.Addr) []*dhcpv4.DHCPv4 {
			if m.MessageType() == dhcpv4.MessageTypeDiscover {
				return []*dhcpv4.DHCPv4{s.reply(m, dhcpv4.MessageTypeOffer)}
			}
			return nil
		}, "the DHCP server 10.0.1.1 offers 10.0.1.50/24 and then does not answer"},
		"another's answers": {func(m *dhcpv4.DHCPv4, _ netip.Addr) []*dhcpv4.DHCPv4 {
			r := s.reply(m, dhcpv4.MessageTypeOffer)
			r.TransactionID[0]++
			return []*dhcpv4.DHCPv4{r}
		}, "no DHCP server answers"},
	} {
		t.Run(name, func(t *testing.T) {
			n := &network{serve: c.serve}
			n.run(t, 10*time.Minute)
			if got := n.last(); got.Address.IsValid() || got.Problem != c.problem {
				t.Errorf("%+v, want the problem %q", got, c.problem)
			}
			if d := n.count("DISCOVER"); d < 8 || d > 20 || len(n.sent) > 80 {
				t.Errorf("%d discoveries, %d packets in ten minutes", d, len(n.sent))
			}
		})
	}
}

// A good offer is taken though a bad one comes first.
func TestSecondOffer(t *testing.T) {
	bad, good := plain(), plain()
	bad.server, bad.address = "10.0.1.66", "10.64.1.7"
	n := &network{taken: own(), serve: func(m *dhcpv4.DHCPv4, _ netip.Addr) []*dhcpv4.DHCPv4 {
		if m.MessageType() == dhcpv4.MessageTypeDiscover {
			return []*dhcpv4.DHCPv4{bad.reply(m, dhcpv4.MessageTypeOffer), good.reply(m, dhcpv4.MessageTypeOffer)}
		}
		return gives(good)(m, netip.Addr{})
	}}
	n.run(t, time.Second)
	if got := n.last(); got.Address != pfx("10.0.1.50/24") || got.Problem != "" {
		t.Errorf("%+v", got)
	}
}

// At T1 the server is asked, at T2 any, and any may answer (RFC 2131 section 4.4.5).
func TestRebind(t *testing.T) {
	first, second := plain(), plain()
	second.server = "10.0.1.2"
	acknowledged := false
	n := &network{serve: func(m *dhcpv4.DHCPv4, to netip.Addr) []*dhcpv4.DHCPv4 {
		switch {
		case to == ip("10.0.1.1") || acknowledged && to != ip("10.0.1.2") && m.ClientIPAddr.IsUnspecified():
			return nil // The first has gone.
		case acknowledged:
			return gives(second)(m, to)
		}
		acknowledged = m.MessageType() == dhcpv4.MessageTypeRequest
		return gives(first)(m, to)
	}}
	n.run(t, 2*time.Minute)
	for _, l := range n.leases {
		if l.Address != pfx("10.0.1.50/24") {
			t.Errorf("the address was lost: %+v", n.leases)
		}
	}
	if got := n.last(); got.Server != ip("10.0.1.2") || got.Problem != "" {
		t.Errorf("%+v, want the second server's", got)
	}
	for _, what := range []string{"REQUEST 10.0.1.1", "REQUEST all", "REQUEST 10.0.1.2"} {
		if n.count(what) == 0 {
			t.Errorf("no %s in %v", what, n.sent)
		}
	}
	if n.count("DISCOVER") != 1 || len(n.sent) > 30 {
		t.Errorf("sent %v", n.sent)
	}
}

// A lease that nobody renews runs out, with a word before.
func TestRunsOut(t *testing.T) {
	s, away := plain(), false
	n := &network{serve: func(m *dhcpv4.DHCPv4, to netip.Addr) []*dhcpv4.DHCPv4 {
		if away {
			return nil
		}
		return gives(s)(m, to)
	}}
	n.run(t, 30*time.Second, func() { away = true })
	said := false
	for _, l := range n.leases {
		said = said || l.Address.IsValid() && strings.Contains(l.Problem, "is not renewed, and over at ")
	}
	if got := n.last(); !said || got.Address.IsValid() || !got.Over || got.Problem == "" {
		t.Errorf("%+v", n.leases)
	}
	if len(n.sent) > 20 {
		t.Errorf("%d packets: %v", len(n.sent), n.sent)
	}
}

// A renewal that says nothing of something keeps it.
func TestRenewalLeavesOut(t *testing.T) {
	s, bare := plain(), plain()
	s.more = map[dhcpv4.OptionCode][]byte{
		dhcpv4.OptionDomainNameServer: four("10.0.1.53"), dhcpv4.OptionInterfaceMTU: {0x05, 0x78},
		dhcpv4.OptionClasslessStaticRoute: append(append([]byte{0}, four("10.0.1.1")...), append([]byte{24, 198, 51, 100}, four("10.0.1.8")...)...),
	}
	bare.mask, bare.router, bare.server = "", "", ""
	n := &network{serve: func(m *dhcpv4.DHCPv4, to netip.Addr) []*dhcpv4.DHCPv4 {
		if m.ClientIPAddr.IsUnspecified() {
			return gives(s)(m, to)
		}
		return gives(bare)(m, to)
	}}
	n.run(t, time.Minute)
	want := Lease{
		Address: pfx("10.0.1.50/24"), Router: ip("10.0.1.1"), Routes: []Route{{pfx("198.51.100.0/24"), ip("10.0.1.8")}},
		DNS: []netip.Addr{ip("10.0.1.53")}, MTU: 1400, Server: ip("10.0.1.1"),
	}
	if len(n.leases) != 1 || !n.last().Equal(want) {
		t.Errorf("%+v, want only %+v", n.leases, want)
	}
	if n.count("REQUEST 10.0.1.1") < 3 {
		t.Errorf("sent %v", n.sent)
	}
}

// After the carrier has returned it is asked whether the lease holds; where nobody knows it
// another one is taken, and a refusal ends it.
func TestCarrierReturns(t *testing.T) {
	for name, c := range map[string]struct {
		then func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4
		want string
		sent []string
	}{
		"the same network": {func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 { return gives(plain())(m, netip.Addr{}) }, "10.0.1.50/24", []string{"REQUEST all"}},
		"nobody answers":   {func(*dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 { return nil }, "10.0.1.50/24", []string{"REQUEST all", "REQUEST all", "REQUEST all", "DISCOVER all"}},
		"another network": {func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
			other := said{"10.0.9.1", "10.0.9.50", "255.255.255.0", "10.0.9.1", 3600, nil}
			if m.MessageType() == dhcpv4.MessageTypeRequest && m.ServerIdentifier() == nil {
				return []*dhcpv4.DHCPv4{other.reply(m, dhcpv4.MessageTypeNak)}
			}
			return gives(other)(m, netip.Addr{})
		}, "10.0.9.50/24", []string{"REQUEST all", "DISCOVER all", "REQUEST all"}},
		"another that does not know us": {func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
			if m.MessageType() == dhcpv4.MessageTypeRequest && m.ServerIdentifier() == nil {
				return nil
			}
			return gives(said{"10.0.9.1", "10.0.9.50", "255.255.255.0", "10.0.9.1", 3600, nil})(m, netip.Addr{})
		}, "10.0.9.50/24", []string{"REQUEST all", "REQUEST all", "REQUEST all", "DISCOVER all", "REQUEST all"}},
	} {
		t.Run(name, func(t *testing.T) {
			long := plain()
			long.time = 3600
			serve, from := func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 { return gives(long)(m, netip.Addr{}) }, 0
			n := &network{serve: func(m *dhcpv4.DHCPv4, _ netip.Addr) []*dhcpv4.DHCPv4 { return serve(m) }}
			n.run(t, 30*time.Second, func() {
				serve, from = c.then, len(n.sent)
				n.again <- struct{}{}
			})
			if got := n.last(); got.Address != pfx(c.want) {
				t.Errorf("%+v, want %s", got, c.want)
			}
			if diff := cmp.Diff(c.sent, n.sent[from:min(len(n.sent), from+len(c.sent))]); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}

// A carrier that flaps makes no storm.
func TestFlaps(t *testing.T) {
	n := &network{serve: gives(said{"10.0.1.1", "10.0.1.50", "255.255.255.0", "10.0.1.1", 3600, nil})}
	var flaps []func()
	for range 200 {
		flaps = append(flaps, func() {
			select {
			case n.again <- struct{}{}:
			default:
			}
		})
	}
	n.run(t, 100*time.Millisecond, flaps...)
	if len(n.sent) > 8 || len(n.leases) != 1 {
		t.Errorf("%v after 20 s of flaps; %+v", n.sent, n.leases)
	}
}

// An address that another host has is declined, and used if the server insists.
func TestDecline(t *testing.T) {
	other := plain()
	other.address = "10.0.1.51"
	for name, c := range map[string]struct {
		second said
		want   string
	}{"another one": {other, "10.0.1.51/24"}, "the same again": {plain(), "10.0.1.50/24"}} {
		t.Run(name, func(t *testing.T) {
			declined := false
			n := &network{hosts: map[netip.Addr]string{ip("10.0.1.50"): "52:54:00:00:00:09"}}
			n.serve = func(m *dhcpv4.DHCPv4, to netip.Addr) []*dhcpv4.DHCPv4 {
				if declined = declined || m.MessageType() == dhcpv4.MessageTypeDecline; declined {
					return gives(c.second)(m, to)
				}
				return gives(plain())(m, to)
			}
			n.run(t, time.Minute)
			if first := n.leases[0]; first.Address.IsValid() || !strings.Contains(first.Problem, "the DHCP server 10.0.1.1 gives 10.0.1.50, which another host on the link has: 52:54:00:00:00:09") {
				t.Errorf("first %+v", first)
			}
			if got := n.last(); got.Address != pfx(c.want) || n.count("DECLINE") != 1 {
				t.Errorf("%+v after %v", got, n.sent)
			}
		})
	}
}

// Another agent goes on with the lease of the one before, asks whether it holds, and has its
// router meanwhile; unless it is over, or another link's, or of before the box has started.
func TestNextAgent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lease")
	hour := plain()
	hour.time = 3600
	first := &network{serve: gives(hour), file: file}
	first.run(t, time.Second)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	silent := func(*dhcpv4.DHCPv4, netip.Addr) []*dhcpv4.DHCPv4 { return nil }
	next := &network{serve: silent, file: file}
	next.run(t, time.Minute)
	if len(next.leases) != 1 || !next.last().Equal(first.last()) || next.sent[0] != "REQUEST all" {
		t.Errorf("without a server: %+v after %v", next.leases, next.sent)
	}
	next = &network{serve: gives(hour), file: file}
	next.run(t, time.Minute)
	if len(next.leases) != 1 || !next.last().Equal(first.last()) || len(next.sent) != 1 {
		t.Errorf("with a server: %+v after %v", next.leases, next.sent)
	}
	for what, change := range map[string][2]string{
		"another link's":       {"02:00:00:00:00:01", "02:00:00:00:00:02"},
		"of an earlier start":  {boot(), "7a3c5f0e-0000-0000-0000-000000000000"},
		"over":                 {`"End":`, `"End":1,"Was":`},
		"without an address":   {"10.0.1.50/24", ""},
		"cut short by a crash": {`"Lease"`, "\x00"},
	} {
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), change[0], change[1], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		next := &network{serve: gives(hour), file: file}
		next.run(t, time.Minute)
		if len(next.leases) != 1 || !next.last().Equal(first.last()) || next.sent[0] != "DISCOVER all" {
			t.Errorf("%s: %+v after %v", what, next.leases, next.sent)
		}
	}
}

// Of a gateway's traffic the client hears what is for DHCP clients, and nothing else.
func TestFilter(t *testing.T) {
	vm, err := bpf.NewVM(forClients())
	if err != nil {
		t.Fatal(err)
	}
	packet := func(change func(b []byte)) []byte {
		b := make([]byte, 28)
		b[0], b[9], b[23] = 0x45, 17, 68
		change(b)
		return b
	}
	for what, c := range map[string]struct {
		packet []byte
		want   bool
	}{
		"for a client":         {packet(func([]byte) {}), true},
		"with IP options":      {append([]byte{0x46, 0, 0, 0, 0, 0, 0, 0, 0, 17}, append(make([]byte, 14), 0, 67, 0, 68, 0, 8, 0, 0)...), true},
		"for a server":         {packet(func(b []byte) { b[23] = 67 }), false},
		"TCP":                  {packet(func(b []byte) { b[9] = 6 }), false},
		"a later fragment":     {packet(func(b []byte) { b[7] = 1 }), false},
		"another high octet":   {packet(func(b []byte) { b[22] = 1 }), false},
		"shorter than headers": {packet(func([]byte) {})[:22], false},
	} {
		if n, err := vm.Run(c.packet); (err == nil && n > 0) != c.want {
			t.Errorf("%s: %d octets pass (%v)", what, n, err)
		}
	}
}
