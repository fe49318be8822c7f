//go:build net

package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"netd/netd/internal/ownnet"
	"netd/netd/layout"
)

const pool6 = `[[pool]]
name = "pods6"
prefix = "2001:db8:64::/48"
block = "2001:db8:64:1::/64"
encapsulation = "never"
`

// A gateway of IPv4 gets an IPv6 pool: its pods get their second address while they
// run, and another life of the agent finds both. Then the IPv4 pool goes.
func TestDualStack(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		w.bird(t, "10.0.1.11")
		config := w.config(t, static, "never")
		four, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		// IPv6 prefixes need a next hop.
		withUplink := []byte(strings.Replace(string(four), `["10.0.1.11/24"]`, `["10.0.1.11/24", "2001:db8:1::11/64"]`, 1))
		gw := w.start(t, config)
		within(t, time.Minute, "the session", gw.Established)
		if out, err := gw.Ask(t.Context(), "pod", "add", "old"); err != nil || !strings.Contains(out, "old 10.64.1.0 dev pod") {
			t.Fatalf("pod add with IPv4 alone: %s %v", out, err)
		}
		restart := func(text string) {
			t.Helper()
			gw.Kill()
			if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := gw.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			within(t, time.Minute, "the session", gw.Established)
		}
		if err := os.WriteFile(config, append(withUplink, pool6...), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := gw.Ask(t.Context(), "reload"); err != nil || !strings.Contains(out, "pods6") {
			t.Fatalf("reload with an IPv6 pool: %s %v", out, err)
		}
		within(t, time.Minute, "the old pod's second address", says(gw, "10.64.1.0 2001:db8:64:1::1 ", "pods"))
		if out, err := gw.Ask(t.Context(), "pod", "add", "new"); err != nil || !strings.Contains(out, "new 10.64.1.1 2001:db8:64:1::2 dev pod") {
			t.Fatalf("pod add with both families: %s %v", out, err)
		}
		for from, to := range map[string][]string{
			"old": {"10.64.1.1", "2001:db8:64:1::2", "10.0.1.11", "fe80::1%eth0"},
			"new": {"10.64.1.0", "2001:db8:64:1::1"},
		} {
			for _, address := range to {
				within(t, 30*time.Second, "a ping from pod "+from+" to "+address, func(ctx context.Context) error {
					_, err := gw.InPod(ctx, from, "ping", "-c", "1", "-W", "1", address)
					return err
				})
			}
		}
		for _, want := range []string{"blackhole 2001:db8:64:1::/64 dev lo proto 120 metric 120", "2001:db8:64:1::1 dev pod"} {
			if out := w.must(t, w.gw, "ip -6 route"); !strings.Contains(out, want) {
				t.Errorf("ip -6 route lacks %q:\n%s", want, out)
			}
		}
		for address, wants := range map[string][]string{
			"2001:db8:64:1::1":     {"2001:db8:64:1::1/128: pod pod", "kernel: directly dev pod"},
			"10.64.1.63":           {"10.64.1.0/26: blackhole", "kernel: dropped by a blackhole route"},
			"2001:db8:64:1:ffff::": {"2001:db8:64:1::/64: blackhole", "kernel: dropped by a blackhole route"},
		} {
			for _, want := range wants {
				within(t, time.Minute, "the explanation of "+address, says(gw, want, "explain", address))
			}
		}
		// What is unused of the block does not go anywhere else.
		w.must(t, w.gw, "ip -6 route add default dev uplink0")
		if out, err := gw.InPod(t.Context(), "old", "ping", "-c", "1", "-W", "1", "2001:db8:64:1::99"); err == nil {
			t.Errorf("an address that no pod has answers:\n%s", out)
		}
		w.must(t, w.gw, "ip -6 route del default dev uplink0")

		within(t, time.Minute, "the end of duplicate address detection", func(ctx context.Context) error {
			out, err := w.gw.Run(ctx, "ip", "-6", "addr", "show", "tentative")
			if err == nil && out != "" {
				err = errors.New(out)
			}
			return err
		})
		m := ownnet.Watch(t, layout.NetnsDir+"/"+w.gw.Netns())
		restart(string(withUplink) + pool6)
		within(t, time.Minute, "the pods to be found", says(gw, "2 of 2 up", "status"))
		if changes := m.Changes(t); len(changes) > 0 {
			t.Errorf("a restart changed:\n%s", strings.Join(changes, "\n"))
		}
		// Somebody bounces a pod's link; the slow repair brings back what that took away.
		for line := range strings.Lines(w.must(t, w.gw, "ip -br link show type veth")) {
			if link, _, _ := strings.Cut(line, "@"); strings.HasPrefix(link, "pod") {
				w.must(t, w.gw, "ip link set "+link+" down")
				w.must(t, w.gw, "ip link set "+link+" up")
			}
		}
		within(t, time.Minute, "the bounced pods to reach each other", func(ctx context.Context) error {
			_, err := gw.InPod(ctx, "old", "ping", "-c", "1", "-W", "1", "2001:db8:64:1::2")
			return err
		})
		begin, _, _ := strings.Cut(string(withUplink), "[[pool]]")
		restart(begin + pool6)
		within(t, time.Minute, "the pods of IPv6 alone", func(ctx context.Context) error {
			out, err := gw.Ask(ctx, "pods")
			if err == nil && (strings.Contains(out, "10.64.1") || !strings.Contains(out, "2001:db8:64:1::2 ")) {
				err = errors.New(out)
			}
			return err
		})
		within(t, time.Minute, "the routes of IPv4 to be gone", func(ctx context.Context) error {
			out, err := w.gw.Run(ctx, "ip", "-4", "route")
			if err == nil && strings.Contains(out, "10.64.1.") {
				err = errors.New(out)
			}
			return err
		})
		if out, err := gw.InPod(t.Context(), "old", "ping", "-c", "1", "-W", "5", "2001:db8:64:1::2"); err != nil {
			t.Errorf("pods of IPv6 alone: %v\n%s", err, out)
		}
	})
}
