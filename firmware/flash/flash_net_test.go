//go:build net

package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// loop makes a block device of an empty file.
func loop(t *testing.T, octets int64, options ...string) string {
	t.Helper()
	file := put(t, filepath.Join(t.TempDir(), "disk"), "")
	if err := os.Truncate(file, octets); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", append(options, "-f", "--show", file)...).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v\n%s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", device).CombinedOutput(); err != nil {
			t.Errorf("losetup -d: %v\n%s", err, out)
		}
	})
	return device
}

// A disk that must not be overwritten is not, whatever is forced; with real block
// devices, of which the kernel says who has them.
func TestFlashBlockDevice(t *testing.T) {
	f := flasher{sysfs: "/sys", mounts: "/proc/self/mounts", swaps: "/proc/swaps", out: io.Discard}
	src := image(t)
	untouched := func(t *testing.T, device, want string) {
		t.Helper()
		err := f.flash(t.Context(), src, device, true)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nothing was written") {
			t.Errorf("error %v, want it to say %q", err, want)
		}
		got := make([]byte, 8)
		d, err := os.Open(device)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close() }()
		if _, err := d.ReadAt(got, 512); err != nil || string(got) == "EFI PART" {
			t.Errorf("it has a partition table now (%v)", err)
		}
	}
	t.Run("sectors", func(t *testing.T) {
		untouched(t, loop(t, 32<<20, "--sector-size", "4096"), "has sectors of 4096 octets, and the image is laid out for 512")
	})
	t.Run("loop", func(t *testing.T) {
		device := loop(t, 32<<20)
		out, err := exec.Command("losetup", "-f", "--show", device).CombinedOutput()
		if err != nil {
			t.Fatalf("losetup: %v\n%s", err, out)
		}
		upper := strings.TrimSpace(string(out))
		untouched(t, device, "is in use by "+filepath.Base(upper))
		if out, err := exec.Command("losetup", "-d", upper).CombinedOutput(); err != nil {
			t.Fatalf("losetup -d: %v\n%s", err, out)
		}
	})
	t.Run("mounted", func(t *testing.T) {
		device, target := loop(t, 32<<20), t.TempDir()
		if out, err := exec.Command("mkfs.ext4", "-q", device).CombinedOutput(); err != nil {
			t.Fatalf("mkfs: %v\n%s", err, out)
		}
		if err := unix.Mount(device, target, "ext4", 0, ""); err != nil {
			t.Fatal(err)
		}
		untouched(t, device, "is mounted on "+target)
		blind := f
		blind.mounts = put(t, filepath.Join(t.TempDir(), "mounts"), "") // of another namespace
		if err := blind.flash(t.Context(), src, device, true); err == nil || !strings.Contains(err.Error(), "is in use, as the kernel says") {
			t.Errorf("mounted elsewhere: error %v", err)
		}
		if err := unix.Unmount(target, 0); err != nil {
			t.Fatal(err)
		}
		f.in = strings.NewReader("y\n")
		untouched(t, device, "not agreed to")
		f.in = strings.NewReader("yes\n")
		if err := f.flash(t.Context(), src, device, true); err != nil {
			t.Errorf("not mounted any more, and agreed to: %v", err)
		}
	})
}
