package containers

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// makeDatabase writes a file of several pages.
func makeDatabase(t *testing.T, path string) []byte {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("v1"))
		if err != nil {
			return err
		}
		inner, err := b.CreateBucket([]byte("inner"))
		for i := range 2000 {
			err = errors.Join(err, inner.Put([]byte{'k', byte(i >> 8), byte(i)}, []byte("value of some length")))
		}
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRepair(t *testing.T) {
	const name = "io.containerd.metadata.v1.bolt/meta.db"
	whole := makeDatabase(t, filepath.Join(t.TempDir(), "x.db"))
	for _, tt := range []struct {
		name   string
		data   []byte
		broken bool
	}{
		{"whole", whole, false},
		{"empty", nil, true},
		{"cut in the first page", whole[:100], true},
		{"cut after the meta pages", whole[:2*4096], true},
		{"cut in the middle", whole[:len(whole)/2+100], true},
		{"zeros", make([]byte, len(whole)), true},
		{"text", []byte("nothing of the kind"), true},
		{"zeros in the middle", append(append(append([]byte{}, whole[:3*4096]...), make([]byte, len(whole)-4*4096)...), whole[len(whole)-4096:]...), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, tt.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := repair(root, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(root)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(entries) == 0; got != tt.broken {
				t.Errorf("cleared: %v, want %v", got, tt.broken)
			}
		})
	}
}

// A file where containerd has a folder, as a repair of the file system may leave it.
func TestRepairOfAFolder(t *testing.T) {
	for _, name := range []string{"io.containerd.content.v1.content/blobs", "io.containerd.snapshotter.v1.overlayfs", "tmpmounts"} {
		root := t.TempDir()
		kept := filepath.Join(root, "io.containerd.content.v1.content/ingest")
		if err := os.MkdirAll(kept, 0o755); err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.DiscardHandler)
		if err := repair(root, log); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(kept); err != nil {
			t.Errorf("nothing is broken: %v", err)
		}
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := repair(root, log); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(root); err != nil || len(entries) > 0 {
			t.Errorf("%s is a file: left are %v, %v", name, entries, err)
		}
	}
}

// A database that cannot be read for another reason is left alone.
func TestRepairLeavesLockedDatabase(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "io.containerd.snapshotter.v1.overlayfs/metadata.db")
	makeDatabase(t, path)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	want := "open " + path + ": another process has it open"
	if err := repair(root, slog.New(slog.DiscardHandler)); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
