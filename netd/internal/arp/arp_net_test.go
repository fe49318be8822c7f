//go:build net

package arp_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"netd/netd/internal/arp"
	"netd/netd/internal/ownnet"
	"netd/netd/wake"
)

// told is what Watch has told last.
type told struct {
	mu   sync.Mutex
	last arp.Conflicts
}

func (d *told) note(c arp.Conflicts) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = c
}

func (d *told) is(want string) func() error {
	return func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if got := fmt.Sprint(d.last); got != want {
			return errors.New(got)
		}
		return nil
	}
}

// Another host has an address: asked for it, it is named; while it is ours, it is named as
// soon as it says so, and until it gives it up. Another link of this box is nobody else.
func TestConflict(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		const mac = "52:54:00:00:00:09"
		for _, line := range []string{
			"ip netns add tor", "ip link add eth0 type veth peer name tor0 netns tor", "ip link set eth0 up",
			"ip -n tor link set tor0 address " + mac + " up", "ip -n tor addr add 10.0.1.1/24 dev tor0",
		} {
			ownnet.Command(t, line)
		}
		a, free := netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("10.0.1.50")
		ownnet.Within(t, 20*time.Second, "the other host to be named", func() error {
			if got, err := arp.Probe(t.Context(), "eth0", a); err != nil || got.String() != mac {
				return fmt.Errorf("%s, %v", got, err)
			}
			return nil
		})
		if got, err := arp.Probe(t.Context(), "eth0", free); err != nil || got != nil {
			t.Errorf("a free address: %s, %v", got, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		t.Cleanup(func() {
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		for _, own := range []string{"10.0.1.1/24", "10.0.1.50/24"} {
			ownnet.Command(t, "ip addr add "+own+" dev eth0")
		}
		again := wake.New()
		var d told
		go func() { ended <- arp.Watch(ctx, "eth0", []netip.Addr{a, free}, again, d.note) }()
		ownnet.Within(t, 20*time.Second, "the conflict at the start", d.is("map[10.0.1.1:"+mac+"]"))
		ownnet.Command(t, "ip -n tor addr del 10.0.1.1/24 dev tor0")
		again.Send()
		ownnet.Within(t, 20*time.Second, "its end", d.is("map[]"))
		// The other comes back, and says so as hosts do that come (RFC 5227 section 2.3).
		ownnet.Command(t, "ip -n tor addr add 10.0.1.50/24 dev tor0")
		ownnet.Within(t, 20*time.Second, "one that comes later", func() error {
			_ = exec.Command("nsenter", "--net=/run/netns/tor", "--", "ping", "-c", "1", "-W", "1", "10.0.1.77").Run() // It asks for a host, and says who asks.
			return d.is("map[10.0.1.50:" + mac + "]")()
		})
		// Its neighbours hear from us whose it is.
		if out := ownnet.Command(t, "ip link show eth0"); !strings.Contains(out, "state UP") {
			t.Error(out)
		}
	})
}

// Two links of one box on one wire are not each other's conflict.
func TestOwnLinks(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		for _, line := range []string{
			"ip link add br0 type bridge forward_delay 0", "ip link set br0 up",
			"ip link add eth0 type veth peer name port0", "ip link add eth1 type veth peer name port1",
			"ip link set port0 master br0 up", "ip link set port1 master br0 up", "ip link set eth0 up", "ip link set eth1 up",
			"ip addr add 10.0.1.1/24 dev eth1",
		} {
			ownnet.Command(t, line)
		}
		if mac, err := arp.Probe(t.Context(), "eth0", netip.MustParseAddr("10.0.1.1")); err != nil || mac != nil {
			t.Errorf("%s, %v", mac, err)
		}
	})
}
