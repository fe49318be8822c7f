//go:build net

package store

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// inOwnMounts, in the environment, says that the test is in a mount namespace of its own.
const inOwnMounts = "STORE_TEST_MOUNTS"

// A disk that is full takes what is written into a file that is there, and refuses a
// new one until it has room again.
func TestFullDisk(t *testing.T) {
	if os.Getenv(inOwnMounts) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullDisk$", "-test.timeout=2m")
		cmd.Env = append(os.Environ(), inOwnMounts+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	filler := filepath.Join(dir, "filler")
	fill := func() {
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	old := filepath.Join(dir, "old.db")
	db, l := opened(t, old, (*os.File).Sync)
	put(t, db, "web-0", "10.64.1.0")
	put(t, db, "web-1", "10.64.1.1")
	fill()
	put(t, db, "web-2", "10.64.1.2")
	put(t, db, "web-3", "10.64.1.3")
	if l.String() != "" {
		t.Errorf("log:\n%s", l)
	}

	path := filepath.Join(dir, "new.db")
	fresh, l := opened(t, path, (*os.File).Sync)
	if err := answer(t, fresh.Put("web-0", addresses("10.64.1.0"), nil)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put on a full disk: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); fresh.Problem() != nil; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the disk has room again: %v\n%s", fresh.Problem(), l)
		}
	}
	says(t, path, map[string][]netip.Addr{"web-0": addresses("10.64.1.0")}, nil)
}
