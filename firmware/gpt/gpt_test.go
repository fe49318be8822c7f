package gpt

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// disk is a disk in memory.
type disk []byte

func (d disk) WriteAt(p []byte, off int64) (int, error) { return copy(d[off:], p), nil }

func (d disk) reader() *bytes.Reader { return bytes.NewReader(d) }

func sample(size int64) *Table {
	return &Table{
		DiskUUID: DerivedUUID([]byte("0123456789abcdef")),
		Partitions: []Partition{
			{Type: TypeESP, UUID: DerivedUUID([]byte("esp-esp-esp-esp-")), Label: "esp", FirstLBA: 2048, LastLBA: 4095},
			{},
			{Type: TypeLinux, UUID: DerivedUUID([]byte("data-data-data-d")), Label: "dätä", FirstLBA: 4096, LastLBA: LastUsableLBA(size)},
		},
	}
}

func write(t *testing.T, tab *Table, d disk) {
	t.Helper()
	if err := tab.Write(d, int64(len(d))); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrip(t *testing.T) {
	const size = 8 << 20
	d := make(disk, size)
	want := sample(size)
	write(t, want, d)
	got, err := Read(d.reader(), size)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if p, ok := got.ByLabel("dätä"); !ok || p.Offset() != 4096*512 || p.Size() != int64(LastUsableLBA(size)-4095)*512 {
		t.Errorf("ByLabel: %+v, %v", p, ok)
	}
	if _, ok := got.ByLabel(""); ok {
		t.Error("ByLabel found an unused entry")
	}
}

func TestReadDamaged(t *testing.T) {
	const size = 8 << 20
	end := size - SectorSize
	tests := []struct {
		name   string
		damage func(disk)
		err    string
	}{
		{"primary header", func(d disk) { clear(d[512:1024]) }, ""},
		{"primary header, one bit", func(d disk) { d[600] ^= 1 }, ""},
		{"primary entries", func(d disk) { d[1024+40] ^= 1 }, ""},
		{"backup", func(d disk) { clear(d[end:]) }, ""},
		{"both headers", func(d disk) { clear(d[512:1024]); clear(d[end:]) }, "no signature"},
		{"both entries", func(d disk) { d[1024+40] ^= 1; d[end-32*512+40] ^= 1 }, "checksum"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := make(disk, size)
			want := sample(size)
			write(t, want, d)
			tt.damage(d)
			got, err := Read(d.reader(), size)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, expected %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// An image on a larger disk has its backup in the middle; damage to the
// primary's entries must still find it.
func TestReadBackupInTheMiddle(t *testing.T) {
	const small, large = 8 << 20, 16 << 20
	d := make(disk, large)
	want := sample(small)
	if err := want.Write(d, small); err != nil {
		t.Fatal(err)
	}
	d[1024+40] ^= 1
	got, err := Read(d.reader(), large)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// cutWriter loses everything after a number of octets, in the middle of a
// write if need be.
type cutWriter struct {
	disk
	left int
}

func (c *cutWriter) WriteAt(p []byte, off int64) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	copy(c.disk[off:], p[:n])
	return len(p), nil
}

// Growing the last partition, with the power cut after every possible sector
// (and in the middle of each), leaves the old table or the new one.
func TestGrowIsSafeAgainstPowerCut(t *testing.T) {
	const small, large = 8 << 20, 16 << 20
	before := make(disk, large)
	old := sample(small)
	if err := old.Write(before, small); err != nil {
		t.Fatal(err)
	}
	grown := sample(large)
	total := (2*(entriesSectors+1) + 1) * SectorSize
	seen := map[string]bool{}
	for left := 0; left <= total; left += SectorSize / 2 {
		w := &cutWriter{disk: bytes.Clone(before), left: left}
		if err := grown.Write(w, large); err != nil {
			t.Fatal(err)
		}
		got, err := Read(w.reader(), large)
		if err != nil {
			t.Fatalf("cut after %d octets: %v", left, err)
		}
		switch {
		case cmp.Equal(got, old):
			seen["old"] = true
		case cmp.Equal(got, grown):
			seen["new"] = true
		default:
			t.Fatalf("cut after %d octets: neither table:\n%s", left, cmp.Diff(grown, got))
		}
	}
	if !seen["old"] || !seen["new"] {
		t.Errorf("saw %v, expected both tables", seen)
	}
}

func TestWriteRefuses(t *testing.T) {
	const size = 8 << 20
	p := func(first, last uint64) Partition {
		return Partition{Type: TypeLinux, Label: "x", FirstLBA: first, LastLBA: last}
	}
	tests := []struct {
		name  string
		parts []Partition
		err   string
	}{
		{"over the primary table", []Partition{p(33, 100)}, "outside the disk"},
		{"over the backup table", []Partition{p(34, LastUsableLBA(size)+1)}, "outside the disk"},
		{"backwards", []Partition{p(100, 99)}, "outside the disk"},
		{"overlap", []Partition{p(100, 200), p(200, 300)}, "overlap"},
		{"label", []Partition{{Type: TypeLinux, Label: strings.Repeat("x", 37), FirstLBA: 34, LastLBA: 40}}, "longer than 36"},
		{"too many", make([]Partition, 129), "at most 128"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := make(disk, size)
			err := (&Table{Partitions: tt.parts}).Write(d, size)
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, expected %q", err, tt.err)
			}
			if !bytes.Equal(d, make(disk, size)) {
				t.Error("something was written")
			}
		})
	}
}

func TestUUID(t *testing.T) {
	const s = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	u, err := ParseUUID(strings.ToUpper(s))
	if err != nil || u != TypeESP || u.String() != s {
		t.Errorf("%v %v", u, err)
	}
	for _, bad := range []string{"", s[1:], s + "0", strings.Replace(s, "c", "x", 1), strings.ReplaceAll(s, "-", "0")} {
		if _, err := ParseUUID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// sfdisk (util-linux) is on every Debian; it judges what we write.
func TestSfdiskAgrees(t *testing.T) {
	const size = 8 << 20
	d := make(disk, size)
	write(t, sample(size), d)
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, d, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/usr/sbin/sfdisk", "--verify", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No errors detected") {
		t.Fatalf("sfdisk --verify: %v\n%s", err, out)
	}
	out, err = exec.Command("/usr/sbin/sfdisk", "--dump", path).CombinedOutput()
	if err != nil {
		t.Fatalf("sfdisk --dump: %v\n%s", err, out)
	}
	for _, want := range []string{
		"label: gpt", "first-lba: 34", "last-lba: 16350",
		`start=        2048, size=        2048, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=6573702D-6573-802D-A573-702D6573702D, name="esp"`,
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("sfdisk --dump lacks %q:\n%s", want, out)
		}
	}
}

// FuzzRead mutates a header and its first entries and repairs the checksums,
// which would otherwise keep every mutation out.
func FuzzRead(f *testing.F) {
	const size = 64 << 10
	d := make(disk, size)
	tab := &Table{Partitions: []Partition{{Type: TypeLinux, Label: "x", FirstLBA: 40, LastLBA: 60}}}
	if err := tab.Write(d, size); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(d[512:512+headerSize]), []byte(d[1024:1024+2*entrySize]), true)
	f.Add([]byte{}, []byte{}, false)
	f.Fuzz(func(t *testing.T, header, entries []byte, repair bool) {
		d := make(disk, size)
		copy(d[512:1024], header)
		copy(d[1024:], entries)
		if repair {
			binary.LittleEndian.PutUint32(d[512+88:], crc32.ChecksumIEEE(d[1024:1024+entriesSectors*SectorSize]))
			clear(d[512+16 : 512+20])
			binary.LittleEndian.PutUint32(d[512+16:], crc32.ChecksumIEEE(d[512:512+headerSize]))
		}
		tab, err := Read(d.reader(), size)
		if err != nil {
			return
		}
		for _, p := range tab.Partitions {
			if p.Type != (UUID{}) && (p.Size() <= 0 || p.Offset()+p.Size() > size) {
				t.Errorf("partition %+v is outside %d octets", p, size)
			}
		}
	})
}
