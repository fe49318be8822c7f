package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"netd/firmware/boot"
	"netd/firmware/gpt"
)

// diskDeadline is how long a disk may take to appear after its driver.
const diskDeadline = 10 * time.Second

// partUUIDVariable is written by systemd's EFI stub (the Boot Loader Interface).
const partUUIDVariable = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// bootPartition returns the UUID of the partition that this kernel came from.
func bootPartition(efivars string) (gpt.UUID, error) {
	path := filepath.Join(efivars, partUUIDVariable)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := (boot.Mount{Source: "efivarfs", Target: efivars, Type: "efivarfs"}).Do(); err != nil {
			return gpt.UUID{}, err
		}
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return gpt.UUID{}, fmt.Errorf("which slot was started: %w", err)
	}
	id, err := parsePartUUID(b)
	if err != nil {
		return gpt.UUID{}, fmt.Errorf("which slot was started: %s: %w", partUUIDVariable, err)
	}
	return id, nil
}

// parsePartUUID reads efivarfs' form: four octets of attributes, then UTF-16
// that ends in zero.
func parsePartUUID(b []byte) (gpt.UUID, error) {
	if len(b) < 4 || len(b)%2 != 0 {
		return gpt.UUID{}, fmt.Errorf("%d octets: expected attributes and UTF-16", len(b))
	}
	var text []uint16
	for b = b[4:]; len(b) > 0; b = b[2:] {
		text = append(text, binary.LittleEndian.Uint16(b))
	}
	return gpt.ParseUUID(strings.TrimRight(string(utf16.Decode(text)), "\x00"))
}

// disk is the disk that this slot is on.
type disk struct {
	name  string // in /sys/block
	path  string // in /dev
	size  int64  // octets
	table *gpt.Table
	slot  string // "a" or "b"
}

// findDisk waits for the disk with the partition that this kernel came from.
// Labels are not searched for: a second disk may have the same.
func findDisk(id gpt.UUID) (*disk, error) {
	var seen error
	for deadline := time.Now().Add(diskDeadline); ; time.Sleep(2 * time.Millisecond) {
		names, err := os.ReadDir("/sys/block")
		if err != nil {
			return nil, err
		}
		seen = nil
		for _, n := range names {
			d, err := openDisk(n.Name())
			if err != nil {
				seen = errors.Join(seen, err)
				continue
			}
			if label, ok := d.labelOf(id); ok {
				if d.slot, ok = strings.CutPrefix(label, "boot-"); !ok {
					return nil, fmt.Errorf("started from partition %s of %s: expected boot-a or boot-b", label, d.path)
				}
				return d, nil
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("find partition %s: on none of %d disks after %v: %w", id, len(names), diskDeadline, seen)
		}
	}
}

func openDisk(name string) (*disk, error) {
	d := &disk{name: name, path: filepath.Join("/dev", name)}
	// sysfs counts in 512 octets whatever the disk's sectors are.
	b, err := os.ReadFile(filepath.Join("/sys/block", name, "size"))
	if err != nil {
		return nil, err
	}
	sectors, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", d.path, err)
	}
	d.size = sectors * 512
	f, err := os.Open(d.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if d.table, err = gpt.Read(f, d.size); err != nil {
		return nil, fmt.Errorf("%s: %w", d.path, err)
	}
	return d, nil
}

func (d *disk) labelOf(id gpt.UUID) (string, bool) {
	for _, p := range d.table.Partitions {
		if p.UUID == id && p.Type != (gpt.UUID{}) {
			return p.Label, true
		}
	}
	return "", false
}

// number is the kernel's number of a partition, from 1.
func (d *disk) number(label string) (int, error) {
	for i, p := range d.table.Partitions {
		if p.Label == label && p.Type != (gpt.UUID{}) {
			return i + 1, nil
		}
	}
	return 0, fmt.Errorf("%s has no partition %s", d.path, label)
}

// device waits for a partition's node in /dev.
func (d *disk) device(label string) (string, error) {
	n, err := d.number(label)
	if err != nil {
		return "", err
	}
	for deadline := time.Now().Add(diskDeadline); ; time.Sleep(2 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join("/sys/block", d.name, "*", "partition"))
		if err != nil {
			return "", err
		}
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(b)) == strconv.Itoa(n) {
				return filepath.Join("/dev", filepath.Base(filepath.Dir(f))), nil
			}
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("partition %s: the kernel shows no number %d on %s after %v", label, n, d.path, diskDeadline)
		}
	}
}
