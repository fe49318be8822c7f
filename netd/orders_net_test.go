//go:build net

package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/netd/internal/ownnet"
)

// tells waits for something that BIRD answers; a "!" before it waits for its end.
func tells(t *testing.T, b *lab.Bird, want, question string) {
	t.Helper()
	within(t, time.Minute, question+": "+want, func(ctx context.Context) error {
		out, err := b.Ask(ctx, question)
		text, absent := strings.CutPrefix(want, "!")
		if err == nil && strings.Contains(out, text) == absent {
			err = errors.New(out)
		}
		return err
	})
}

// A drained gateway asks to be left, a session that is taken down stays down: over
// restarts of the agent and reloads, until it is undone.
func TestOrders(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		bird := w.bird(t, "10.0.1.11")
		file := w.config(t, static, "never")
		gw := w.start(t, file)
		within(t, time.Minute, "the session", gw.Established)
		const block, community = "show route 10.64.1.0/26 all", "(65535,0)"
		tells(t, bird, "via 10.0.1.11", block)
		restart := func() {
			t.Helper()
			gw.Kill()
			if err := gw.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		}

		ask(t, gw, "", "drain")
		tells(t, bird, community, block)
		ask(t, gw, "drained  peers are asked", "status")
		restart()
		within(t, time.Minute, "the session", gw.Established)
		tells(t, bird, "Established", "show protocols gateway1")
		tells(t, bird, community, block)
		ask(t, gw, "", "drain", "--undo")
		tells(t, bird, "!"+community, block)
		tells(t, bird, "via 10.0.1.11", block)

		refuses(t, gw, "no peer tor9: expected one of tor1", "peer", "down", "tor9")
		refuses(t, gw, "message of 129 octets: expected at most 128", "peer", "down", "tor1", "--message", strings.Repeat("x", 129))
		refuses(t, gw, "was not taken down by netd peer down", "peer", "up", "tor1")
		ask(t, gw, "", "peer", "down", "tor1", "--message", "rack 7 moves")
		tells(t, bird, "!Established", "show protocols gateway1")
		tells(t, bird, "!via 10.0.1.11", "show route protocol gateway1")
		if log := bird.Tail(50); !strings.Contains(log, `Administrative shutdown: "rack 7 moves"`) {
			t.Errorf("BIRD was not told why:\n%s", log)
		}
		ask(t, gw, `down     tor1, by hand: "rack 7 moves"`, "status")
		ask(t, gw, "Shutdown", "peers")
		restart()
		within(t, time.Minute, "the order after a restart", says(gw, "Shutdown", "peers"))
		ask(t, gw, "no value has changed", "reload")
		ask(t, gw, "Shutdown", "peers")
		ask(t, gw, "", "peer", "up", "tor1")
		within(t, time.Minute, "the session", gw.Established)
		tells(t, bird, "via 10.0.1.11", block)
	})
}
