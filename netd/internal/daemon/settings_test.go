package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netd/netd/config"
)

// A password that is not one is an error that names its file, and a file that others can
// read is complained of.
func TestPasswords(t *testing.T) {
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
	c := &config.Config{BGP: config.BGP{
		Peers:        []config.Peer{{Session: session(good)}, {Session: session(open)}, {Session: session("")}},
		GatewayPeers: []config.Peer{{Session: session(empty)}},
		Ranges:       []config.Range{{Session: session(long)}, {Session: session(filepath.Join(dir, "none"))}, {Session: session(good)}},
	}}
	var log strings.Builder
	o := Options{Log: slog.New(slog.NewTextHandler(&log, nil))}
	passwords, err := o.readPasswords(c)
	if diff := cmp.Diff(map[string]string{good: "a secret", open: "another"}, passwords); diff != "" {
		t.Errorf("passwords (-want +got):\n%s", diff)
	}
	if n := strings.Count(fmt.Sprint(err), "no session without its password"); n != 3 {
		t.Errorf("errors: %v, want 3", err)
	}
	if got := log.String(); !strings.Contains(got, open) || strings.Contains(got, good) || strings.Contains(got, "another") {
		t.Errorf("log: %s", got)
	}
}
