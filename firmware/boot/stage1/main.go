// Stage1 is /init of the initramfs: it goes from the kernel to the slot's root,
// and stays as PID 1. It does there what netd init would do, with the same code:
// starting netd once more for that took 2.5 s of 6.5 on an emulated board, and
// 25 MB of memory.
//
// The contract with the image builder: /modules/order lists the modules that
// lead to the disk, one path a line in the order of insertion; the disk is laid
// out by GPT labels (boot-a, root-a, boot-b, root-b, data); the boot loader has
// left the partition that it was started from in the EFI variable
// LoaderDevicePartUUID.
//
// The kernel's command line may have netd.debug: then each step is a line with
// the milliseconds since the kernel's start.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"netd/firmware/boot"
	"netd/netd/layout"
)

const newRoot = "/newroot"

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "netd stage1: it is an initramfs' /init and nothing else")
		os.Exit(2)
	}
	err := run()
	// PID 1 that ends is a kernel panic, and with panic=2 on the command line a
	// restart after two seconds.
	say("%v; restarting", err)
	os.Exit(1)
}

// sayTimeout is how long a line waits for a console that takes nothing, such as a serial
// one that XOFF has stopped: the box comes up without it.
const sayTimeout = 300 * time.Millisecond

func say(format string, args ...any) {
	line := fmt.Sprintf("netd stage1: "+format+"\n", args...)
	said := make(chan struct{}, 2)
	go func() {
		fmt.Fprint(os.Stderr, line)
		said <- struct{}{}
	}()
	go func() {
		words, err := os.ReadFile("/proc/cmdline")
		if screen := boot.Screen(string(words)); err == nil && screen != nil {
			fmt.Fprint(screen, line)
			_ = screen.Close() // Nobody could be told.
		}
		said <- struct{}{}
	}()
	late := time.After(sayTimeout)
	for range cap(said) {
		select {
		case <-said:
		case <-late:
			return
		}
	}
}

// steps reports progress where the command line asks for it.
type steps struct{ debug bool }

func (s steps) done(what string) {
	var t unix.Timespec
	if s.debug && unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) == nil {
		say("%6d ms: %s", t.Nano()/1e6, what)
	}
}

// run returns only if it fails.
func run() error {
	for _, m := range []boot.Mount{
		{Source: "devtmpfs", Target: "/dev", Type: "devtmpfs", Flags: unix.MS_NOSUID},
		{Source: "proc", Target: "/proc", Type: "proc", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{Source: "sysfs", Target: "/sys", Type: "sysfs", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{Source: "tmpfs", Target: "/run", Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=755"},
	} {
		if err := m.Do(); err != nil {
			return err
		}
	}
	words, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	s := steps{debug: slices.Contains(strings.Fields(string(words)), "netd.debug")}
	s.done("kernel's file systems")
	if err := boot.LoadModules("/modules/order"); err != nil {
		// The disk may be reachable without the one that failed.
		say("%v", err)
	}
	s.done("modules")
	id, unknown := bootPartition("/sys/firmware/efi/efivars")
	release, err := os.ReadFile("/release")
	if err != nil {
		say("%v", err) // It is asked for only if the firmware does not say the slot.
	}
	f := finder{block: "/sys/block", dev: "/dev", release: strings.TrimSpace(string(release)), releaseOf: releaseOf, say: say}
	d, err := f.find(id, unknown)
	if err != nil {
		return err
	}
	s.done(fmt.Sprintf("slot %s on %s", d.slot, d.path))
	if err := mountSlot(d); err != nil {
		return err
	}
	s.done("root and boot slot")
	if err := enter(newRoot); err != nil {
		return err
	}
	return boot.Init(layout.Netd, func(say func(string, ...any)) {
		mountData(d, say)
		s.done("data")
	})
}

func mountSlot(d *disk) error {
	for _, m := range []struct{ label, target string }{{"root-" + d.slot, newRoot}, {"boot-" + d.slot, layout.Slot}} {
		device, err := d.device(m.label)
		if err != nil {
			return err
		}
		if err := (boot.Mount{Source: device, Target: m.target, Type: "squashfs", Flags: unix.MS_RDONLY | unix.MS_NODEV}).Do(); err != nil {
			return err
		}
	}
	return nil
}

// enter makes the slot's root the root.
func enter(newRoot string) error {
	// What the initramfs holds would stay in memory for good.
	if err := errors.Join(os.RemoveAll("/modules"), os.Remove("/release"), os.Remove("/init")); err != nil {
		say("free the initramfs: %v", err)
	}
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := unix.Mount(dir, newRoot+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s to the new root: %w", dir, err)
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the new root to /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if _, err := os.Stat(layout.Netd); err != nil {
		return fmt.Errorf("the slot's root: %w", err)
	}
	return nil
}
