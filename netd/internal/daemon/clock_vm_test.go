//go:build vm

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"netd/firmware/lab"
	"netd/firmware/lab/patience"
	"netd/netd/internal/api"
)

// clockConfig is a gateway with all that could tell time by the wall clock: BGP, BFD, a
// pod, a lease that is renewed every 5 s.
const clockConfig = `schema = 1
[gateway]
name = "gw-a"
[[uplink]]
name = "uplink0"
match = { name = "eth0" }
dhcp = true
[bgp]
as = 65101
router-id = "10.0.1.11"
[[bgp.peer]]
name = "tor1"
address = "10.0.1.1"
as = 65001
bfd = { min-tx = "500ms", min-rx = "500ms", multiplier = 5 }
[[pool]]
name = "pods"
prefix = "10.64.0.0/16"
block = "10.64.1.0/26"
encapsulation = "never"
`

// clockSite is that gateway behind a ToR that has BFD, a DHCP server and a route to tell.
func clockSite(t *testing.T) (s *site, dnsmasq *lab.Process) {
	t.Helper()
	s = newSite(t, "tor-only.toml")
	s.config = filepath.Join(s.net.Dir, "clock.toml")
	s.must(os.WriteFile(s.config, []byte(clockConfig), 0o644))
	s.tor("tor1", "10.0.1.1/24")
	s.bird("tor1", strings.NewReplacer("bfd graceful;", "bfd on;", "interval 150 ms", "interval 500 ms", "multiplier 3", "multiplier 5").Replace(torBird{
		id: "10.0.1.1", as: "65001", export: "true", gateways: map[string]string{"10.0.1.11": "65101"},
	}.String()))
	dnsmasq, err := s.hosts["tor1"].Start("dnsmasq", "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--conf-file=/dev/null",
		"--port=0", "--interface=br0", "--bind-interfaces", "--user=root", "--pid-file=", "--dhcp-authoritative", "--no-ping",
		"--dhcp-leasefile="+filepath.Join(s.net.Dir, "leases"), "--dhcp-range=10.0.1.11,10.0.1.11,2m", "--dhcp-option=option:T1,5")
	s.must(err)
	s.gateway("gw-a", "tor1")
	return s, dnsmasq
}

// renewals counts what the server has acknowledged.
func renewals(dnsmasq *lab.Process) int { return strings.Count(dnsmasq.Tail(1<<20), "DHCPACK") }

// setClock sets the wall clock forward, or back.
func setClock(by time.Duration) error {
	ts, err := unix.TimeToTimespec(time.Now().Add(by))
	if err != nil {
		return err
	}
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("set the clock by %s: %w", by, err)
	}
	return nil
}

// trialTakes puts a configuration on trial and returns a channel that tells how long it
// takes until nobody has confirmed it.
func (s *site) trialTakes(gw, file string, confirm time.Duration) <-chan *patience.Stopwatch {
	s.Helper()
	watch, over := patience.Start(), make(chan *patience.Stopwatch, 1)
	out, err := s.gw[gw].Ask(s.Context(), "apply", "--confirm", confirm.String(), file)
	if err != nil {
		s.Fatalf("apply: %v\n%s", err, out)
	}
	go func() {
		defer close(over)
		if err := lab.Until(s.Context(), "the trial to end", func(ctx context.Context) error {
			var status api.Status
			err := s.gw[gw].JSON(ctx, &status, "status")
			if err == nil && status.Trial != nil {
				err = errors.New("it is still on")
			}
			return err
		}); err != nil {
			s.Error(err)
		}
		watch.Stop()
		over <- watch
	}()
	return over
}

// A wall clock that jumps by a day and by a year, both ways, loses nothing: no session, no
// pod, no lease, and a trial takes its time.
func TestClockJumps(t *testing.T) {
	const day, year, confirm = 24 * time.Hour, 365 * 24 * time.Hour, 30 * time.Second
	s, dnsmasq := clockSite(t)
	before := s.steady("gw-a")
	monitor, err := s.hosts["gw-a"].Start("monitor", "ip", "monitor", "link", "address", "route")
	s.must(err)
	trial := filepath.Join(s.net.Dir, "trial.toml")
	s.must(os.WriteFile(trial, []byte(strings.Replace(clockConfig, `name = "tor1"`, `name = "tor1"`+"\ndescription = \"on trial\"", 1)), 0o644))
	over := s.trialTakes("gw-a", trial, confirm)
	for _, by := range []time.Duration{day, -day, year, -year} {
		s.must(setClock(by))
		t.Cleanup(func() { s.must(setClock(-by)) })
		renewed := renewals(dnsmasq)
		within(t, time.Minute, fmt.Sprintf("a renewal after a jump of %s", by), func(ctx context.Context) error {
			if n := renewals(dnsmasq); n == renewed {
				return fmt.Errorf("still %d", n)
			}
			return nil
		})
		after, err := s.sessions(t.Context(), "gw-a")
		if diff := cmp.Diff(before.Sessions, after); diff != "" || err != nil {
			t.Errorf("sessions after a jump of %s: %v (-before +after):\n%s", by, err, diff)
		}
	}
	watch := <-over
	t.Logf("the trial of %s is over after %s", confirm, watch)
	if took := watch.Took(); took < confirm || took-watch.Lost() > confirm+15*time.Second {
		t.Errorf("the trial of %s is over after %s", confirm, watch)
	}
	if diff := cmp.Diff(before, s.steady("gw-a")); diff != "" {
		t.Errorf("in the end (-before +after):\n%s", diff)
	}
	s.reaches("gw-a", "gw-a")
	monitor.Stop()
	if seen := monitor.Tail(20); seen != "" {
		t.Errorf("links, addresses or routes moved:\n%s", seen)
	}
	if log := s.gw["gw-a"].Tail(1 << 20); strings.Contains(log, "lost") {
		t.Errorf("something was lost:\n%s", log)
	}
}
