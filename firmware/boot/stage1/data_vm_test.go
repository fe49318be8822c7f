//go:build vm

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"netd/firmware/boot"
)

func newVolume(t *testing.T, d *disk) *volume {
	log := &bytes.Buffer{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", log)
		}
	})
	v := &volume{disk: d, label: "data", target: t.TempDir(), log: log}
	v.say = func(format string, args ...any) { t.Logf(format, args...) }
	return v
}

func (v *volume) leave(t *testing.T) {
	t.Helper()
	if err := unix.Unmount(v.target, 0); err != nil {
		t.Errorf("unmount: %v", err)
	}
}

// filled is a disk with files where the daemons have theirs. Of 200 MiB it was lengthened
// so far that it has more than one superblock.
func filled(t *testing.T, size int64) *disk {
	t.Helper()
	d := attach(t, newImage(t), size)
	v := newVolume(t, d)
	if err := v.open(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		for _, dir := range []string{"netd", fmt.Sprintf("containerd/plugin%d/sub", i)} {
			dir = filepath.Join(v.target, dir)
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "file"), []byte("kept"), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	v.leave(t)
	return d
}

func TestDamagedData(t *testing.T) {
	const debug = `debugfs -w -R "$2" "$1" 2>&1`
	for _, c := range []struct {
		name, damage string
		args         []string
		kept         bool   // netd/file is
		want         string // what netd status is told; empty: nothing
	}{
		{"none", "true", nil, true, ""},
		{
			"a bit of the superblock", `printf '\377' | dd of="$1" bs=1 seek=1150 conv=notrunc status=none`, nil, true,
			"/data was damaged (mount DEV on TARGET (ext4): a checksum is wrong), and was repaired at this start by ",
		},
		{
			"a folder's inode", debug,
			[]string{"clri /containerd"},
			true,
			"containerd: it is damaged), and was repaired at this start by ",
		},
		{
			"a folder's block", `block=$(debugfs -R "bmap /containerd 0" "$1" 2>/dev/null); head -c 4096 /dev/urandom | dd of="$1" bs=4096 seek="$block" conv=notrunc status=none`, nil, true,
			"files and folders have lost their names and are in /data/lost+found",
		},
		{
			"the kernel has met damage in it", debug,
			[]string{"set_super_value state 2"},
			true,
			"/data was damaged, and was mended at this start without a loss",
		},
		{
			"group descriptors", `head -c 16384 /dev/urandom | dd of="$1" bs=4k seek=1 conv=notrunc status=none`, nil, true, "and was repaired at this start by ",
		},
		{
			"all of it", `for at in 0 126; do dd if=/dev/zero of="$1" bs=1M count=4 seek=$at conv=notrunc status=none; done`, nil, false,
			"what was on /data is lost: it could not be repaired (mount DEV on TARGET (ext4): there is no file system), and the file system was made anew at this start",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := filled(t, 200*mib)
			shell(t, c.damage, append([]string{d.path + "p2"}, c.args...)...)
			v := newVolume(t, d)
			if err := v.open(); err != nil {
				t.Fatal(err)
			}
			told := strings.NewReplacer(v.target, "TARGET", v.device, "DEV").Replace(strings.Join(v.noted, "\n"))
			if !strings.Contains(told, c.want) || c.want == "" && told != "" {
				t.Errorf("netd status is told:\n%s\nwant:\n%s", told, c.want)
			}
			got, err := os.ReadFile(filepath.Join(v.target, "netd/file"))
			if kept := string(got) == "kept"; kept != c.kept {
				t.Errorf("netd/file: %q, %v", got, err)
			}
			if err := os.WriteFile(filepath.Join(v.target, "new"), nil, 0o644); err != nil {
				t.Error(err)
			}
			v.leave(t)
			if out := shell(t, `e2fsck -fn "$1" 2>&1`, v.device); strings.Contains(out, "? no") {
				t.Errorf("damage is left:\n%s", out)
			}
			// The next start has nothing to tell.
			again := newVolume(t, d)
			if err := again.open(); err != nil || len(again.noted) > 0 {
				t.Errorf("the next start: %v, %v", again.noted, err)
			}
			again.leave(t)
		})
	}
}

// The power goes while files are written: it is checked, and nobody is told.
func TestDataAfterAPowerCut(t *testing.T) {
	d := filled(t, 60*mib)
	v := newVolume(t, d)
	if err := v.open(); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := os.WriteFile(filepath.Join(v.target, "netd", fmt.Sprint(i)), make([]byte, 10000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shell(t, `sync -f "$1"; cp "$2" "$1".cut`, v.target, v.device) // as the disk is now
	_ = os.Rename(v.target+".cut", v.target+".img")
	v.leave(t)
	shell(t, `dd if="$1" of="$2" bs=1M conv=notrunc status=none`, v.target+".img", v.device)
	if super, err := v.super(); err != nil || !super.InUse {
		t.Fatalf("%+v, %v: expected one that nobody has unmounted", super, err)
	}
	again := newVolume(t, d)
	if err := again.open(); err != nil || len(again.noted) > 0 {
		t.Errorf("%v, %v", again.noted, err)
	}
	if b, err := os.ReadFile(filepath.Join(again.target, "netd/99")); err != nil || len(b) != 10000 {
		t.Errorf("netd/99: %d octets, %v", len(b), err)
	}
	again.leave(t)
}

// A disk that takes no writes is not made anew, and neither is one that can not be read.
func TestDataThatIsNotToBeMadeAnew(t *testing.T) {
	d := filled(t, 60*mib)
	shell(t, `blockdev --setro "$1"p2; blockdev --setro "$1"`, d.path)
	v := newVolume(t, d)
	err := v.open()
	if err == nil || isDamage(err) {
		t.Errorf("read-only: %v", err)
		_ = unix.Unmount(v.target, 0)
	}
	shell(t, `blockdev --setrw "$1"; blockdev --setrw "$1"p2`, d.path)
	if err := (boot.Mount{Source: v.device, Target: v.target, Type: "ext4"}).Do(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(v.target, "netd/file")); string(got) != "kept" {
		t.Errorf("netd/file: %q, %v", got, err)
	}
	v.leave(t)
}
