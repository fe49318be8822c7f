package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

func addresses(list ...string) []netip.Addr {
	var as []netip.Addr
	for _, a := range list {
		as = append(as, netip.MustParseAddr(a))
	}
	return as
}

// log is what a DB says; it is read while the DB goes on.
type log struct {
	mu  sync.Mutex
	out strings.Builder
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

func options(path string, l *log) Options {
	return Options{
		Path: path, Name: validName,
		Log: slog.New(slog.NewTextHandler(l, nil)),
	}
}

// opened is a DB that is closed at the latest when the test ends.
func opened(t *testing.T, path string, sync func(*os.File) error) (*DB, *log) {
	t.Helper()
	l := &log{}
	db := open(options(path, l), sync)
	t.Cleanup(func() { shut(t, db) })
	return db, l
}

func shut(t *testing.T, db *DB) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	if err := db.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

func nosync(*os.File) error { return nil }

// answer waits for what a Put says.
func answer(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("no answer")
		return nil
	}
}

func put(t *testing.T, db *DB, pod string, as ...string) {
	t.Helper()
	if err := answer(t, db.Put(pod, addresses(as...), addresses(as...))); err != nil {
		t.Fatalf("put %s: %v", pod, err)
	}
}

// says compares what the file at path says now, in another life, with want.
func says(t *testing.T, path string, want map[string][]netip.Addr, last []netip.Addr) {
	t.Helper()
	db, l := opened(t, path, nosync)
	pods, gotLast, fresh := db.Load()
	shut(t, db)
	if !fresh {
		t.Errorf("the file was not read: %v", db.Problem())
	}
	opt := cmpopts.EquateComparable(netip.Addr{})
	if diff := cmp.Diff(want, pods, opt, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("pods (-want +got):\n%s%s", diff, l)
	}
	if diff := cmp.Diff(last, gotLast, opt); diff != "" {
		t.Errorf("last (-want +got):\n%s%s", diff, l)
	}
}

func TestSurvivesReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "state.db")
	db, l := opened(t, path, (*os.File).Sync)
	last := addresses("10.64.1.8", "2001:db8:64:1::8")
	for pod, as := range map[string][]netip.Addr{
		"web-0":  addresses("10.64.1.5", "2001:db8:64:1::5"),
		"web-1":  addresses("10.64.1.6", "2001:db8:64:1::6"),
		"four":   addresses("10.64.1.7"),
		"six":    addresses("2001:db8:64:1::7"),
		"less":   addresses("10.64.1.8", "2001:db8:64:1::8"),
		"robbed": addresses("10.64.1.10", "2001:db8:64:1::a"),
	} {
		if err := answer(t, db.Put(pod, as, last)); err != nil {
			t.Fatal(err)
		}
	}
	db.Put("less", addresses("10.64.1.9"), last)
	db.Put("four", addresses("10.64.1.7", "2001:db8:64:1::a"), last) // It is robbed's no more.
	db.Put("web-1", nil, addresses("10.64.1.9", "2001:db8:64:1::8"))
	shut(t, db)
	if err := answer(t, db.Put("late", addresses("10.64.1.40"), nil)); err == nil {
		t.Error("put after the end: no error")
	}
	says(t, path, map[string][]netip.Addr{
		"web-0": addresses("10.64.1.5", "2001:db8:64:1::5"), "four": addresses("10.64.1.7", "2001:db8:64:1::a"),
		"six": addresses("2001:db8:64:1::7"), "less": addresses("10.64.1.9"), "robbed": addresses("10.64.1.10"),
	}, addresses("10.64.1.9", "2001:db8:64:1::8"))
	if l.String() != "" {
		t.Errorf("nothing was wrong, and the log says:\n%s", l)
	}
}

// A former release reads what this one writes, and the other way round.
func TestFormerRelease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	former, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]netip.Addr{}
	for i := range 400 { // Branches, and pages that were used before.
		pod, addr := fmt.Sprint("web-", i), fmt.Sprintf("10.64.%d.%d", i/200, i%200)
		want[pod] = addresses(addr)
		err := former.Update(func(tx *bbolt.Tx) error {
			pods, err := tx.CreateBucketIfNotExists([]byte("pods"))
			meta, err2 := tx.CreateBucketIfNotExists([]byte("meta"))
			return errors.Join(err, err2, pods.Put([]byte(pod), []byte(addr)), meta.Put([]byte("last-address"), []byte(addr)))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := former.Close(); err != nil {
		t.Fatal(err)
	}
	says(t, path, want, addresses("10.64.1.199"))

	for range 3 { // Also over the spare, and over what is in it.
		db, l := opened(t, path, nosync)
		put(t, db, "web-0", "10.64.0.0", "2001:db8:64:1::1")
		shut(t, db)
		if l.String() != "" {
			t.Errorf("the log says:\n%s", l)
		}
		if former, err = bbolt.Open(path, 0o600, nil); err != nil {
			t.Fatal(err)
		}
		err = former.Update(func(tx *bbolt.Tx) error {
			for e := range tx.Check() {
				t.Errorf("the former release's check: %v", e)
			}
			got := map[string][]netip.Addr{}
			if err := tx.Bucket([]byte("pods")).ForEach(func(k, v []byte) error {
				got[string(k)] = addresses(string(v))
				return nil
			}); err != nil {
				return err
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("pods for the former release (-want +got):\n%s", diff)
			}
			if got := string(tx.Bucket([]byte("pods6")).Get([]byte("web-0"))); got != "2001:db8:64:1::1" {
				t.Errorf("IPv6 of web-0: %q", got)
			}
			return tx.Bucket([]byte("pods")).Put([]byte("web-1"), []byte("10.64.0.1"))
		})
		if err = errors.Join(err, former.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// gate is an fsync that waits until it is let through, and then says what it is told.
type gate struct {
	begun chan string
	let   chan error
}

func (g gate) sync(f *os.File) error {
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil
	}
	g.begun <- f.Name()
	return <-g.let
}

// Nobody waits for the disk, and what comes while it is busy is one write.
func TestSlowDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	g := gate{make(chan string, 100), make(chan error)}
	db, _ := opened(t, path, g.sync)
	first := db.Put("first", addresses("10.64.1.0"), nil)
	<-g.begun
	var all []<-chan error
	want := map[string][]netip.Addr{"first": addresses("10.64.1.0")}
	for i := range 40 {
		pod, addr := fmt.Sprint("web-", i), fmt.Sprintf("10.64.1.%d", i+1)
		want[pod] = addresses(addr)
		all = append(all, db.Put(pod, addresses("10.64.2.1"), nil), db.Put(pod, addresses(addr), nil))
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	select {
	case err := <-first:
		t.Fatalf("the first was answered before the disk has: %v", err)
	default:
	}
	g.let <- nil
	if err := answer(t, first); err != nil {
		t.Errorf("first: %v", err)
	}
	<-g.begun
	g.let <- nil
	for _, done := range all {
		if err := answer(t, done); err != nil {
			t.Error(err)
		}
	}
	if n := len(g.begun); n != 0 {
		t.Errorf("the 40 pods took %d fsyncs more than one", n)
	}
	says(t, path, want, nil)

	db.Put("last", addresses("10.64.1.99"), nil)
	<-g.begun
	if err := db.Problem(); err != nil {
		t.Errorf("a disk that takes its time: %v", err)
	}
	db.mu.Lock()
	db.begun = db.begun.Add(-2 * slowDisk)
	db.mu.Unlock()
	if err := db.Problem(); err == nil || !strings.Contains(err.Error(), "has not answered") {
		t.Errorf("a disk that hangs: problem %v", err)
	}
	if err := db.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close with a disk that hangs: %v", err)
	}
	g.let <- nil
}

// A disk that fails is told to those who wait and to the log once, is tried again, and
// what the memory says then is what the file says.
func TestDiskFails(t *testing.T) {
	for _, failure := range []error{syscall.ENOSPC, syscall.EIO, nil} {
		t.Run(fmt.Sprint(failure), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "state.db")
			var broken atomic.Bool
			db, l := opened(t, path, func(f *os.File) error {
				switch {
				case broken.Load() && failure == nil:
					panic("a page is not what it was")
				case broken.Load():
					return &os.PathError{Op: "sync", Path: f.Name(), Err: failure}
				}
				return nil
			})
			put(t, db, "web-0", "10.64.1.0")
			broken.Store(true)
			for i := range 3 {
				if err := answer(t, db.Put("web-1", addresses("10.64.1.1"), nil)); err == nil || failure != nil && !errors.Is(err, failure) {
					t.Errorf("put %d: %v, want %v", i, err, failure)
				}
			}
			says(t, path, map[string][]netip.Addr{"web-0": addresses("10.64.1.0")}, addresses("10.64.1.0"))
			if db.Problem() == nil {
				t.Error("no problem is told")
			}
			for range cap(db.changed) {
				<-db.Changed()
			}
			broken.Store(false)
			select { // By itself: nobody puts anything.
			case <-db.Changed():
			case <-time.After(20 * time.Second):
				t.Fatalf("the store does not come back; problem: %v", db.Problem())
			}
			if err := db.Problem(); err != nil {
				t.Errorf("problem: %v", err)
			}
			says(t, path, map[string][]netip.Addr{"web-0": addresses("10.64.1.0"), "web-1": addresses("10.64.1.1")}, nil)
			if n := strings.Count(l.String(), "ERROR"); n != 1 && failure != nil {
				t.Errorf("%d errors in the log, want one:\n%s", n, l)
			}
		})
	}
}

// A disk that comes late is found, what its file says counts, and Put fails until then.
func TestLateDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(dir, "state.db")
	other, _ := opened(t, path, nosync)
	put(t, other, "web-0", "10.64.1.0")
	shut(t, other)
	if err := errors.Join(os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	db, _ := opened(t, path, nosync)
	if _, _, fresh := db.Load(); fresh || db.Problem() == nil {
		t.Errorf("without a disk: fresh %v, problem %v", fresh, db.Problem())
	}
	if err := answer(t, db.Put("web-0", addresses("10.64.1.7"), nil)); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("put without a disk: %v", err)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, dir+".away", unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; <-db.Changed() {
		pods, _, fresh := db.Load()
		if fresh {
			if diff := cmp.Diff(map[string][]netip.Addr{"web-0": addresses("10.64.1.0")}, pods, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("pods (-want +got):\n%s", diff)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the disk is not found: %v", db.Problem())
		}
	}
	put(t, db, "web-1", "10.64.1.1")
	says(t, path, map[string][]netip.Addr{"web-0": addresses("10.64.1.0"), "web-1": addresses("10.64.1.1")}, addresses("10.64.1.1"))
}

// A power cut or a bad flash cell leaves any of these.
func TestTornFile(t *testing.T) {
	content := stateFile(t, map[string]string{"web-0": "10.64.1.5"})
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
			db, l := opened(t, path, nosync)
			put(t, db, "web-0", "10.64.1.5")
			put(t, db, "web-1", "10.64.1.6")
			if n := strings.Count(l.String(), "torn:"); n != 1 {
				t.Errorf("the log says %d times that the file was torn:\n%s", n, l)
			}
			aside, _ := filepath.Glob(path + ".torn-*")
			if len(aside) != 1 {
				t.Fatalf("put aside: %v, want one file", aside)
			}
			if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, data) {
				t.Errorf("what was put aside is not what was found: %v", err)
			}
			says(t, path, map[string][]netip.Addr{"web-0": addresses("10.64.1.5"), "web-1": addresses("10.64.1.6")}, addresses("10.64.1.6"))
		})
	}
}

// What is in the place of the file is put aside, whatever it is.
func TestNoFile(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"folder":          func(path string) error { return os.MkdirAll(filepath.Join(path, "sub"), 0o700) },
		"pipe":            func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link in circles": func(path string) error { return os.Symlink(path, path) },
		"link to nowhere": func(path string) error { return os.Symlink(path+".not", path) },
		"sparse file":     func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			db, l := opened(t, path, nosync)
			put(t, db, "web-0", "10.64.1.5")
			if aside, _ := filepath.Glob(path + ".torn-*"); len(aside) != 1 || strings.Count(l.String(), "ERROR") != 1 {
				t.Errorf("put aside: %v, want one; log:\n%s", aside, l)
			}
			says(t, path, map[string][]netip.Addr{"web-0": addresses("10.64.1.5")}, addresses("10.64.1.5"))
		})
	}
}
