package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/api"
	"netd/netd/internal/intent"
)

func goodStatus() api.Status {
	return api.Status{
		Gateway: "edge-1", ConfigFile: "/data/netd/netd.toml", Peers: api.Count{Up: 1, Total: 1}, Pods: api.Count{Up: 2, Total: 2},
		Uplinks: []api.Uplink{{Name: "uplink0", MAC: "52:54:00:01:00:0a", Carrier: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}}},
	}
}

func TestScreenText(t *testing.T) {
	s := &screen{about: "netd 1.4.0   board qemu-x86_64   serial number 7QX21"}
	bad := goodStatus()
	bad.Peers.Up, bad.NoLogin, bad.ConfigProblem = 0, true, "/data/netd/netd.toml:1:1: schema: missing"
	bad.Uplinks[0].Carrier = false
	bad.Problems = []string{"peer tor1: \x1b[2J\\n 100% " + strings.Repeat("ä", 200), "2", "3", "4", "5", "6", "7"}
	for _, c := range []struct {
		status api.Status
		want   string
	}{
		{goodStatus(), `
edge-1   netd 1.4.0   board qemu-x86_64   serial number 7QX21
GOOD      1 of 1 peers, 2 of 2 pods
uplink    uplink0 192.0.2.11/24   52:54:00:01:00:0a
config    /data/netd/netd.toml
login     as root; then netd status. Enter shows this again

`},
		{bad, `
edge-1   netd 1.4.0   board qemu-x86_64   serial number 7QX21
DOWN      0 of 1 peers, 2 of 2 pods
uplink    uplink0 192.0.2.11/24 without carrier   52:54:00:01:00:0a
problem   the configuration is not the first choice: /data/netd/netd.toml:1:1: schema: missing
problem   peer tor1: ?[2J\\n 100%% ` + strings.Repeat("ä", 126) + `…
problem   2
problem   3
problem   4
problem   5
problem   and 2 more: netd status
config    /data/netd/netd.toml
login     nobody can log in: [management] console-password is not set

`},
	} {
		if diff := cmp.Diff(c.want, s.text(c.status)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestVerdict(t *testing.T) {
	for want, change := range map[string]func(*api.Status){
		"GOOD 1 of 1 peers, 2 of 2 pods":     func(*api.Status) {},
		"DEGRADED 1 of 2 peers, 2 of 2 pods": func(s *api.Status) { s.Peers.Total = 2 },
		"DEGRADED 1 of 1 peers, 1 of 2 pods": func(s *api.Status) { s.Pods.Up = 1 },
		"DEGRADED 1 of 1 peers, 3 of 3 pods": func(s *api.Status) { s.Problems, s.Pods = []string{"x"}, api.Count{Up: 3, Total: 3} },
		"DOWN 0 of 1 peers, 2 of 2 pods":     func(s *api.Status) { s.Peers.Up = 0 },
		"DOWN 1 of 1 peers, 2 of 2 pods":     func(s *api.Status) { s.Uplinks[0].Carrier = false },
	} {
		s := goodStatus()
		change(&s)
		if word, numbers := verdict(s); word+" "+numbers != want {
			t.Errorf("%s %s, want %s", word, numbers, want)
		}
	}
}

// A gateway that changes each second for ten minutes: the screen follows, and the console
// has a bounded number of lines.
func TestScreenFollows(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var words bytes.Buffer
		revision := uint64(0)
		view := func(ctx context.Context, after uint64) api.View {
			revision++
			s := goodStatus()
			s.Revision, s.Peers.Up = revision, int(revision%2)
			return api.View{Status: s}
		}
		s := &screen{log: slog.New(slog.DiscardHandler), view: view, file: filepath.Join(dir, "issue"), words: &words}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := s.run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		lines := strings.Split(strings.TrimSpace(words.String()), "\n")
		if n := len(lines); n < linesAtOnce+8 || n > linesAtOnce+10 {
			t.Errorf("%d lines in ten minutes", n)
		}
		if want := "netd console: netd edge-1: DOWN  0 of 1 peers, 2 of 2 pods; uplink0 192.0.2.11/24"; lines[0] != want {
			t.Errorf("got %q, want %q", lines[0], want)
		}
		if text, err := os.ReadFile(s.file); err != nil || !strings.Contains(string(text), "of 1 peers") {
			t.Errorf("%q, %v", text, err)
		}
	})
}

// Whose password it is, the configuration's or the one that the image was made with.
func TestPassword(t *testing.T) {
	dir := t.TempDir()
	o := Options{FactoryFile: filepath.Join(dir, "netd.toml")}
	if got := o.readMadeWith(); got != "" {
		t.Errorf("an image without: %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "console-password"), []byte("$6$made\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.madeWith = o.readMadeWith()
	for _, c := range []struct {
		configured string
		nobody     bool
		want       string
	}{{"", false, "$6$made"}, {"$6$own", false, "$6$own"}, {"", true, ""}} {
		if got := o.password(intent.Box{ConsolePassword: c.configured, NoLogin: c.nobody}); got != c.want {
			t.Errorf("%+v: %q, want %q", c, got, c.want)
		}
	}
}
