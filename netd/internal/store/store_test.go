package store

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSurvivesReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db, err := Open(path, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr("10.64.1.5")
	if err := db.Assign("web-0", addr); err != nil {
		t.Fatal(err)
	}
	if err := db.Assign("web-1", addr.Next()); err != nil {
		t.Fatal(err)
	}
	if err := db.Release("web-1"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(path, slog.Default()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	pods, last, err := db.Load()
	if err != nil || len(pods) != 1 || pods["web-0"] != addr || last != addr.Next() {
		t.Errorf("after reopening: %v, last %v, %v", pods, last, err)
	}
}

// A power cut or a bad flash cell leaves any of these.
func TestTornFile(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.db")
	db, err := Open(good, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Assign("web-0", netip.MustParseAddr("10.64.1.5")); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	zeroed := func(from, to int) []byte {
		b := bytes.Clone(content)
		clear(b[from:min(to, len(b))])
		return b
	}
	tests := map[string][]byte{
		"garbage":          bytes.Repeat([]byte("garbage "), 8192),
		"zeroes":           make([]byte, len(content)),
		"one octet":        {1},
		"first page only":  content[:page],
		"metas zeroed":     zeroed(0, 2*page),
		"data pages zero":  zeroed(2*page, len(content)),
		"cut in the pages": content[:3*page],
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			db, err := Open(path, slog.New(slog.NewTextHandler(&out, nil)))
			if err != nil {
				t.Fatalf("open a torn file: %v", err)
			}
			defer func() { _ = db.Close() }()
			if err := db.Assign("web-0", netip.MustParseAddr("10.64.1.5")); err != nil {
				t.Errorf("assign after a torn file: %v", err)
			}
			if !strings.Contains(out.String(), "torn") {
				t.Errorf("log %q does not say that the file was torn", out.String())
			}
			aside, _ := filepath.Glob(path + ".torn-*")
			if len(aside) != 1 {
				t.Errorf("put aside: %v, want one file", aside)
			}
		})
	}
}
