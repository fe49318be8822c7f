package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"netd/firmware/gpt"
)

func variable(text string) []byte {
	b := []byte{6, 0, 0, 0}
	for _, u := range utf16.Encode([]rune(text)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func TestParsePartUUID(t *testing.T) {
	const id = "0f4c1bb2-33a6-4f59-9d11-6b2f5d7f9e01"
	for _, c := range []struct {
		name    string
		value   []byte
		want    string
		wantErr string
	}{
		{"upper case, as systemd's stub writes it", variable(strings.ToUpper(id) + "\x00"), id, ""},
		{"without the final zero", variable(id), id, ""},
		{"empty", nil, "", "0 octets: expected attributes and UTF-16"},
		{"odd", append(variable(id), 1), "", "77 octets: expected attributes and UTF-16"},
		{"not a UUID", variable("boot-a"), "", `parse UUID "boot-a": expected 8-4-4-4-12 hexadecimal digits`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parsePartUUID(c.value)
			if c.wantErr != "" {
				if err == nil || err.Error() != c.wantErr {
					t.Fatalf("error: got %v, want %s", err, c.wantErr)
				}
				return
			}
			if err != nil || got.String() != c.want {
				t.Errorf("got %v, %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestLengthen(t *testing.T) {
	const mib = 1 << 20
	data := gpt.Partition{Type: gpt.TypeLinux, Label: "data", FirstLBA: 4096, LastLBA: 8191}
	slot := gpt.Partition{Type: gpt.TypeLinux, Label: "boot-a", FirstLBA: 2048, LastLBA: 4095}
	behind := gpt.Partition{Type: gpt.TypeLinux, Label: "other", FirstLBA: 8192, LastLBA: 10239}
	for _, c := range []struct {
		name string
		size int64
		with []gpt.Partition
		want uint64
	}{
		{"to the last whole MiB before the backup table", 100 * mib, []gpt.Partition{slot, data}, 99*2048 - 1},
		{"a disk with half a MiB more", 100*mib + 512<<10, []gpt.Partition{slot, data}, 100*2048 - 1},
		{"again", 5 * mib, []gpt.Partition{slot, data}, 8191},
		{"not the last on the disk", 100 * mib, []gpt.Partition{data, behind}, 8191},
		{"behind it an unused entry", 100 * mib, []gpt.Partition{data, {FirstLBA: 9000, LastLBA: 9001}}, 99*2048 - 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := &gpt.Table{Partitions: append([]gpt.Partition{}, c.with...)}
			index := 0
			for i, p := range table.Partitions {
				if p.Label == "data" {
					index = i
				}
			}
			changed := lengthen(table, index, c.size)
			if got := table.Partitions[index].LastLBA; got != c.want {
				t.Errorf("last sector: got %d, want %d", got, c.want)
			}
			if changed != (c.want != data.LastLBA) {
				t.Errorf("changed: got %v", changed)
			}
			if lengthen(table, index, c.size) {
				t.Error("a second time changes something")
			}
		})
	}
}

// box is /sys/block and /dev of a machine whose disks come up one by one.
type box struct {
	t          *testing.T
	block, dev string
	said       []string
}

func newBox(t *testing.T) *box {
	dir := t.TempDir()
	b := &box{t: t, block: filepath.Join(dir, "block"), dev: filepath.Join(dir, "dev")}
	for _, d := range []string{b.block, b.dev} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// plug is a disk that comes after a time; partitions are named, and have UUIDs of the
// disk's number and theirs.
type plug struct {
	after  time.Duration
	name   string
	number byte
	sector string
	labels []string
}

func (b *box) plug(p plug) {
	b.t.Helper()
	const size = 64 << 20
	table := &gpt.Table{DiskUUID: gpt.UUID{p.number}}
	for i, label := range p.labels {
		at := uint64(2048 * (i + 1))
		table.Partitions = append(table.Partitions, gpt.Partition{
			Type: gpt.TypeLinux, UUID: gpt.UUID{p.number, byte(i + 1)}, Label: label, FirstLBA: at, LastLBA: at + 2047,
		})
	}
	f, err := os.Create(filepath.Join(b.dev, p.name))
	if err != nil {
		b.t.Fatal(err)
	}
	err = errors.Join(f.Truncate(size), table.Write(f, size), f.Close(), os.MkdirAll(filepath.Join(b.block, p.name, "queue"), 0o755))
	for file, text := range map[string]string{"queue/logical_block_size": p.sector, "size": strconv.Itoa(size / 512)} {
		err = errors.Join(err, os.WriteFile(filepath.Join(b.block, p.name, file), []byte(text+"\n"), 0o644))
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) finder(release string, of map[string]string) *finder {
	return &finder{
		block: b.block, dev: b.dev, release: release,
		releaseOf: func(d *disk, slot string) (string, error) {
			if r, ok := of[d.name+" "+slot]; ok {
				return r, nil
			}
			return "", errors.New("empty")
		},
		say: func(format string, args ...any) { b.said = append(b.said, fmt.Sprintf(format, args...)) },
	}
}

var slots = []string{"esp", "state", "boot-a", "boot-b", "root-a", "root-b", "data"}

// Which disk and slot, after how long, and what is said.
func TestFind(t *testing.T) {
	unknown := errors.New("no variable")
	for _, c := range []struct {
		name    string
		id      gpt.UUID
		unknown error
		plug    []plug // the disks, by and by
		of      map[string]string
		want    string // disk and slot, or the error
		after   time.Duration
		said    string // in what is said
	}{
		{
			"by the partition, whatever other disks there are",
			gpt.UUID{2, 4},
			nil,
			[]plug{{0, "sda", 1, "512", slots}, {0, "sdb", 2, "512", slots}},
			map[string]string{"sda a": "r"},
			"sdb b", 0, "",
		},
		{
			"a disk that takes two minutes",
			gpt.UUID{2, 3},
			nil,
			[]plug{{0, "sda", 1, "512", []string{"other"}}, {2 * time.Minute, "sdb", 2, "512", slots}},
			nil, "sdb a", 2 * time.Minute, "waits for the disk with partition 02030000-0000-0000-0000-000000000000, 5s of 5m0s: DEV/sda is another",
		},
		{
			"a disk that never comes",
			gpt.UUID{2, 3},
			nil,
			[]plug{{0, "sda", 1, "4096", slots}},
			nil, "find the disk with partition 02030000-0000-0000-0000-000000000000: not within 5m0s: DEV/sda has sectors of 4096 octets, and images are laid out for 512",
			5 * time.Minute, "waits for",
		},
		{
			"no variable: the slot of this release",
			gpt.UUID{},
			unknown,
			[]plug{{0, "sda", 1, "512", slots}, {0, "sdb", 2, "512", slots}},
			map[string]string{"sda a": "old", "sda b": "r", "sdb a": "r"},
			"sda b", 0,
			"the firmware has not said which slot was started (no variable): slot b of DEV/sda is of this release, and is taken",
		},
		{
			"no variable, no such release: slot A",
			gpt.UUID{},
			unknown,
			[]plug{{0, "sda", 1, "512", []string{"other"}}, {0, "sdb", 2, "512", slots}},
			map[string]string{"sdb b": "old"},
			"sdb a", settleAfter, "and none is of this release: slot a of DEV/sdb is taken",
		},
		{
			"no variable, and the disk is late",
			gpt.UUID{},
			unknown,
			[]plug{{time.Minute, "sdb", 2, "512", slots}},
			map[string]string{"sdb a": "r"},
			"sdb a", time.Minute, "waits for a disk with slots of netd, 5s of 5m0s: the kernel shows none yet",
		},
		{
			"a variable that names a slot which is not there",
			gpt.UUID{9},
			nil,
			[]plug{{0, "sda", 1, "512", slots}},
			map[string]string{"sda a": "r", "sda b": "old"},
			"sda a", staleAfter,
			"(partition 09000000-0000-0000-0000-000000000000, which it names, is nowhere): slot a of DEV/sda is of this release, and is taken",
		},
		{
			"a variable that names no slot",
			gpt.UUID{1, 7},
			nil,
			[]plug{{0, "sda", 1, "512", slots}},
			nil, "sda a", staleAfter + settleAfter, "none is of this release: slot a of DEV/sda is taken",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBox(t)
				start := time.Now()
				go func() {
					for _, p := range c.plug {
						time.Sleep(p.after)
						b.plug(p)
					}
				}()
				synctest.Wait()
				d, err := b.finder("r", c.of).find(c.id, c.unknown)
				got := ""
				if err != nil {
					got = err.Error()
				} else {
					got = d.name + " " + d.slot
				}
				if diff := cmp.Diff(c.want, strings.ReplaceAll(got, b.dev, "DEV")); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if took := time.Since(start); took < c.after || took > c.after+time.Second {
					t.Errorf("took %v, want %v", took, c.after)
				}
				said := strings.ReplaceAll(strings.Join(b.said, "\n"), b.dev, "DEV")
				if !strings.Contains(said, c.said) || c.said == "" && said != "" {
					t.Errorf("said:\n%s\nwant:\n%s", said, c.said)
				}
				if n := strings.Count(said, "waits for"); n > int(time.Since(start)/wordEvery) {
					t.Errorf("it says %d times that it waits", n)
				}
			})
		})
	}
}

func TestRootOf(t *testing.T) {
	if got, err := rootOf([]byte(`{"parts":[{"name":"netd.efi","sha256":"1"},{"name":"root.squashfs","sha256":"2"}]}`)); got != "2" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, text := range []string{"{}", "\x00"} {
		if got, err := rootOf([]byte(text)); err == nil {
			t.Errorf("%q: got %q", text, got)
		}
	}
}
