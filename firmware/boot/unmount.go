package boot

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// unmountAll unmounts everything that is on a disk or on something that is,
// the last mount first, and makes read-only what is still in use.
func unmountAll() error {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range mountsToUndo(string(info)) {
		err := unix.Unmount(dir, 0)
		if errors.Is(err, unix.EBUSY) {
			err = unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// mountsToUndo reads /proc/self/mountinfo (proc(5)): field 5 is the mount point,
// and behind the lone "-" is the type.
func mountsToUndo(info string) []string {
	kernels := []string{"proc", "sysfs", "devtmpfs", "devpts", "tmpfs", "cgroup2", "bpf", "squashfs", "efivarfs", "rootfs", "nsfs"}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var dirs []string
	for line := range strings.Lines(info) {
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 1 || fields[4] == "/" || slices.Contains(kernels, kind[0]) {
			continue
		}
		dirs = append(dirs, unescape.Replace(fields[4]))
	}
	slices.Reverse(dirs)
	return dirs
}
