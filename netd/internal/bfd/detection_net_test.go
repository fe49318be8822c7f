//go:build net && bench

package bfd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	figures "netd/firmware/bench/report"
	"netd/firmware/lab"
	"netd/netd/internal/ownnet"
)

// TestDetection is make bench's: how long netd and BIRD take to notice one and the
// same peer's silence, at 50 ms × 3: from its last packet to each until each says
// Down, both at the kernel's time on the peer's own wire. It asserts no time.
func TestDetection(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		const pairs, peer, netd, observer = 9, "10.0.1.1", "10.0.1.11", "10.0.1.12"
		n, tor := newToR(t)
		other, err := n.Host(t.Context(), "observer")
		if err != nil {
			t.Fatal(err)
		}
		// The wire to the peer becomes a switch's port; its address is the switch's.
		for _, line := range []string{
			"ip link add br0 type bridge forward_delay 0", "ip addr del 10.0.1.11/24 dev uplink0", "ip link set uplink0 master br0",
			"ip addr add 10.0.1.11/24 dev br0", "ip link add port type veth peer name gw netns " + other.Netns(),
			"ip link set port master br0 up", "ip link set br0 up",
		} {
			ownnet.Command(t, line)
		}
		on(t, other, "ip addr add 10.0.1.12/24 dev gw", "ip link set gw up")
		b := bird(t, tor, quiet(birdConfig(50, netd+";\n\tneighbor "+observer)))
		o := bird(t, other, quiet(birdConfig(50, peer)))
		dir := t.TempDir()
		open755(t, dir)
		a := newAgent(t, dir, time.Minute, session(50))
		w := newWitness(t)
		var ours, theirs, ratios []float64
		for i := range pairs {
			a.until("netd's session", func(s Status) bool { return s.State == Up && s.RemoteState == Up && s.Detect == 150*time.Millisecond })
			ownnet.Within(t, patience, "BIRD's session", func() error { return agreed(t.Context(), o, peer) })
			begin := time.Now()
			if err := b.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			took := map[string]float64{}
			ownnet.Within(t, patience, "both to say Down", func() error {
				for _, who := range []string{netd, observer} {
					down := w.of(who, peer).ended
					if down.Before(begin) {
						return errors.New(who)
					}
					took[who] = float64(down.Sub(w.of(peer, who).last)) / float64(time.Millisecond)
				}
				return nil
			})
			if err := b.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			t.Logf("silence %d: netd %.2f ms, BIRD %.2f ms", i+1, took[netd], took[observer])
			ours, theirs, ratios = append(ours, took[netd]), append(theirs, took[observer]), append(ratios, took[netd]/took[observer])
		}
		t.Logf("median of %d: netd %.2f ms, BIRD %.2f ms, ratio %.4f (detection time 150 ms)",
			pairs, figures.Median(ours), figures.Median(theirs), figures.Median(ratios))
	})
}

// quiet leaves out what costs BIRD time.
func quiet(conf string) string { return strings.Replace(conf, "debug protocols all;", "", 1) }

// agreed tells whether BIRD's session with a peer is Up at 50 ms × 3.
func agreed(ctx context.Context, b *lab.Bird, peer string) error {
	all, err := birdSays(ctx, b)
	if s := all[peer]; err != nil || !s.up || s.silent != 150*time.Millisecond {
		return fmt.Errorf("%+v, %w", all, err)
	}
	return nil
}
