package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// SectorSize is the only logical sector size supported.
const SectorSize = 512

// MinFirstLBA is the first sector that a partition may use: before it are the
// protective MBR, the primary header and 128 entries.
const MinFirstLBA = 2 + entriesSectors

const (
	entryCount     = 128
	entrySize      = 128
	entriesSectors = entryCount * entrySize / SectorSize
	headerSize     = 92
	revision       = 0x00010000
	labelUnits     = 36 // UTF-16 code units
	maxEntryBytes  = 1 << 20
)

// Partition types in use (UEFI 2.10 table 5.7; Discoverable Partitions).
var (
	TypeESP   = UUID{0xc1, 0x2a, 0x73, 0x28, 0xf8, 0x1f, 0x11, 0xd2, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	TypeLinux = UUID{0x0f, 0xc6, 0x3d, 0xaf, 0x84, 0x83, 0x47, 0x72, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4}
	TypeBasic = UUID{0xeb, 0xd0, 0xa0, 0xa2, 0xb9, 0xe5, 0x44, 0x33, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7}
)

// Partition is one entry. Sectors are inclusive at both ends.
type Partition struct {
	Type, UUID        UUID
	Label             string
	FirstLBA, LastLBA uint64
}

// Offset is where the partition starts, in octets from the start of the disk.
func (p Partition) Offset() int64 { return int64(p.FirstLBA) * SectorSize }

// Size is in octets.
func (p Partition) Size() int64 { return int64(p.LastLBA-p.FirstLBA+1) * SectorSize }

// Table is a disk's partitions in the order of their numbers; an entry with a
// zero Type is unused and keeps the numbers of those after it.
type Table struct {
	DiskUUID   UUID
	Partitions []Partition
}

// ByLabel finds the first partition with that label.
func (t *Table) ByLabel(label string) (Partition, bool) {
	for _, p := range t.Partitions {
		if p.Label == label && p.Type != (UUID{}) {
			return p, true
		}
	}
	return Partition{}, false
}

// LastUsableLBA is the last sector that a partition may use on a disk of size
// octets.
func LastUsableLBA(size int64) uint64 {
	return uint64(size/SectorSize) - entriesSectors - 2
}

// Read returns the primary table, or the backup where the primary is damaged.
// The backup is looked for where the primary header says it is and at the end
// of the disk, which differ when an image was written to a larger disk.
func Read(r io.ReaderAt, size int64) (*Table, error) {
	sectors := size / SectorSize
	if sectors < 2*(entriesSectors+1)+2 {
		return nil, fmt.Errorf("read partition table: a disk of %d octets holds none", size)
	}
	t, err := readAt(r, sectors, 1)
	if err == nil {
		return t, nil
	}
	places := []int64{sectors - 1}
	if alternate, ok := alternateLBA(r, sectors); ok {
		places = append(places, alternate)
	}
	for _, lba := range places {
		t, backupErr := readAt(r, sectors, lba)
		if backupErr == nil {
			return t, nil
		}
		err = errors.Join(err, backupErr)
	}
	return nil, fmt.Errorf("read partition table: %w", err)
}

// alternateLBA trusts a primary header enough to look where it points: what is
// found there has CRCs of its own.
func alternateLBA(r io.ReaderAt, sectors int64) (int64, bool) {
	buf := make([]byte, SectorSize)
	if _, err := r.ReadAt(buf, SectorSize); err != nil || !bytes.HasPrefix(buf, []byte("EFI PART")) {
		return 0, false
	}
	lba := binary.LittleEndian.Uint64(buf[32:])
	return int64(lba), lba > 1 && lba < uint64(sectors-1)
}

func readAt(r io.ReaderAt, sectors, lba int64) (*Table, error) {
	h := make([]byte, SectorSize)
	if _, err := r.ReadAt(h, lba*SectorSize); err != nil {
		return nil, fmt.Errorf("header at sector %d: %w", lba, err)
	}
	if !bytes.HasPrefix(h, []byte("EFI PART")) {
		return nil, fmt.Errorf("header at sector %d: no signature", lba)
	}
	hs := binary.LittleEndian.Uint32(h[12:])
	if hs < headerSize || hs > SectorSize {
		return nil, fmt.Errorf("header at sector %d: size %d, expected %d to %d", lba, hs, headerSize, SectorSize)
	}
	sum := binary.LittleEndian.Uint32(h[16:])
	clear(h[16:20])
	if got := crc32.ChecksumIEEE(h[:hs]); got != sum {
		return nil, fmt.Errorf("header at sector %d: checksum %08x, expected %08x", lba, got, sum)
	}
	if my := binary.LittleEndian.Uint64(h[24:]); my != uint64(lba) {
		return nil, fmt.Errorf("header at sector %d: says that it is at %d", lba, my)
	}
	entriesLBA := binary.LittleEndian.Uint64(h[72:])
	n, each := binary.LittleEndian.Uint32(h[80:]), binary.LittleEndian.Uint32(h[84:])
	length := uint64(n) * uint64(each)
	if each < entrySize || each%entrySize != 0 || length > maxEntryBytes || entriesLBA >= uint64(sectors) {
		return nil, fmt.Errorf("header at sector %d: %d entries of %d octets at sector %d", lba, n, each, entriesLBA)
	}
	entries := make([]byte, length)
	if _, err := r.ReadAt(entries, int64(entriesLBA)*SectorSize); err != nil {
		return nil, fmt.Errorf("entries at sector %d: %w", entriesLBA, err)
	}
	if got, want := crc32.ChecksumIEEE(entries), binary.LittleEndian.Uint32(h[88:]); got != want {
		return nil, fmt.Errorf("entries at sector %d: checksum %08x, expected %08x", entriesLBA, got, want)
	}
	t := &Table{DiskUUID: UUID(h[56:72]).swap()}
	for ; len(entries) > 0; entries = entries[each:] {
		t.Partitions = append(t.Partitions, parseEntry(entries[:entrySize]))
	}
	for len(t.Partitions) > 0 && t.Partitions[len(t.Partitions)-1].Type == (UUID{}) {
		t.Partitions = t.Partitions[:len(t.Partitions)-1]
	}
	if err := t.check(uint64(sectors)); err != nil {
		return nil, fmt.Errorf("table at sector %d: %w", lba, err)
	}
	return t, nil
}

func parseEntry(e []byte) Partition {
	typ := UUID(e[0:16]).swap()
	if typ == (UUID{}) {
		return Partition{}
	}
	var label []uint16
	for i := range labelUnits {
		c := binary.LittleEndian.Uint16(e[56+2*i:])
		if c == 0 {
			break
		}
		label = append(label, c)
	}
	return Partition{
		Type: typ, UUID: UUID(e[16:32]).swap(), Label: string(utf16.Decode(label)),
		FirstLBA: binary.LittleEndian.Uint64(e[32:]), LastLBA: binary.LittleEndian.Uint64(e[40:]),
	}
}

// check refuses partitions outside the disk, over its tables, or over one
// another: a table that passes can be turned into offsets without overflow.
func (t *Table) check(sectors uint64) error {
	for i, p := range t.Partitions {
		if p.Type == (UUID{}) {
			continue
		}
		if p.FirstLBA < MinFirstLBA || p.LastLBA < p.FirstLBA || p.LastLBA >= sectors {
			return fmt.Errorf("partition %d (%s): sectors %d to %d are outside the disk's %d", i+1, p.Label, p.FirstLBA, p.LastLBA, sectors)
		}
		for j, q := range t.Partitions[:i] {
			if q.Type != (UUID{}) && p.FirstLBA <= q.LastLBA && q.FirstLBA <= p.LastLBA {
				return fmt.Errorf("partitions %d (%s) and %d (%s) overlap", j+1, q.Label, i+1, p.Label)
			}
		}
	}
	return nil
}

// Write puts the table on a disk of size octets. The order is backup entries,
// backup header, primary entries, primary header, each made durable before the
// next where w can Sync: one valid table exists at every moment, provided that
// the backup of the old size is not where a partition now reaches, which only
// matters once that partition is used.
func (t *Table) Write(w io.WriterAt, size int64) error {
	sectors := uint64(size / SectorSize)
	if len(t.Partitions) > entryCount {
		return fmt.Errorf("write partition table: %d partitions, at most %d", len(t.Partitions), entryCount)
	}
	if sectors < 2*(entriesSectors+1)+2 {
		return fmt.Errorf("write partition table: a disk of %d octets is too small", size)
	}
	if err := t.check(LastUsableLBA(size) + 1); err != nil {
		return fmt.Errorf("write partition table: %w", err)
	}
	entries := make([]byte, entryCount*entrySize)
	for i, p := range t.Partitions {
		if err := putEntry(entries[i*entrySize:], p); err != nil {
			return fmt.Errorf("write partition table: partition %d: %w", i+1, err)
		}
	}
	last := sectors - 1
	steps := []struct {
		what string
		lba  uint64
		data []byte
	}{
		{"backup entries", last - entriesSectors, entries},
		{"backup header", last, t.header(last, 1, last-entriesSectors, sectors, entries)},
		{"protective MBR", 0, protectiveMBR(sectors)},
		{"primary entries", 2, entries},
		{"primary header", 1, t.header(1, last, 2, sectors, entries)},
	}
	for _, s := range steps {
		if _, err := w.WriteAt(s.data, int64(s.lba)*SectorSize); err != nil {
			return fmt.Errorf("write %s at sector %d: %w", s.what, s.lba, err)
		}
		if f, ok := w.(interface{ Sync() error }); ok {
			if err := f.Sync(); err != nil {
				return fmt.Errorf("sync %s: %w", s.what, err)
			}
		}
	}
	return nil
}

func putEntry(e []byte, p Partition) error {
	if p.Type == (UUID{}) {
		return nil
	}
	label := utf16.Encode([]rune(p.Label))
	if len(label) > labelUnits {
		return fmt.Errorf("label %q: longer than %d UTF-16 units", p.Label, labelUnits)
	}
	typ, id := p.Type.swap(), p.UUID.swap()
	copy(e[0:], typ[:])
	copy(e[16:], id[:])
	binary.LittleEndian.PutUint64(e[32:], p.FirstLBA)
	binary.LittleEndian.PutUint64(e[40:], p.LastLBA)
	for i, c := range label {
		binary.LittleEndian.PutUint16(e[56+2*i:], c)
	}
	return nil
}

func (t *Table) header(my, alternate, entriesLBA, sectors uint64, entries []byte) []byte {
	h := make([]byte, SectorSize)
	copy(h, "EFI PART")
	binary.LittleEndian.PutUint32(h[8:], revision)
	binary.LittleEndian.PutUint32(h[12:], headerSize)
	binary.LittleEndian.PutUint64(h[24:], my)
	binary.LittleEndian.PutUint64(h[32:], alternate)
	binary.LittleEndian.PutUint64(h[40:], MinFirstLBA)
	binary.LittleEndian.PutUint64(h[48:], LastUsableLBA(int64(sectors)*SectorSize))
	id := t.DiskUUID.swap()
	copy(h[56:], id[:])
	binary.LittleEndian.PutUint64(h[72:], entriesLBA)
	binary.LittleEndian.PutUint32(h[80:], entryCount)
	binary.LittleEndian.PutUint32(h[84:], entrySize)
	binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:headerSize]))
	return h
}

// protectiveMBR is one partition of type 0xee over the whole disk (UEFI 2.10
// section 5.2.3), so that tools that know no GPT leave the disk alone.
func protectiveMBR(sectors uint64) []byte {
	m := make([]byte, SectorSize)
	e := m[446:]
	copy(e, []byte{0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(e[8:], 1)
	binary.LittleEndian.PutUint32(e[12:], uint32(min(sectors-1, 0xffffffff)))
	m[510], m[511] = 0x55, 0xaa
	return m
}
