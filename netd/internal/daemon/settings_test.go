package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

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
		GatewayPeers: []config.Peer{{Name: "gw-b", Session: session(empty)}, {Name: "gw-c", Session: session(empty)}},
		Ranges:       []config.Range{{Session: session(long)}, {Session: session(filepath.Join(dir, "none"))}, {Session: session(good)}},
	}}
	var log strings.Builder
	o := Options{Log: slog.New(slog.NewTextHandler(&log, nil))}
	passwords, err := o.readPasswords(c)
	if diff := cmp.Diff(map[string]string{good: "a secret", open: "another"}, passwords); diff != "" {
		t.Errorf("passwords (-want +got):\n%s", diff)
	}
	if n := strings.Count(fmt.Sprint(err), "without its password"); n != 3 || !strings.Contains(fmt.Sprint(err), "no session with gw-b, gw-c without its password: "+empty+": 0 octets") {
		t.Errorf("errors: %v, want 3", err)
	}
	if got := log.String(); !strings.Contains(got, open) || strings.Contains(got, good) || strings.Contains(got, "another") {
		t.Errorf("log: %s", got)
	}
}

// TestPasswordIn: what editors put around a password is no part of it.
func TestPasswordIn(t *testing.T) {
	const other = "its first line is no text in UTF-8 (some editors write UTF-16): expected a password of 1 to 80 octets"
	for text, want := range map[string]string{
		"secret1":                 "secret1",
		"\ufeffsecret1\r\n":       "secret1",
		"secret1 \t\nanother":     "secret1",
		"pass wörd\n":             "pass wörd",
		"\xff\xfes\x00e\x00c\x00": other,
		"s\x00e\x00":              other,
		"\ufeff\n":                "0 octets in its first line: expected a password of 1 to 80",
		strings.Repeat("x", 80):   strings.Repeat("x", 80),
		strings.Repeat("x", 81):   "81 octets in its first line: expected a password of 1 to 80",
	} {
		got, err := passwordIn([]byte(text))
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestPasswordOfAPipe: nothing is waited for that may never come.
func TestPasswordOfAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{pipe, "/dev/zero"} {
		if _, _, err := readPassword(file); err == nil || !strings.Contains(err.Error(), "expected a regular file") {
			t.Errorf("%s: error %v", file, err)
		}
	}
}
