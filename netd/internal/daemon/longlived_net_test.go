//go:build net

package daemon_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab"
)

// Long-lived graceful restart (RFC 9494), where the ToR offers it: each end keeps what
// the other has told beyond the restart time, as its last choice.
func TestLongLived(t *testing.T) {
	t.Parallel()
	s := newSite(t, "tor-only.toml")
	s.add("\n[bgp]\nrestart-time = \"2s\"\nlong-lived-time = \"600s\"\n")
	s.tor("tor1", "10.0.1.1/24")
	conf := torBird{
		id: "10.0.1.1", as: "65001", export: podsOnly, gateways: map[string]string{"10.0.1.11": "65101", "10.0.1.12": "65102"},
		extra: "graceful restart on; graceful restart time 2; long lived graceful restart on; long lived stale time 600;",
	}.String()
	s.bird("tor1", conf)
	s.gateway("gw-a", "tor1")
	s.gateway("gw-b", "tor1")
	s.converged()

	t.Run("the gateway is away", func(t *testing.T) {
		stop := s.flow("gw-b", "gw-a")
		s.must(s.gw["gw-a"].Signal(syscall.SIGKILL))
		<-s.gw["gw-a"].Done()
		within(t, time.Minute, "the ToR to keep the block beyond the restart time", func(ctx context.Context) error {
			out, err := s.birds["tor1"].Ask(ctx, "show route all 10.64.1.0/26")
			if err == nil && !strings.Contains(out, "(65535,6)") { // LLGR_STALE
				err = fmt.Errorf("%s", out)
			}
			return err
		})
		again, err := s.hosts["gw-a"].Netd(t.Context(), binary(t), s.config, lab.Gateway{Name: "gw-a"})
		s.must(err)
		s.gw["gw-a"] = again
		s.converged()
		within(t, time.Minute, "the block to be fresh", func(ctx context.Context) error {
			out, err := s.birds["tor1"].Ask(ctx, "show route all 10.64.1.0/26")
			if err == nil && (strings.Contains(out, "(65535,6)") || !strings.Contains(out, "10.0.1.11")) {
				err = fmt.Errorf("%s", out)
			}
			return err
		})
		if sent, lost := stop(); lost > 0 {
			t.Errorf("%d of %d packets lost while the gateway was away for longer than its restart time", lost, sent)
		}
	})
	t.Run("the ToR is away", func(t *testing.T) {
		began := time.Now()
		s.birds["tor1"].Kill()
		s.explains("gw-a", "10.64.2.0/26", "native via 10.0.1.1 dev uplink0", "stale")
		// Without it the path would be gone when the restart time is over.
		within(t, time.Minute, "the restart time to be over, the route still there", func(ctx context.Context) error {
			out, err := s.hosts["gw-a"].Run(ctx, "ip", "route", "show", "10.64.2.0/26")
			switch {
			case err != nil:
				return err
			case !strings.Contains(out, "10.0.1.1"):
				t.Fatalf("the route is gone after %s", time.Since(began))
			case time.Since(began) < 6*time.Second:
				return fmt.Errorf("%s since the ToR died", time.Since(began))
			}
			return nil
		})
		s.bird("tor1", conf)
		s.converged()
	})
}
