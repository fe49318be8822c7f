//go:build net

package bfd

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/internal/ownnet"
)

// TestFilter: what an ear hears, of packets from peers and strangers, with TTL 255
// and less.
func TestFilter(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		// On one CPU loopback keeps the order: a packet that is heard for certain tells
		// that the one before it was not.
		runtime.LockOSThread()
		var first unix.CPUSet
		first.Set(0)
		if err := unix.SchedSetaffinity(0, &first); err != nil {
			t.Fatal(err)
		}
		ownnet.Command(t, "sysctl -qw net.ipv6.conf.lo.disable_ipv6=0")
		ownnet.Command(t, "ip link set lo up")
		addresses := map[bool][]netip.Addr{}
		for i := range 5 {
			v4, v6 := ip(fmt.Sprintf("10.0.1.%d", i+1)), ip(fmt.Sprintf("2001:db8:%d::1", i+1))
			addresses[false], addresses[true] = append(addresses[false], v4), append(addresses[true], v6)
			ownnet.Command(t, fmt.Sprintf("ip addr add %s/32 dev lo", v4))
			ownnet.Command(t, fmt.Sprintf("ip addr add %s/128 dev lo nodad", v6))
		}
		for _, e := range []ear{{}, {multihop: true}, {v6: true}, {v6: true, multihop: true}} {
			t.Run(fmt.Sprintf("%+v", e), func(t *testing.T) {
				all := addresses[e.v6]
				fd, err := e.listen(all[:2])
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = unix.Close(fd) }()
				send := func(from netip.Addr, ttl int, what string) {
					t.Helper()
					level, option := unix.IPPROTO_IP, unix.IP_TTL
					if e.v6 {
						level, option = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
					}
					s, errOpen := open(e.family(), nil)
					err := errors.Join(errOpen, unix.SetsockoptInt(s, level, option, ttl), unix.Bind(s, sockaddr(from, 0)),
						unix.Sendto(s, []byte(what), 0, sockaddr(all[4], e.port())), unix.Close(s))
					if err != nil {
						t.Fatal(err)
					}
				}
				// hears tells whether a packet is heard; end is from whom one is for certain.
				hears := func(from netip.Addr, ttl int, end netip.Addr) (heard bool) {
					t.Helper()
					send(from, ttl, "probe")
					send(end, 255, "end")
					ownnet.Within(t, patience, "the packet that is heard for certain", func() error {
						d, ok := read(fd, make([]byte, 64), make([]byte, 512))
						switch {
						case !ok:
							return errors.New("nothing")
						case d.to != all[4] || d.wall == 0 || time.Since(time.Unix(0, d.wall)) > patience:
							t.Errorf("%+v", d)
						case string(d.payload) == "end":
							return nil
						}
						heard = heard || string(d.payload) == "probe" && d.from == from
						return errors.New("the one before")
					})
					return heard
				}
				check := func(peers ...int) {
					t.Helper()
					end := all[4]
					if peers != nil {
						end = all[peers[0]]
					}
					for i, from := range all[:4] {
						known := peers == nil
						for _, p := range peers {
							known = known || p == i
						}
						if got := hears(from, 255, end); got != known {
							t.Errorf("%s with TTL 255: heard %v, want %v", from, got, known)
						}
						for _, ttl := range []int{254, 64, 1} {
							if got, want := hears(from, ttl, end), known && e.multihop; got != want {
								t.Errorf("%s with TTL %d: heard %v, want %v", from, ttl, got, want)
							}
						}
					}
				}
				check(0, 1)
				for _, peers := range [][]int{{2}, {0, 1, 2}, {3, 1}} {
					var known []netip.Addr
					for _, p := range peers {
						known = append(known, all[p])
					}
					if err := attach(fd, admit(e, known)); err != nil {
						t.Fatal(err)
					}
					check(peers...)
				}
				var many []netip.Addr
				for range 4000 {
					many = append(many, all[4])
				}
				if err := attach(fd, admit(e, many)); err != nil {
					t.Fatal(err)
				}
				check() // Too many to look at.
			})
		}
	})
}
