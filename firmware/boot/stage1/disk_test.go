package main

import (
	"encoding/binary"
	"strings"
	"testing"
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

func TestExt4Size(t *testing.T) {
	super := make([]byte, 1024)
	binary.LittleEndian.PutUint32(super[0x4:], 1000)
	binary.LittleEndian.PutUint32(super[0x18:], 2)
	binary.LittleEndian.PutUint16(super[0x38:], 0xef53)
	binary.LittleEndian.PutUint32(super[0x150:], 7)
	get := func() [2]uint64 {
		blocks, size, err := ext4Size(super)
		if err != nil {
			t.Fatal(err)
		}
		return [2]uint64{blocks, size}
	}
	if diff := cmp.Diff([2]uint64{1000, 4096}, get()); diff != "" {
		t.Errorf("without 64bit the high half is not one (-want +got):\n%s", diff)
	}
	binary.LittleEndian.PutUint32(super[0x60:], 0x80)
	if diff := cmp.Diff([2]uint64{7<<32 + 1000, 4096}, get()); diff != "" {
		t.Errorf("64bit (-want +got):\n%s", diff)
	}
	super[0x38] = 0
	if _, _, err := ext4Size(super); err == nil {
		t.Error("no magic: got no error")
	}
}
