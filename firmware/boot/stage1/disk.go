package main

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/sys/unix"

	"netd/firmware/boot"
	"netd/firmware/gpt"
	"netd/netd/layout"
)

// partitionDeadline is how long the kernel may take to show the partitions of a disk
// that can be read.
const partitionDeadline = 30 * time.Second

// partUUIDVariable is written by systemd's EFI stub (the Boot Loader Interface).
const partUUIDVariable = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// bootPartition returns the UUID of the partition that this kernel came from. Without the
// stub, with firmware that keeps no variables, or efi=noruntime, there is none.
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
		return gpt.UUID{}, err
	}
	id, err := parsePartUUID(b)
	if err != nil {
		return gpt.UUID{}, fmt.Errorf("%s: %w", partUUIDVariable, err)
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
	name  string // in block
	block string // /sys/block
	path  string // in /dev
	size  int64  // octets
	table *gpt.Table
	slot  string // "a" or "b"
}

// finder looks for the disk that this kernel came from, and for the slot on it.
type finder struct {
	block, dev string // /sys/block and /dev
	// release is that of the root that belongs to this kernel, empty if it is not known;
	// releaseOf reads the one that a boot slot belongs to, of a slot once.
	release   string
	releaseOf func(d *disk, slot string) (string, error)
	say       func(format string, args ...any)

	releases map[string]string // by disk and slot
}

// How long find has patience. Some disks take a minute to come up: USB, RAID
// controllers, NVMe after a power cut.
const (
	diskDeadline = 5 * time.Minute
	wordEvery    = 5 * time.Second
	// staleAfter is when the firmware's word for the partition is not believed any more.
	staleAfter = 30 * time.Second
	// settleAfter is how long a slot of this very release is waited for before any other is taken.
	settleAfter = 5 * time.Second
	firstLook   = 2 * time.Millisecond
	lastLook    = 100 * time.Millisecond
)

// find waits for the disk with the partition that this kernel came from. Labels are not
// searched for, as a second disk may have the same, unless unknown says why the
// firmware has not told which partition it was, or that one is nowhere.
func (f *finder) find(id gpt.UUID, unknown error) (*disk, error) {
	what := "the disk with partition " + id.String()
	if unknown != nil {
		what = "a disk with slots of netd"
	}
	start := time.Now()
	for told, pause := start, firstLook; ; pause = min(2*pause, lastLook) {
		disks, seen, err := f.disks()
		if err != nil {
			return nil, err
		}
		waited := time.Since(start)
		if d := f.choose(disks, id, unknown, waited); d != nil {
			return d, nil
		}
		if waited >= diskDeadline {
			return nil, fmt.Errorf("find %s: not within %v: %s", what, diskDeadline, seen)
		}
		if time.Since(told) >= wordEvery {
			told = time.Now()
			f.say("waits for %s, %v of %v: %s", what, waited.Round(time.Second), diskDeadline, seen)
		}
		time.Sleep(pause)
	}
}

// disks are those that can be read and have a partition table; seen is for a person.
func (f *finder) disks() (disks []*disk, seen string, err error) {
	names, err := os.ReadDir(f.block)
	if err != nil {
		return nil, "", err
	}
	var words []string
	for _, n := range names {
		d, err := openDisk(f.block, f.dev, n.Name())
		if err != nil {
			words = append(words, err.Error())
			continue
		}
		words = append(words, d.path+" is another")
		disks = append(disks, d)
	}
	return disks, cmp.Or(strings.Join(words, "; "), "the kernel shows none yet"), nil
}

// choose is the disk and the slot, nil if it is worth waiting.
func (f *finder) choose(disks []*disk, id gpt.UUID, unknown error, waited time.Duration) *disk {
	if unknown == nil {
		for _, d := range disks {
			label, ok := d.labelOf(id)
			if slot, boot := strings.CutPrefix(label, "boot-"); ok && boot {
				d.slot = slot
				return d
			}
		}
		if waited < staleAfter {
			return nil
		}
		unknown = fmt.Errorf("partition %s, which it names, is nowhere", id)
		waited -= staleAfter
	}
	var first *disk
	for _, d := range disks {
		for _, slot := range []string{"a", "b"} {
			if !d.has("boot-"+slot) || !d.has("root-"+slot) {
				continue
			}
			if f.release != "" && f.isRelease(d, slot) {
				f.say("the firmware has not said which slot was started (%v): slot %s of %s is of this release, and is taken", unknown, slot, d.path)
				d.slot = slot
				return d
			}
			if first == nil {
				d.slot, first = slot, d
			}
		}
	}
	if first != nil && waited >= settleAfter {
		f.say("the firmware has not said which slot was started (%v), and none is of this release: slot %s of %s is taken", unknown, first.slot, first.path)
		return first
	}
	return nil
}

// isRelease asks a slot once; one that can not be read is of no release.
func (f *finder) isRelease(d *disk, slot string) bool {
	key := d.name + " " + slot
	got, known := f.releases[key]
	if !known {
		var err error
		if got, err = f.releaseOf(d, slot); err != nil {
			f.say("slot %s of %s: %v", slot, d.path, err)
		}
		if f.releases == nil {
			f.releases = map[string]string{}
		}
		f.releases[key] = got
	}
	return got == f.release
}

// releaseOf reads a boot slot's manifest.
func releaseOf(d *disk, slot string) (string, error) {
	device, err := d.device("boot-" + slot)
	if err != nil {
		return "", err
	}
	const target = "/run/netd/look"
	if err := (boot.Mount{Source: device, Target: target, Type: "squashfs", Flags: unix.MS_RDONLY | unix.MS_NODEV}).Do(); err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(target, filepath.Base(layout.Manifest)))
	if err := errors.Join(err, unix.Unmount(target, 0), os.Remove(target)); err != nil {
		return "", err
	}
	return rootOf(text)
}

// rootOf is the release of a manifest: the checksum of its root slot's content.
func rootOf(manifest []byte) (string, error) {
	var m struct {
		Parts []struct{ Name, SHA256 string }
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		return "", fmt.Errorf("read the manifest: %w", err)
	}
	for _, p := range m.Parts {
		if p.Name == layout.RootPart {
			return p.SHA256, nil
		}
	}
	return "", errors.New("the manifest names no " + layout.RootPart)
}

func openDisk(block, dev, name string) (*disk, error) {
	d := &disk{name: name, path: filepath.Join(dev, name), block: block}
	number := func(file string) (int64, error) {
		b, err := os.ReadFile(filepath.Join(block, name, file))
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s of %s: %w", file, d.path, err)
		}
		return n, nil
	}
	// sysfs counts in 512 octets whatever the disk's sectors are.
	sectors, err := number("size")
	if err != nil {
		return nil, err
	}
	d.size = sectors * 512
	if d.size == 0 {
		return nil, fmt.Errorf("%s has no medium", d.path)
	}
	sector, err := number("queue/logical_block_size")
	if err != nil {
		return nil, err
	}
	if sector != gpt.SectorSize {
		return nil, fmt.Errorf("%s has sectors of %d octets, and images are laid out for %d", d.path, sector, gpt.SectorSize)
	}
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

func (d *disk) has(label string) bool {
	_, ok := d.table.ByLabel(label)
	return ok
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
	for deadline := time.Now().Add(partitionDeadline); ; time.Sleep(firstLook) {
		files, err := filepath.Glob(filepath.Join(d.block, d.name, "*", "partition"))
		if err != nil {
			return "", err
		}
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(b)) == strconv.Itoa(n) {
				return filepath.Join("/dev", filepath.Base(filepath.Dir(f))), nil
			}
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("partition %s: the kernel shows no number %d on %s after %v", label, n, d.path, partitionDeadline)
		}
	}
}
