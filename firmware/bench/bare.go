package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"netd/firmware/debian"
)

// The bare peer is the least that is a system: the image's own kernel, with the
// same command line and on the same board, and Debian's static busybox as init,
// which mounts /proc and says what the kernel's clock shows. The firmware hands
// it over directly (QEMU's -kernel). There is no selector, but neither clock
// runs then.
const bareTab = `::sysinit:/bin/busybox mount -t proc proc /proc
::sysinit:/bin/busybox cat /proc/uptime
`

// makeBare takes kernel and command line out of the image's boot slot.
func (b *bench) makeBare(ctx context.Context) error {
	sections, err := b.unified(ctx)
	if err != nil {
		return err
	}
	b.cmdline = string(sections[".cmdline"])
	if err := os.WriteFile(b.file("linux"), sections[".linux"], 0o644); err != nil {
		return err
	}
	return errors.Join(b.bareInitramfs(ctx), b.bareBoard())
}

// bareBoard is the same board, but for the disk's first place in the order of
// boot, which QEMU gives to -kernel.
func (b *bench) bareBoard() error {
	text, err := os.ReadFile(filepath.Join(boardDir, "board.toml"))
	if err != nil {
		return err
	}
	text = bytes.ReplaceAll(text, []byte(",bootindex=0"), nil)
	return errors.Join(
		os.Mkdir(b.file(filepath.Base(boardDir)), 0o755),
		os.WriteFile(filepath.Join(b.file(filepath.Base(boardDir)), "board.toml"), text, 0o644),
		os.WriteFile(b.file("blank"), make([]byte, 1<<20), 0o644))
}

func (b *bench) bareInitramfs(ctx context.Context) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	a, err := debian.Open(ctx, filepath.Join(cache, "netd", "debian"), b.board.Arch, func(string, ...any) {})
	if err != nil {
		return err
	}
	packages, err := a.Fetch(ctx, "busybox-static")
	if err != nil {
		return err
	}
	script := `mkdir -p bin dev etc proc && cp "$0" bin/busybox && ln -s bin/busybox init && printf %s "$1" >etc/inittab &&
		find . | busybox cpio -o -H newc >"$2" 2>/dev/null`
	if err := os.Mkdir(b.file("bare"), 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", script, filepath.Join(packages[0].Dir, "bin/busybox"), bareTab, b.file("initrd"))
	cmd.Dir = b.file("bare")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the bare initramfs: %w\n%s", err, out)
	}
	return nil
}

var uptime = regexp.MustCompile(`(\d+\.\d\d) \d+\.\d\d\r?\n`)

// bareBoot returns what the kernel's clock showed when init spoke.
func (b *bench) bareBoot(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	m, err := b.start(ctx, "bare", b.file(filepath.Base(boardDir)), b.file("blank"), "-kernel", b.file("linux"), "-initrd", b.file("initrd"), "-append", b.cmdline)
	if err != nil {
		return 0, err
	}
	defer func() { _ = m.Close() }()
	said, err := m.Expect(ctx, uptime.String())
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(uptime.FindStringSubmatch(said)[1], 64)
}
