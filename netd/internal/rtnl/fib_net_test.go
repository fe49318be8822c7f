//go:build net

package rtnl

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/internal/ownnet"
)

const fibProtocol = 121

func fib(t *testing.T) (*Conn, int) {
	t.Helper()
	for _, line := range []string{
		"ip link add up0 type veth peer name peer0", "ip link set peer0 up", "ip link set up0 up", "ip addr add 10.0.1.11/24 dev up0",
	} {
		ownnet.Command(t, line)
	}
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	var l Link
	ownnet.Within(t, 5*time.Second, "carrier on up0", func() error {
		if l, err = c.LinkByName("up0"); err == nil && !l.Carrier {
			err = errors.New("none")
		}
		return err
	})
	return c, l.Index
}

// nth is the nth /32 of 10.64.0.0/10.
func nth(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(64 + i>>16), byte(i >> 8), byte(i)}), 32)
}

func written(t *testing.T, errs []error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestWriteByChunks(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c, up := fib(t)
		hop := NextHop{ID: 5, Gateway: ip("10.0.1.1"), Link: up, Protocol: fibProtocol}
		changes := []Change{{Add, nil, &hop}}
		for i := range 1000 {
			r := Route{Prefix: nth(i), NextHop: 5, Protocol: fibProtocol, Metric: 7}
			if i%300 == 100 {
				r.NextHop = 6
			}
			changes = append(changes, Change{Replace, &r, nil})
		}
		before := c.fib.sent
		errs := c.Write(changes)
		if sent := c.fib.sent - before; sent != 4 {
			t.Errorf("1001 changes went in %d datagrams, want 4", sent)
		}
		for i, err := range errs {
			bad := i > 0 && (i-1)%300 == 100
			if (err != nil) != bad || bad && err.Error() != fmt.Sprintf("replace route %s nhid 6: invalid argument: Nexthop id does not exist", nth(i-1)) {
				t.Errorf("change %d, %s: %v", i, changes[i], err)
			}
		}
		if routes, err := c.Routes(fibProtocol); err != nil || len(routes) != 997 || slices.ContainsFunc(routes, func(r Route) bool { return r.NextHop != 5 }) {
			t.Errorf("%d routes, %v, want the 997 that are right", len(routes), err)
		}
	})
}

// A chunk of which all are refused: each has its error, though the answers are
// more than the socket takes.
func TestWriteAllRefused(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c, _ := fib(t)
		if err := unix.SetsockoptInt(c.fib.s.GetFd(), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4096); err != nil {
			t.Fatal(err)
		}
		var changes []Change
		for i := range 2 * chunkSize {
			changes = append(changes, Change{Replace, &Route{Prefix: nth(i), NextHop: 6, Protocol: fibProtocol}, nil})
		}
		errs := c.Write(changes)
		for i := range changes {
			if len(errs) != len(changes) || errs[i] == nil || !strings.Contains(errs[i].Error(), nth(i).String()+" nhid 6: ") || !errors.Is(errs[i], unix.EINVAL) {
				t.Fatalf("change %d of %d errors: %.1000v", i, len(errs), fmt.Sprint(errs))
			}
		}
		if c.fib.sent <= 2 {
			t.Errorf("%d datagrams: no answer was lost, so this has tested nothing", c.fib.sent)
		}
	})
}

// A kernel that does not answer is an error after a while, however much was asked; and
// once it answers again, so it is.
func TestSilence(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c, up := fib(t)
		fd := c.fib.s.GetFd()
		if send, receive := timeouts(t, fd); send != silence || receive != silence {
			t.Errorf("waits %v to send and %v to receive, want %v", send, receive, silence)
		}
		nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
		err := errors.Join(c.fib.setSilence(50*time.Millisecond),
			unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]}))
		if err != nil {
			t.Fatal(err)
		}
		var changes []Change
		for i := range 40 * chunkSize {
			changes = append(changes, Change{Replace, &Route{Prefix: nth(i), Link: up, Protocol: fibProtocol}, nil})
		}
		begin := time.Now()
		errs := c.Write(changes)
		for i := range changes {
			if len(errs) != len(changes) || !IsSilent(errs[i]) {
				t.Fatalf("change %d of %d errors: %.1000v", i, len(errs), fmt.Sprint(errs))
			}
		}
		if took := time.Since(begin); took > 3*time.Second { // 4 s, were each chunk waited for.
			t.Errorf("silence was noticed after %v", took)
		}
		if _, err := c.Routes(fibProtocol); !errors.Is(err, errSilent) {
			t.Errorf("routes: %v", err)
		}
		if _, err := c.Lookup(ip("10.0.1.1")); !errors.Is(err, errSilent) {
			t.Errorf("lookup: %v", err)
		}
		if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0), c.fib.setSilence(silence)); err != nil {
			t.Fatal(err)
		}
		written(t, c.Write(changes))
		if routes, err := c.Routes(fibProtocol); err != nil || len(routes) != len(changes) {
			t.Errorf("%d routes, %v, want %d", len(routes), err, len(changes))
		}
	})
}

func timeouts(t *testing.T, fd int) (send, receive time.Duration) {
	t.Helper()
	of := func(option int) time.Duration {
		tv, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, option)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(tv.Nano())
	}
	return of(unix.SO_SNDTIMEO), of(unix.SO_RCVTIMEO)
}

func TestNextHops(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		c, up := fib(t)
		ownnet.Command(t, "ip link set lo up")
		ownnet.Command(t, "ip nexthop add id 9 blackhole proto static")
		want := []NextHop{
			{ID: 5, Gateway: ip("10.0.1.1"), Link: up, Protocol: fibProtocol},
			{ID: 6, Gateway: ip("192.0.2.1"), Link: up, Onlink: true, Protocol: fibProtocol},
			{ID: 7, Group: []uint32{5, 6}, Protocol: fibProtocol},
		}
		var changes []Change
		for i := range want {
			changes = append(changes, Change{Add, nil, &want[i]})
		}
		written(t, c.Write(changes))
		have, err := c.NextHops()
		if want := append(want, NextHop{ID: 9, Blackhole: true, Protocol: 4}); err != nil || fmt.Sprint(have) != fmt.Sprint(want) {
			t.Errorf("next hops %v, %v, want %v", have, err, want)
		}
		if errs := c.Write([]Change{{Add, nil, &NextHop{ID: 9, Gateway: ip("10.0.1.1"), Link: up}}}); !errors.Is(errors.Join(errs...), unix.EEXIST) {
			t.Errorf("a number that is taken: %v", errs)
		}
		for range 2 { // The second time it is gone already.
			written(t, c.Write([]Change{{Delete, nil, &NextHop{ID: 7}}, {Delete, nil, &NextHop{ID: 6}}, {Delete, nil, &NextHop{ID: 5}}}))
		}
	})
}
