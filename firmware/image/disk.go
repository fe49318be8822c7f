package image

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"netd/firmware/gpt"
)

// Sizes of the partitions. Slots can not be made larger in the field, so they
// are generous; the data partition is lengthened to the disk's end at the first
// start. 34 MiB is the least that UEFI firmware takes for FAT32.
const (
	mib       = 1 << 20
	espSize   = 34 * mib
	stateSize = 1 * mib
	bootSize  = 64 * mib
	rootSize  = 256 * mib
	// More than 128 MiB: from there on ext4 has a second superblock, to repair the first by.
	dataSize = 136 * mib
	// alignment of partitions: that of flash memory's erase blocks.
	alignment = 1 * mib
)

// volume is a partition and the file with its content.
type volume struct {
	label   string
	kind    gpt.UUID
	size    int64
	content string // empty: an unused slot
}

// identity gives the UUID of a thing in the image that was made from these
// inputs.
func identity(seed []byte, thing string) gpt.UUID {
	h := sha256.New()
	h.Write(seed)
	h.Write([]byte(thing))
	return gpt.DerivedUUID(h.Sum(nil))
}

// arrange places the volumes one behind the other.
func arrange(seed []byte, volumes []volume) (*gpt.Table, int64, error) {
	t := &gpt.Table{DiskUUID: identity(seed, "disk")}
	at := int64(alignment)
	for _, v := range volumes {
		if v.content != "" {
			st, err := os.Stat(v.content)
			if err != nil {
				return nil, 0, err
			}
			if st.Size() > v.size {
				return nil, 0, fmt.Errorf("%s: %.1f MiB do not fit into a partition of %d MiB", v.label, float64(st.Size())/mib, v.size/mib)
			}
		}
		t.Partitions = append(t.Partitions, gpt.Partition{
			Type: v.kind, UUID: identity(seed, v.label), Label: v.label,
			FirstLBA: uint64(at / gpt.SectorSize), LastLBA: uint64((at+v.size)/gpt.SectorSize) - 1,
		})
		at += v.size
	}
	return t, at + alignment, nil
}

// writeDisk makes the image under a temporary name, makes it durable, and only
// then gives it its own.
func writeDisk(out string, seed []byte, volumes []volume) (err error) {
	table, size, err := arrange(seed, volumes)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(out), filepath.Base(out)+".tmp-")
	if err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write image: %w", errors.Join(err, f.Close(), os.Remove(f.Name())))
		}
	}()
	if err := f.Truncate(size); err != nil {
		return err
	}
	for i, v := range volumes {
		if v.content != "" {
			if err := copySparse(f, table.Partitions[i].Offset(), v.content); err != nil {
				return fmt.Errorf("%s: %w", v.label, err)
			}
		}
	}
	if err := errors.Join(table.Write(f, size), f.Chmod(0o644), f.Sync()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), out); err != nil {
		return err
	}
	f.Close()
	return syncDir(filepath.Dir(out))
}

// copySparse leaves holes where the source has zeros.
func copySparse(w io.WriterAt, at int64, source string) error {
	r, err := os.Open(source)
	if err != nil {
		return err
	}
	defer r.Close()
	buf, zero := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 && !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := w.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
