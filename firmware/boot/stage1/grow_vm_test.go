//go:build vm

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"netd/firmware/gpt"
)

func shell(t *testing.T, script string, args ...string) string {
	t.Helper()
	out, err := exec.Command("sh", append([]string{"-euc", script, "sh"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", script, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

const (
	mib       = 1 << 20
	imageSize = 40 * mib
	dataStart = 8 * mib
	dataSize  = 31 * mib // the last MiB is the backup table's
)

// newImage is a disk image as the builder makes it, small.
func newImage(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sectors := func(n int64) uint64 { return uint64(n / gpt.SectorSize) }
	table := &gpt.Table{DiskUUID: gpt.UUID{1}, Partitions: []gpt.Partition{
		{Type: gpt.TypeLinux, UUID: gpt.UUID{2}, Label: "boot-a", FirstLBA: sectors(mib), LastLBA: sectors(2*mib) - 1},
		{Type: gpt.TypeLinux, UUID: gpt.UUID{3}, Label: "data", FirstLBA: sectors(dataStart), LastLBA: sectors(dataStart+dataSize) - 1},
	}}
	if err := f.Truncate(imageSize); err != nil {
		t.Fatal(err)
	}
	if err := table.Write(f, imageSize); err != nil {
		t.Fatal(err)
	}
	shell(t, `truncate -s 31M "$1.fs"; mkfs.ext4 -q -b 4096 "$1.fs"; dd if="$1.fs" of="$1" bs=1M seek=8 conv=notrunc status=none`, path)
	return path
}

// attach makes a disk of an image on a medium of a size.
func attach(t *testing.T, path string, size int64) *disk {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	device := shell(t, `losetup -P --show -f "$1"`, path)
	t.Cleanup(func() { shell(t, `losetup -d "$1"`, device) })
	d, err := openDisk("/sys/block", "/dev", filepath.Base(device))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mountedSize(t *testing.T, d *disk) uint64 {
	t.Helper()
	v := newVolume(t, d)
	if err := v.open(); err != nil {
		t.Fatal(err)
	}
	target := v.target
	defer v.leave(t)
	if err := os.WriteFile(target+"/file", bytes.Repeat([]byte{1}, mib), 0o644); err != nil {
		t.Error(err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(target, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * uint64(st.Bsize)
}

func TestDataFillsTheDisk(t *testing.T) {
	path := newImage(t)
	d := attach(t, path, 200*mib)
	if got := mountedSize(t, d); got < 170*mib {
		t.Errorf("on a disk of 200 MiB: /data has %d MiB", got/mib)
	}
	if out := shell(t, `e2fsck -fn "$1"p2 2>&1`, d.path); !strings.Contains(out, "file") {
		t.Errorf("e2fsck: %s", out)
	}
	again, err := openDisk("/sys/block", "/dev", d.name)
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := again.table.ByLabel("data"); p.Size() < 190*mib {
		t.Errorf("table on the disk: data has %d MiB", p.Size()/mib)
	}
	if got := mountedSize(t, again); got < 170*mib {
		t.Errorf("at the second start: /data has %d MiB", got/mib)
	}
}

// A disk as large as the image: nothing to do, and nothing is written.
func TestDataOnAFullDiskIsLeftAlone(t *testing.T) {
	path := newImage(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := attach(t, path, imageSize)
	if got := mountedSize(t, d); got > dataSize {
		t.Errorf("/data has %d octets", got)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]int{{0, dataStart}, {dataStart + dataSize, imageSize}} {
		if !bytes.Equal(before[r[0]:r[1]], after[r[0]:r[1]]) {
			t.Errorf("octets %d to %d have changed", r[0], r[1])
		}
	}
}

// The power is cut between the steps: the next start does the rest.
func TestGrowingGoesOnAfterAPowerCut(t *testing.T) {
	path := newImage(t)
	d := attach(t, path, 200*mib)
	if err := d.growPartition("data"); err != nil {
		t.Fatal(err)
	}
	again, err := openDisk("/sys/block", "/dev", d.name)
	if err != nil {
		t.Fatal(err)
	}
	if got := mountedSize(t, again); got < 170*mib {
		t.Errorf("with the file system left to do: /data has %d MiB", got/mib)
	}
}

func TestDiskIsFoundByThePartitionThatWasStarted(t *testing.T) {
	attach(t, newImage(t), 100*mib)
	f := finder{block: "/sys/block", dev: "/dev", say: t.Logf}
	d, err := f.find(gpt.UUID{2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d.slot != "a" {
		t.Errorf("slot: got %q, want a", d.slot)
	}
}
