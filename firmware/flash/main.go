// Command flash writes a disk image to a disk and reads it back:
//
//	flash [--force] IMAGE DEVICE
//
// It shows what is on the disk first. A disk that is not removable is refused without
// --force; one that is in use (mounted, swap, part of another device) or has not the
// image's sectors is refused whatever is forced. A regular file may stand for a disk.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	force := flag.Bool("force", false, "write to a disk that is not removable, too")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: flash [--force] IMAGE DEVICE   (make flash DEV=/dev/sdX [FORCE=1])")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	f := flasher{sysfs: "/sys", mounts: "/proc/self/mounts", swaps: "/proc/swaps", out: os.Stdout}
	if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err == nil {
		f.in = os.Stdin
	}
	err := f.flash(ctx, flag.Arg(0), flag.Arg(1), *force)
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted: %s holds half an image now", flag.Arg(1))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "flash:", err)
		os.Exit(1)
	}
}
