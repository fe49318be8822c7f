package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"netd/firmware/ext4"
	"netd/firmware/gpt"
)

// Growing the data partition is three steps, each of which finds out by itself
// whether it is needed, so that a power cut between them costs nothing: the
// table on the disk (gpt.Table.Write keeps one valid copy at all times), the
// kernel's idea of the partition, and the file system, which ext4 lengthens
// while it is mounted.

// alignment of a partition's end, in sectors: 1 MiB.
const alignment = 2048

// growPartition moves a partition's end to the end of the disk, in the table and
// in the kernel.
func (d *disk) growPartition(label string) error {
	n, err := d.number(label)
	if err != nil {
		return err
	}
	if !lengthen(d.table, n-1, d.size) {
		return nil
	}
	f, err := os.OpenFile(d.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.table.Write(f, d.size); err != nil {
		return err
	}
	p := d.table.Partitions[n-1]
	return resizePartition(f, n, p.Offset(), p.Size())
}

// lengthen says whether there was something to do. Only the last partition on
// the disk can be lengthened, and what is left for less than alignment is left.
func lengthen(t *gpt.Table, index int, diskSize int64) bool {
	p := &t.Partitions[index]
	for _, q := range t.Partitions {
		if q.Type != (gpt.UUID{}) && q.FirstLBA > p.LastLBA {
			return false
		}
	}
	end := (gpt.LastUsableLBA(diskSize)+1)/alignment*alignment - 1
	if end < p.LastLBA+alignment {
		return false
	}
	p.LastLBA = end
	return true
}

// resizePartition tells the kernel (BLKPG, <linux/blkpg.h>), which would not
// read the table again while one of the disk's partitions is mounted.
func resizePartition(f *os.File, number int, start, length int64) error {
	const blkpgResizePartition = 3
	type partition struct {
		start, length int64
		number        int32
		names         [128]byte
	}
	type argument struct {
		op, flags, size int32
		data            unsafe.Pointer
	}
	p := &partition{start: start, length: length, number: int32(number)}
	a := &argument{op: blkpgResizePartition, size: int32(unsafe.Sizeof(*p)), data: unsafe.Pointer(p)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(a)))
	if errno != 0 {
		return fmt.Errorf("resize partition %d of %s to %d octets: %w", number, f.Name(), length, errno)
	}
	return nil
}

// growFileSystem lengthens the mounted ext4 to its device's end.
func growFileSystem(device, mountPoint string) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("size of %s: %w", device, err)
	}
	super, err := readSuper(f)
	if err != nil {
		return err
	}
	// Less than 1 MiB more is not worth a resize at each start.
	want := uint64(size) / super.BlockSize
	if want < super.Blocks+(1<<20)/super.BlockSize {
		return nil
	}
	dir, err := os.Open(mountPoint)
	if err != nil {
		return err
	}
	defer dir.Close()
	const ext4IocResizeFS = 0x40086610 // _IOW('f', 16, __u64)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), ext4IocResizeFS, uintptr(unsafe.Pointer(&want))); errno != 0 {
		return fmt.Errorf("from %d to %d blocks: %w", super.Blocks, want, errno)
	}
	return nil
}

func readSuper(f *os.File) (ext4.Super, error) {
	b := make([]byte, ext4.SuperSize)
	if _, err := f.ReadAt(b, ext4.SuperOffset); err != nil {
		return ext4.Super{}, fmt.Errorf("read the superblock: %w", err)
	}
	return ext4.Parse(b)
}
