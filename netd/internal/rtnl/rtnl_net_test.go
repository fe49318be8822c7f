//go:build net

package rtnl_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/firmware/lab/patience"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

// protocol is one that nobody else uses.
const protocol = 121

func open(t *testing.T) *rtnl.Conn {
	t.Helper()
	c, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// uplink makes a veth pair with carrier and 10.0.1.11/24, and returns its link.
func uplink(t *testing.T, c *rtnl.Conn) rtnl.Link {
	t.Helper()
	for _, line := range []string{
		"ip link add up0 type veth peer name peer0", "ip link set peer0 up", "ip link set up0 up",
		"ip addr add 10.0.1.11/24 dev up0",
	} {
		ownnet.Command(t, line)
	}
	var l rtnl.Link
	ownnet.Within(t, 5*time.Second, "carrier on up0", func() (err error) {
		if l, err = c.LinkByName("up0"); err == nil && !l.Carrier {
			err = errors.New("no carrier")
		}
		return err
	})
	return l
}

func equal[T any](t *testing.T, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRoutes(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := open(t)
		l := uplink(t, c)
		ownnet.Command(t, "ip route add 10.9.0.0/16 via 10.0.1.1 proto static metric 5")
		routes := []rtnl.Route{
			{Prefix: pfx("0.0.0.0/0"), Gateway: ip("10.0.1.1"), Link: l.Index, Protocol: protocol, Metric: 7},
			{Prefix: pfx("10.64.1.0/26"), Blackhole: true, Protocol: protocol, Metric: 7},
			{Prefix: pfx("10.64.1.3/32"), Link: l.Index, Protocol: protocol, Metric: 7},
			{Prefix: pfx("10.64.2.0/26"), Gateway: ip("10.0.1.12"), Link: l.Index, Source: ip("10.0.1.11"), Protocol: protocol, Metric: 7},
			{Prefix: pfx("10.64.3.0/26"), Gateway: ip("192.0.2.1"), Onlink: true, Link: l.Index, Protocol: protocol, Metric: 7},
		}
		for _, r := range routes {
			must(t, c.ReplaceRoute(r))
		}
		have, err := c.Routes(protocol)
		must(t, err)
		equal(t, "routes of our protocol only, as they were given", routes, have)

		moved := routes[3]
		moved.Gateway = ip("10.0.1.1")
		must(t, c.ReplaceRoute(moved))
		if have, err = c.Routes(protocol); err != nil || len(have) != len(routes) || have[3] != moved {
			t.Errorf("after a replacement: %v, %v, want %v in its place", have, err, moved)
		}
		if err := c.ReplaceRoute(rtnl.Route{Prefix: pfx("10.64.9.0/26"), Gateway: ip("203.0.113.1"), Link: l.Index, Protocol: protocol}); err == nil ||
			!strings.Contains(err.Error(), "replace route 10.64.9.0/26 via 203.0.113.1 dev #") {
			t.Errorf("a next hop that is not on the link: %v, want an error that names the route", err)
		}
		have, err = c.Routes(protocol)
		must(t, err)
		for range 2 { // The second time they are gone already.
			for _, r := range have {
				must(t, c.DeleteRoute(r))
			}
		}
		if have, err = c.Routes(protocol); err != nil || len(have) != 0 {
			t.Errorf("after deleting all: %v, %v", have, err)
		}
		if out := ownnet.Command(t, "ip route show 10.9.0.0/16"); !strings.Contains(out, "10.0.1.1") {
			t.Errorf("another protocol's route is gone: %q", out)
		}
	})
}

func TestLookup(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := open(t)
		l := uplink(t, c)
		must(t, c.ReplaceRoute(rtnl.Route{Prefix: pfx("10.64.2.0/26"), Gateway: ip("10.0.1.12"), Link: l.Index, Protocol: protocol}))
		for to, want := range map[string]rtnl.Hop{
			"10.0.1.1":  {Link: l.Index, Source: ip("10.0.1.11")},
			"10.64.2.9": {Link: l.Index, Gateway: ip("10.0.1.12"), Source: ip("10.0.1.11")},
		} {
			got, err := c.Lookup(ip(to))
			must(t, err)
			equal(t, "way to "+to, want, got)
		}
		if _, err := c.Lookup(ip("192.0.2.1")); err == nil || !strings.Contains(err.Error(), "192.0.2.1: network is unreachable") {
			t.Errorf("no route: %v", err)
		}
	})
}

func TestLinksAndAddresses(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := open(t)
		l := uplink(t, c)
		must(t, c.ReplaceAddress(l.Index, pfx("10.0.9.1/32")))
		must(t, c.ReplaceAddress(l.Index, pfx("10.0.9.1/32")))
		have, err := c.Addresses(l.Index)
		must(t, err)
		equal(t, "addresses", []rtnl.Address{{Prefix: pfx("10.0.1.11/24"), Link: l.Index}, {Prefix: pfx("10.0.9.1/32"), Link: l.Index}}, have)
		must(t, c.DeleteAddress(l.Index, pfx("10.0.9.1/32")))
		must(t, c.DeleteAddress(l.Index, pfx("10.0.9.1/32")))
		if have, err = c.Addresses(0); err != nil || len(have) != 1 {
			t.Errorf("all addresses: %v, %v, want the uplink's one", have, err)
		}

		// An owner's mark tells whose an address is.
		for range 2 {
			must(t, c.PutAddress(l.Index, pfx("10.0.9.2/30"), protocol))
		}
		own, err := c.OwnAddresses(protocol)
		must(t, err)
		equal(t, "own addresses", []rtnl.Address{{Prefix: pfx("10.0.9.2/30"), Link: l.Index}}, own)
		if out := ownnet.Command(t, "ip addr show dev up0"); !strings.Contains(out, "inet 10.0.9.2/30 brd 10.0.9.3 scope global") {
			t.Errorf("address: %s", out)
		}

		must(t, c.SetMTU(l.Index, 1400))
		must(t, c.Rename(l.Index, "uplink0")) // It is up, which old kernels refuse.
		must(t, c.SetUp(l.Index))
		links, err := c.Links()
		must(t, err)
		names := map[string]rtnl.Link{}
		for _, l := range links {
			names[l.Name] = l
		}
		got := names["uplink0"]
		if got.Index != l.Index || got.MTU != 1400 || !got.Up || got.Kind != "veth" || !cmp.Equal(got.MAC, l.MAC) {
			t.Errorf("link: %+v, want #%d uplink0, veth, up, MTU 1400, %s", got, l.Index, l.MAC)
		}
		if _, err := c.LinkByName("up0"); !rtnl.IsNotExist(err) || !strings.Contains(err.Error(), "up0") {
			t.Errorf("old name: %v, want that it does not exist", err)
		}
		if !slices.Contains(got.AltNames, "up0") {
			t.Errorf("alternative names: %q, want the former one", got.AltNames)
		}
		must(t, c.PutNeighbour(l.Index, rtnl.Neighbour{Address: ip("10.0.1.1"), MAC: "\x02\x00\x00\x00\x00\x01"}))
		if out := ownnet.Command(t, "ip neigh show dev uplink0"); !strings.Contains(out, "10.0.1.1 lladdr 02:00:00:00:00:01 PERMANENT") {
			t.Errorf("neighbours: %q", out)
		}
		must(t, c.DeleteLink("uplink0"))
		must(t, c.DeleteLink("uplink0"))
		for what, err := range map[string]error{"up": c.SetUp(l.Index), "mtu": c.SetMTU(l.Index, 1500), "address": c.ReplaceAddress(l.Index, pfx("10.0.1.2/24"))} {
			if !rtnl.IsNotExist(err) {
				t.Errorf("set %s of a link that is gone: %v, want that it does not exist", what, err)
			}
		}
	})
}

func TestVethAndNetns(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := open(t)
		own, err := os.Readlink("/proc/thread-self/ns/net")
		must(t, err)
		path := layout.NetnsDir + "/web-0"
		must(t, rtnl.CreateNetns(path))
		if now, _ := os.Readlink("/proc/thread-self/ns/net"); now != own || !rtnl.NetnsExists(path) {
			t.Errorf("own namespace is %s, was %s; the new one exists: %v", now, own, rtnl.NetnsExists(path))
		}
		if err := rtnl.CreateNetns(path); !errors.Is(err, os.ErrExist) {
			t.Errorf("create it again: %v, want that it exists", err)
		}
		must(t, c.AddVeth("pod0", "web-0", "eth0", path, 1480))
		in, err := rtnl.OpenAt(path)
		must(t, err)
		eth, err := in.LinkByName("eth0")
		must(t, err)
		host, err := c.LinkByName("pod0")
		must(t, err)
		if host.Alias != "web-0" || host.MTU != 1480 || host.Kind != "veth" || eth.MTU != 1480 || eth.Kind != "veth" {
			t.Errorf("pair: %+v and %+v", host, eth)
		}
		if err := c.AddVeth("pod0", "web-0", "eth1", path, 1480); err == nil || !strings.Contains(err.Error(), "add veth pod0") {
			t.Errorf("same name again: %v", err)
		}
		in.Close()
		must(t, rtnl.DeleteNetns(path))
		must(t, rtnl.DeleteNetns(path))
		if _, err := rtnl.OpenAt(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("open a deleted namespace: %v", err)
		}
		ownnet.Within(t, 10*time.Second, "the pair to go with its namespace", func() error {
			if _, err := c.LinkByName("pod0"); !rtnl.IsNotExist(err) {
				return fmt.Errorf("it is there; namespaces of our threads: %s", threads())
			}
			return nil
		})
		plain := filepath.Join(t.TempDir(), "left-by-a-power-cut")
		must(t, os.WriteFile(plain, nil, 0o444))
		if rtnl.NetnsExists(plain) {
			t.Error("a plain file is taken for a namespace")
		}
		must(t, rtnl.DeleteNetns(plain))
		if _, err := os.Stat(plain); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("plain file after DeleteNetns: %v", err)
		}
	})
}

// threads are the namespaces that this process' threads are in.
func threads() string {
	var all []string
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, task := range tasks {
		ns, _ := os.Readlink(task)
		all = append(all, task+" "+ns)
	}
	return strings.Join(all, "\n")
}

// A kernel without ipip is told apart from other errors; one with it makes the link.
func TestIPIP(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c := open(t)
		err := c.AddTunnel(rtnl.Tunnel{Name: "t0", Kind: "ipip", Local: ip("10.0.1.11"), MTU: 1480})
		if rtnl.IsNotSupported(err) {
			if !strings.Contains(err.Error(), "add ipip link t0 local 10.0.1.11") {
				t.Errorf("no ipip: %v", err)
			}
			return
		}
		must(t, err)
		l, err := c.LinkByName("t0")
		if err != nil || l.Kind != "ipip" || l.Local != ip("10.0.1.11") || !l.PMTUDiscovery || l.TTL != 64 || l.MTU != 1480 {
			t.Errorf("ipip link: %+v, %v", l, err)
		}
	})
}

// What changes is told by its kind, and nothing of what the connection itself does.
func TestWatch(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c, other := open(t), open(t)
		l := uplink(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		events := make(chan rtnl.Event, 1000)
		ended := make(chan error, 1)
		go func() { ended <- c.Watch(ctx, protocol, func(e rtnl.Event) { events <- e }) }()
		tells := func(what string, want rtnl.Event, change func()) {
			t.Helper()
			var seen []rtnl.Event
			change()
			for deadline := time.After(10 * time.Second); !slices.Contains(seen, want); {
				select {
				case e := <-events:
					seen = append(seen, e)
				case <-deadline:
					t.Fatalf("%s: events %+v, want %+v", what, seen, want)
				}
			}
			// What else the change has caused: the kernel tells of carriers once a second.
			for quiet := false; !quiet; {
				select {
				case <-events:
				case <-time.After(1200 * time.Millisecond):
					quiet = true
				}
			}
		}
		command := func(line string) func() { return func() { ownnet.Command(t, line) } }
		tells("the beginning", rtnl.Event{What: rtnl.WatchBegun}, func() {})
		tells("an alien route", rtnl.Event{What: rtnl.RoutesChanged}, command("ip route add 10.9.0.0/16 via 10.0.1.1"))
		tells("an address", rtnl.Event{What: rtnl.AddressesChanged}, command("ip addr add 10.0.7.1/24 dev up0"))
		tells("an address that goes", rtnl.Event{What: rtnl.AddressesChanged, Gone: ip("10.0.7.1")}, command("ip addr del 10.0.7.1/24 dev up0"))
		tells("a link", rtnl.Event{What: rtnl.LinksChanged}, command("ip link add br9 type bridge"))
		command("ip link set br9 up")()
		br9, err := c.LinkByName("br9")
		must(t, err)
		tells("a link that goes down", rtnl.Event{What: rtnl.LinksChanged, Down: br9.Index}, command("ip link set br9 down"))
		command("ip link set br9 up")()
		tells("a link that goes away", rtnl.Event{What: rtnl.LinksChanged, Down: br9.Index}, command("ip link del br9"))
		command("ip nexthop replace id 9 via 10.0.1.1 dev up0")()
		tells("a next hop that is taken away", rtnl.Event{What: rtnl.NextHopsChanged}, command("ip nexthop del id 9"))

		own := rtnl.Route{Prefix: pfx("10.64.2.0/26"), Gateway: ip("10.0.1.1"), Link: l.Index, Protocol: protocol, Metric: 7}
		must(t, c.ReplaceRoute(own))
		must(t, c.DeleteRoute(own))
		must(t, c.ReplaceRoute(own))
		must(t, errors.Join(c.Write([]rtnl.Change{{Do: rtnl.Add, NextHop: &rtnl.NextHop{ID: 8, Gateway: ip("10.0.1.1"), Link: l.Index}}})...))
		must(t, errors.Join(c.Write([]rtnl.Change{{Do: rtnl.Delete, NextHop: &rtnl.NextHop{ID: 8}}})...))
		select {
		case e := <-events:
			t.Errorf("what we do ourselves is told: %+v", e)
		case <-time.After(300 * time.Millisecond):
		}
		tells("our route, taken away by someone", rtnl.Event{What: rtnl.OwnRoutesChanged}, func() { must(t, other.DeleteRoute(own)) })
		tells("one of ours that is not", rtnl.Event{What: rtnl.OwnRoutesChanged}, func() { must(t, other.ReplaceRoute(own)) })
		tells("one in the place of ours", rtnl.Event{What: rtnl.OwnRoutesChanged}, command("ip route replace 10.64.2.0/26 via 10.0.1.2 metric 7 proto static"))
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Watch ended with %v", err)
			}
		case <-patience.After(10 * time.Second):
			t.Error("Watch does not end with its context")
		}
	})
}
