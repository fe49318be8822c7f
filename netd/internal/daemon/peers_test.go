package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netd/netd/config"
)

// Passwords are read once for each configuration; a peer whose password is not known
// has no session, and a file that others can read is complained of.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	session := func(file string) config.Session { return config.Session{PasswordFile: file} }
	good, open := file("good", " a secret \nnot this\n", 0o600), file("open", "another", 0o644)
	empty, long := file("empty", "\n", 0o600), file("long", strings.Repeat("x", 81), 0o600)
	var log strings.Builder
	d := &Daemon{opts: Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, config: &config.Config{BGP: config.BGP{
		Peers:        []config.Peer{{Session: session(good)}, {Session: session(open)}, {Session: session("")}},
		GatewayPeers: []config.Peer{{Session: session(empty)}},
		Ranges:       []config.Range{{Session: session(long)}, {Session: session(filepath.Join(dir, "none"))}, {Session: session(good)}},
	}}}
	d.readSecrets()
	for file, want := range map[string]string{good: "a secret", open: "another", "": ""} {
		if s, ok := d.session(session(file)); !ok || s.Password != want {
			t.Errorf("%q: password %q (%v), want %q", file, s.Password, ok, want)
		}
	}
	for _, file := range []string{empty, long, filepath.Join(dir, "none")} {
		if _, ok := d.session(session(file)); ok {
			t.Errorf("%s: a session without its password", file)
		}
	}
	if len(d.secrets.errs) != 3 {
		t.Errorf("errors: %v, want 3", d.secrets.errs)
	}
	if got := log.String(); !strings.Contains(got, open) || strings.Contains(got, good) || strings.Contains(got, "another") {
		t.Errorf("log: %s", got)
	}

	file("good", "a new one", 0o600)
	d.readSecrets()
	if s, _ := d.session(session(good)); s.Password != "a secret" {
		t.Errorf("password %q before the reload", s.Password)
	}
	again := *d.config
	d.config = &again
	d.readSecrets()
	if s, _ := d.session(session(good)); s.Password != "a new one" {
		t.Errorf("password %q after the reload", s.Password)
	}
}
