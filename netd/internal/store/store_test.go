package store

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.etcd.io/bbolt"
)

func addresses(list ...string) []netip.Addr {
	var as []netip.Addr
	for _, a := range list {
		as = append(as, netip.MustParseAddr(a))
	}
	return as
}

func reopen(t *testing.T, path string, db *DB) *DB {
	t.Helper()
	if db != nil {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	db, err := Open(path, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func expect(t *testing.T, db *DB, pods map[string][]netip.Addr, last []netip.Addr) {
	t.Helper()
	gotPods, gotLast, err := db.Load()
	if err != nil {
		t.Fatal(err)
	}
	opt := cmpopts.EquateComparable(netip.Addr{})
	if diff := cmp.Diff(pods, gotPods, opt); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(last, gotLast, opt); diff != "" {
		t.Errorf("last (-want +got):\n%s", diff)
	}
}

func TestSurvivesReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := reopen(t, path, nil)
	for pod, as := range map[string][]netip.Addr{
		"web-0": addresses("10.64.1.5", "2001:db8:64:1::5"),
		"web-1": addresses("10.64.1.6", "2001:db8:64:1::6"),
		"four":  addresses("10.64.1.7"),
		"six":   addresses("2001:db8:64:1::7"),
		"less":  addresses("10.64.1.8", "2001:db8:64:1::8"),
	} {
		if err := db.Assign(pod, as, addresses("10.64.1.8", "2001:db8:64:1::8")); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Assign("less", addresses("10.64.1.9"), addresses("10.64.1.9", "2001:db8:64:1::8")); err != nil {
		t.Fatal(err)
	}
	if err := db.Release("web-1"); err != nil {
		t.Fatal(err)
	}
	expect(t, reopen(t, path, db), map[string][]netip.Addr{
		"web-0": addresses("10.64.1.5", "2001:db8:64:1::5"), "four": addresses("10.64.1.7"), "six": addresses("2001:db8:64:1::7"),
		"less": addresses("10.64.1.9"),
	}, addresses("10.64.1.9", "2001:db8:64:1::8"))
}

// The file of a release that knew no IPv6 is read, and that release finds its own
// part again after a fall back.
func TestOlderFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := reopen(t, path, nil)
	err := db.db.Update(func(tx *bbolt.Tx) error {
		pods, _ := tx.CreateBucketIfNotExists([]byte("pods"))
		meta, _ := tx.CreateBucketIfNotExists([]byte("meta"))
		return errors.Join(pods.Put([]byte("web-0"), []byte("10.64.1.5")), meta.Put([]byte("last-address"), []byte("10.64.1.5")))
	})
	if err != nil {
		t.Fatal(err)
	}
	db = reopen(t, path, db)
	expect(t, db, map[string][]netip.Addr{"web-0": addresses("10.64.1.5")}, addresses("10.64.1.5"))
	if err := db.Assign("web-0", addresses("10.64.1.5", "2001:db8:64:1::1"), addresses("10.64.1.5", "2001:db8:64:1::1")); err != nil {
		t.Fatal(err)
	}
	err = db.db.View(func(tx *bbolt.Tx) error {
		if got := string(tx.Bucket([]byte("pods")).Get([]byte("web-0"))); got != "10.64.1.5" {
			t.Errorf("what the older release reads of web-0: %q", got)
		}
		if got := string(tx.Bucket([]byte("meta")).Get([]byte("last-address"))); got != "10.64.1.5" {
			t.Errorf("what the older release reads of the last address: %q", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A power cut or a bad flash cell leaves any of these.
func TestTornFile(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.db")
	db, err := Open(good, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Assign("web-0", addresses("10.64.1.5"), addresses("10.64.1.5")); err != nil {
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
			if err := db.Assign("web-0", addresses("10.64.1.5"), addresses("10.64.1.5")); err != nil {
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
