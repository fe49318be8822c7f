package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"netd/firmware/gpt"
)

// piece is written, made durable and reported at a time.
const piece = 4 << 20

// flasher knows where the kernel says what disks are and who uses them.
type flasher struct {
	sysfs, mounts, swaps string
	out                  io.Writer
	in                   io.Reader // who is asked before a disk is overwritten; nil: nobody
}

func (f flasher) flash(ctx context.Context, image, device string, force bool) error {
	src, err := os.Open(image)
	if err != nil {
		return fmt.Errorf("open image: %w", err)
	}
	defer src.Close()
	st, err := src.Stat()
	if err != nil {
		return err
	}
	table, err := gpt.Read(src, st.Size())
	if err != nil {
		return fmt.Errorf("%s is no disk image: %w", image, err)
	}
	d, err := f.look(device)
	if err != nil {
		return err
	}
	fmt.Fprintf(f.out, "%s will be overwritten with %s (%s, %d partitions)\n%s", device, image, size(st.Size()), len(table.Partitions), d)
	if err := d.refuse(device, st.Size(), force); err != nil {
		return err
	}
	if d.block && !f.agreed(device) {
		return fmt.Errorf("not agreed to: nothing was written to %s", device)
	}
	// O_EXCL on a block device fails if it or a partition of it is mounted or claimed
	// (open(2)), in whichever namespace, whatever was forced.
	flags := os.O_RDWR | unix.O_SYNC
	if d.block {
		flags |= unix.O_EXCL
	}
	dst, err := os.OpenFile(device, flags, 0)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s is in use, as the kernel says; nothing was written", device)
	}
	if err != nil {
		return fmt.Errorf("open disk: %w", err)
	}
	defer dst.Close()
	sum, err := f.write(ctx, dst, src, st.Size())
	if err != nil {
		return err
	}
	if err := f.compare(ctx, dst, st.Size(), sum); err != nil {
		return err
	}
	if d.block {
		// The kernel learns of the new partitions.
		if err := unix.IoctlSetInt(int(dst.Fd()), unix.BLKRRPART, 0); err != nil {
			fmt.Fprintf(f.out, "the kernel still has the old partitions of %s: %v\n", device, err)
		}
	}
	return nil
}

// agreed asks whoever sits at the terminal.
func (f flasher) agreed(device string) bool {
	if f.in == nil {
		return true
	}
	fmt.Fprintf(f.out, "All of %s will be lost. Type yes to go on: ", device)
	line, err := bufio.NewReader(f.in).ReadString('\n')
	return err == nil && strings.TrimSpace(line) == "yes"
}

// write copies the image and returns its SHA-256.
func (f flasher) write(ctx context.Context, dst *os.File, src io.Reader, total int64) ([]byte, error) {
	h := sha256.New()
	err := f.each(ctx, "write", io.TeeReader(src, h), total, func(b []byte, at int64) error {
		_, err := dst.WriteAt(b, at)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := dst.Sync(); err != nil {
		return nil, fmt.Errorf("sync %s: %w", dst.Name(), err)
	}
	return h.Sum(nil), nil
}

// compare reads back what the disk, not the page cache, has.
func (f flasher) compare(ctx context.Context, dst *os.File, total int64, want []byte) error {
	if err := unix.Fadvise(int(dst.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("drop the cache of %s: %w", dst.Name(), err)
	}
	h := sha256.New()
	err := f.each(ctx, "compare", io.TeeReader(io.NewSectionReader(dst, 0, total), h), total, func([]byte, int64) error { return nil })
	if err != nil {
		return err
	}
	if !bytes.Equal(h.Sum(nil), want) {
		return fmt.Errorf("%s does not hold what was written to it", dst.Name())
	}
	return nil
}

// each hands over total octets of r in pieces and shows how far it is.
func (f flasher) each(ctx context.Context, what string, r io.Reader, total int64, do func([]byte, int64) error) error {
	buf, start := make([]byte, piece), time.Now()
	for at := int64(0); at < total; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(piece, total-at)]
		if _, err := io.ReadFull(r, b); err != nil {
			return fmt.Errorf("%s: read at %d: %w", what, at, err)
		}
		if err := do(b, at); err != nil {
			return fmt.Errorf("%s at %d: %w", what, at, err)
		}
		at += int64(len(b))
		rate := float64(at) / 1e6 / max(time.Since(start).Seconds(), 0.001)
		fmt.Fprintf(f.out, "\r%-8s %3d%%  %s of %s, %.0f MB/s ", what, at*100/total, size(at), size(total), rate)
	}
	fmt.Fprintln(f.out)
	return nil
}

// disk is what will be overwritten.
type disk struct {
	block, removable bool
	size             int64
	sector           int64 // the logical one, of a block device
	model            string
	table            *gpt.Table // nil if there is none
	uses             []string   // who has it, and so why it must not be overwritten
}

func (f flasher) look(device string) (disk, error) {
	st, err := os.Stat(device)
	if err != nil {
		return disk{}, fmt.Errorf("look at disk: %w", err)
	}
	r, err := os.Open(device)
	if err != nil {
		return disk{}, fmt.Errorf("look at disk: %w", err)
	}
	defer r.Close()
	d := disk{removable: true, model: "a regular file"}
	if d.size, err = r.Seek(0, io.SeekEnd); err != nil {
		return disk{}, fmt.Errorf("size of %s: %w", device, err)
	}
	switch {
	case st.Mode()&os.ModeDevice != 0 && st.Mode()&os.ModeCharDevice == 0:
		d.block = true
		if err := f.describe(&d, device); err != nil {
			return disk{}, err
		}
	case !st.Mode().IsRegular():
		return disk{}, fmt.Errorf("%s is neither a disk nor a file", device)
	}
	// A disk without a table is no error: it is what a new one looks like.
	if t, err := gpt.Read(r, d.size); err == nil {
		d.table = t
	}
	return d, nil
}

// describe asks sysfs what a whole disk is, and the kernel who uses it or one
// of its partitions.
func (f flasher) describe(d *disk, device string) error {
	real, err := filepath.EvalSymlinks(device)
	if err != nil {
		return err
	}
	name := filepath.Base(real)
	dir := filepath.Join(f.sysfs, "block", name)
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("%s is a partition or no disk: expected a whole disk, e.g. /dev/sdb", device)
	}
	word := func(file string) string {
		b, _ := os.ReadFile(filepath.Join(dir, file)) // not every disk has a model
		return strings.TrimSpace(string(b))
	}
	d.removable = word("removable") == "1"
	d.model = cmp.Or(strings.TrimSpace(word("device/vendor")+" "+word("device/model")), "a disk without a model's name")
	if d.sector, err = strconv.ParseInt(word("queue/logical_block_size"), 10, 64); err != nil {
		return fmt.Errorf("sectors of %s: %w", device, err)
	}
	names := []string{name}
	parts, err := filepath.Glob(filepath.Join(dir, "*", "partition"))
	if err != nil {
		return err
	}
	for _, p := range parts {
		names = append(names, filepath.Base(filepath.Dir(p)))
	}
	for _, n := range names {
		use, err := f.uses("/dev/" + n)
		if err != nil {
			return err
		}
		d.uses = append(d.uses, use...)
		for _, pattern := range []string{filepath.Join(dir, "holders", "*"), filepath.Join(dir, n, "holders", "*")} {
			holders, err := filepath.Glob(pattern)
			if err != nil {
				return err
			}
			for _, h := range holders {
				d.uses = append(d.uses, fmt.Sprintf("is in use by %s", filepath.Base(h)))
			}
		}
	}
	loops, err := f.loops(names)
	if err != nil {
		return err
	}
	d.uses = append(d.uses, loops...)
	slices.Sort(d.uses)
	d.uses = slices.Compact(d.uses)
	return nil
}

// loops says which loop devices stand on one of the block devices: the kernel counts
// these among nobody's holders, and refuses no one for their sake.
func (f flasher) loops(names []string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(f.sysfs, "block", "*", "loop", "backing_file"))
	if err != nil {
		return nil, err
	}
	var uses []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // detached meanwhile
		}
		backing := strings.TrimSpace(string(b))
		if dir, name := filepath.Split(backing); dir == "/dev/" && slices.Contains(names, name) {
			uses = append(uses, "is in use by "+filepath.Base(filepath.Dir(filepath.Dir(file))))
		}
	}
	return uses, nil
}

// uses says where a device is mounted or swapped to. A list that can not be
// read is an error, not an empty list.
func (f flasher) uses(device string) ([]string, error) {
	var uses []string
	for file, what := range map[string]string{f.mounts: "is mounted on ", f.swaps: "is swap: "} {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("who uses %s: %w", device, err)
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) < 2 {
				continue
			}
			source, err := filepath.EvalSymlinks(fields[0])
			if err != nil {
				source = fields[0]
			}
			if source == device {
				uses = append(uses, what+fields[1])
			}
		}
	}
	return uses, nil
}

// refuse says why an image must not be written there, all reasons at once. Force is
// for a disk that is not removable and for nothing else.
func (d disk) refuse(device string, image int64, force bool) error {
	reasons := slices.Clone(d.uses)
	if d.block && d.size < image {
		reasons = append(reasons, fmt.Sprintf("has only %s", size(d.size)))
	}
	if d.block && d.sector != gpt.SectorSize {
		reasons = append(reasons, fmt.Sprintf("has sectors of %d octets, and the image is laid out for %d (some disks can be formatted so: nvme format)", d.sector, gpt.SectorSize))
	}
	if !d.block && d.size > 0 && d.size < image && d.table == nil {
		reasons = append(reasons, fmt.Sprintf("is a file of %d octets without a partition table: expected a disk, an image, or an empty file", d.size))
	}
	hint := ""
	if !d.removable && (!force || len(reasons) > 0) {
		if len(reasons) == 0 {
			hint = " (FORCE=1 does it all the same)"
		}
		reasons = append(reasons, "is not removable")
	}
	if len(reasons) == 0 {
		return nil
	}
	return fmt.Errorf("%s %s; nothing was written%s", device, strings.Join(reasons, ", "), hint)
}

// String has a line for the disk and one for each partition.
func (d disk) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s, %s\n", d.model, size(d.size))
	if d.table == nil {
		return b.String()
	}
	for i, p := range d.table.Partitions {
		if p.Type != (gpt.UUID{}) {
			fmt.Fprintf(&b, "  %3d  %9s  %s\n", i+1, size(p.Size()), p.Label)
		}
	}
	return b.String()
}

func size(n int64) string {
	if n < 1e9 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
