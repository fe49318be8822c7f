package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netd/firmware/gpt"
)

const imageSize = 9<<20 + 512

// image is a disk image with one partition and something in it.
func image(t *testing.T) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "new.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := gpt.Table{Partitions: []gpt.Partition{{Type: gpt.TypeLinux, Label: "esp", FirstLBA: 2048, LastLBA: 4095}}}
	if _, err := f.WriteAt([]byte("content"), 2048*512); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(imageSize), table.Write(f, imageSize)); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func system(t *testing.T, out io.Writer) flasher {
	dir := t.TempDir()
	return flasher{
		sysfs: filepath.Join(dir, "sys"), out: out,
		mounts: put(t, filepath.Join(dir, "mounts"), "proc /proc proc rw 0 0\n/dev/sdz2 /mnt ext4 rw 0 0\n"),
		swaps:  put(t, filepath.Join(dir, "swaps"), "Filename Type Size Used Priority\n/dev/sdz3 partition 1 0 -2\n"),
	}
}

// A regular file stands for a disk: it gets the image's octets and keeps what
// is behind them.
func TestFlashFile(t *testing.T) {
	var out bytes.Buffer
	src := image(t)
	want, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	for name, old := range map[string][]byte{
		"smaller": nil, "larger": bytes.Repeat([]byte{0xff}, imageSize+1000), "flashed before": want,
	} {
		out.Reset()
		dst := put(t, filepath.Join(t.TempDir(), "disk"), string(old))
		if err := system(t, &out).flash(context.Background(), src, dst, false); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out.String())
		}
		got, err := os.ReadFile(dst)
		if err != nil || !bytes.Equal(got[:len(want)], want) || len(old) > len(want) && !bytes.Equal(got[len(want):], old[len(want):]) {
			t.Errorf("%s: the disk does not hold the image (%v)", name, err)
		}
		if name == "flashed before" && !strings.Contains(out.String(), "    1     1.0 MB  esp\n") {
			t.Errorf("the partitions are not shown:\n%s", out.String())
		}
		if !strings.Contains(out.String(), "write    100%") || !strings.Contains(out.String(), "compare  100%") {
			t.Errorf("%s: no progress:\n%s", name, out.String())
		}
	}
}

func TestFlashRefuses(t *testing.T) {
	dir := t.TempDir()
	f := system(t, io.Discard)
	file := put(t, filepath.Join(dir, "disk"), "as it was")
	for _, tt := range []struct{ name, image, device, want string }{
		{"no image", filepath.Join(dir, "nosuch"), file, "open image: "},
		{"no image in it", file, file, file + " is no disk image: read partition table: "},
		{"no disk", image(t), filepath.Join(dir, "nosuch"), "look at disk: "},
		{"a letter", image(t), file, file + " is a file of 9 octets without a partition table: expected a disk, an image, or an empty file; nothing was written"},
		{"a folder", image(t), dir, dir + " is neither a disk nor a file"},
		{"a terminal", image(t), "/dev/null", "/dev/null is neither a disk nor a file"},
	} {
		err := f.flash(context.Background(), tt.image, tt.device, true)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error %v, expected %s…", tt.name, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.flash(ctx, image(t), put(t, filepath.Join(dir, "empty"), ""), false); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "as it was" {
		t.Errorf("the disk was touched: %q (%v)", got, err)
	}
}

func TestDescribe(t *testing.T) {
	f := system(t, io.Discard)
	dev := t.TempDir()
	sys := func(name, text string) { put(t, filepath.Join(f.sysfs, "block", name), text) }
	for _, n := range []string{"sdy", "sdz", "sdz2"} {
		put(t, filepath.Join(dev, n), "")
	}
	sys("sdy/removable", "1\n")
	sys("sdy/queue/logical_block_size", "512\n")
	sys("sdy/device/vendor", "ACME    \n")
	sys("sdy/device/model", "Stick\n")
	sys("sdz/removable", "0\n")
	sys("sdz/queue/logical_block_size", "4096\n")
	sys("sdz/sdz1/partition", "1\n")
	sys("sdz/sdz1/holders/dm-0", "")
	sys("sdz/sdz2/partition", "2\n")
	sys("sdz/sdz3/partition", "3\n")
	sys("sdz/sdz4/partition", "4\n")
	sys("loop7/loop/backing_file", "/dev/sdz4\n")
	sys("loop8/loop/backing_file", "/home/sdz\n")

	refusal := func(d disk, size int64, force bool) string {
		if err := d.refuse("/dev/sdx", size, force); err != nil {
			return err.Error()
		}
		return ""
	}
	stick := disk{block: true, size: 100}
	if err := f.describe(&stick, filepath.Join(dev, "sdy")); err != nil {
		t.Fatal(err)
	}
	if got := refusal(stick, 100, false); stick.model != "ACME Stick" || got != "" {
		t.Errorf("%+v: refused: %v", stick, got)
	}
	if diff := cmp.Diff("/dev/sdx has only 0.0 MB; nothing was written", refusal(stick, 101, true)); diff != "" {
		t.Errorf("too small (-want +got)\n%s", diff)
	}
	system := disk{block: true, size: 100}
	if err := f.describe(&system, filepath.Join(dev, "sdz")); err != nil {
		t.Fatal(err)
	}
	if system.model != "a disk without a model's name" {
		t.Errorf("model: %q", system.model)
	}
	// Force or not: it is for a disk that is not removable, and for nothing else.
	want := "/dev/sdx is in use by dm-0, is in use by loop7, is mounted on /mnt, is swap: partition, " +
		"has sectors of 4096 octets, and the image is laid out for 512 (some disks can be formatted so: nvme format), is not removable; nothing was written"
	for _, force := range []bool{false, true} {
		if diff := cmp.Diff(want, refusal(system, 100, force)); diff != "" {
			t.Errorf("force %v (-want +got)\n%s", force, diff)
		}
	}
	system.uses, system.sector = nil, 512
	if diff := cmp.Diff("/dev/sdx is not removable; nothing was written (FORCE=1 does it all the same)", refusal(system, 100, false)); diff != "" {
		t.Errorf("a fixed disk (-want +got)\n%s", diff)
	}
	if got := refusal(system, 100, true); got != "" {
		t.Errorf("a fixed disk, forced: %s", got)
	}
	if err := f.describe(&disk{}, filepath.Join(dev, "sdz2")); err == nil || !strings.Contains(err.Error(), "expected a whole disk") {
		t.Errorf("a partition: %v", err)
	}
	f.mounts = filepath.Join(dev, "nosuch")
	if err := f.describe(&disk{}, filepath.Join(dev, "sdy")); err == nil {
		t.Error("a list of mounts that can not be read was taken for an empty one")
	}
}
