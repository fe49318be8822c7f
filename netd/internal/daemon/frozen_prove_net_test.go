//go:build net && prove

package daemon_test

import (
	"testing"
	"time"
)

// A snapshot of a large machine takes 90 s, ten times the hold time.
func TestProveFrozen(t *testing.T) {
	const snapshot = 90 * time.Second
	for name, site := range map[string]func(*testing.T) *site{
		"BGP": func(t *testing.T) *site { return restartSite(t, "") },
		"BFD": func(t *testing.T) *site { return watchedSite(t, false) },
		"FRR": func(t *testing.T) *site { return watchedSite(t, true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := site(t)
			t.Run("a gateway", func(t *testing.T) { s.comesBack(t, snapshot, "gw-a") })
			t.Run("a gateway again", func(t *testing.T) { s.comesBack(t, snapshot, "gw-a") })
			t.Run("everything", func(t *testing.T) { s.comesBack(t, snapshot, "gw-a", "tor1", "tor2", "gw-c") })
			s.T = t
		})
	}
}
