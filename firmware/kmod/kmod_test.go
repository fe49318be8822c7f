package kmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// object is a relocatable ELF file with a .modinfo section.
func object(modinfo string) []byte {
	names := "\x00.modinfo\x00.shstrtab\x00"
	const header, section = 64, 64
	var b bytes.Buffer
	w := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err) // v has no size: the test is wrong
		}
	}
	h := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_AARCH64), Version: 1, Ehsize: header,
		Shentsize: section, Shnum: 3, Shstrndx: 2, Shoff: uint64(header + len(modinfo) + len(names)),
	}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	w(h)
	b.WriteString(modinfo + names)
	w(elf.Section64{})
	w(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: header, Size: uint64(len(modinfo))})
	w(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(header + len(modinfo)), Size: uint64(len(names))})
	return b.Bytes()
}

func tree(t *testing.T) *Tree {
	t.Helper()
	dir := t.TempDir()
	for path, modinfo := range map[string]string{
		"kernel/fs/ext4/ext4.ko":   "depends=mbcache,jbd2\x00softdep=pre: crc32c missing post: late\x00alias=fs-ext4\x00alias=fs-ext3\x00",
		"kernel/fs/mbcache.ko":     "depends=\x00name=mbcache\x00",
		"kernel/fs/jbd2/jbd2.ko":   "depends=crc16\x00",
		"kernel/lib/crc16.ko":      "depends=\x00",
		"kernel/arch/crc32c.ko":    "depends=lib-core\x00alias=crypto-crc32c\x00",
		"kernel/broken.ko":         "depends=nowhere\x00",
		"kernel/drivers/virt-a.ko": "depends=\x00",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, object(modinfo), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "modules.builtin"), []byte("kernel/lib/lib-core.ko\nkernel/virtio.ko\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestOrder(t *testing.T) {
	tests := []struct {
		names []string
		want  string
		err   string
	}{
		{[]string{"ext4"}, "kernel/fs/mbcache.ko kernel/lib/crc16.ko kernel/fs/jbd2/jbd2.ko kernel/arch/crc32c.ko kernel/fs/ext4/ext4.ko", ""},
		{[]string{"jbd2", "ext4", "virtio"}, "kernel/lib/crc16.ko kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko kernel/arch/crc32c.ko kernel/fs/ext4/ext4.ko", ""},
		{[]string{"virt_a", "virt-a"}, "kernel/drivers/virt-a.ko", ""},
		{[]string{"nosuch"}, "", "kernel module nosuch: not in "},
		{[]string{"broken"}, "", "kernel module nowhere, needed by broken: not in "},
	}
	m := tree(t)
	for _, tt := range tests {
		got, err := m.Order(tt.names...)
		if tt.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
				t.Errorf("Order(%v): error %v, expected %s…", tt.names, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("Order(%v): %v", tt.names, err)
		}
		if diff := cmp.Diff(strings.Fields(tt.want), got); diff != "" {
			t.Errorf("Order(%v) (-want +got)\n%s", tt.names, diff)
		}
	}
}

func TestIndex(t *testing.T) {
	m := tree(t)
	paths, err := m.Order("ext4")
	if err != nil {
		t.Fatal(err)
	}
	dep, alias, err := m.Index(paths)
	if err != nil {
		t.Fatal(err)
	}
	want := `kernel/arch/crc32c.ko:
kernel/fs/ext4/ext4.ko: kernel/arch/crc32c.ko kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko kernel/fs/mbcache.ko
kernel/fs/jbd2/jbd2.ko: kernel/lib/crc16.ko
kernel/fs/mbcache.ko:
kernel/lib/crc16.ko:
`
	if diff := cmp.Diff(want, dep); diff != "" {
		t.Errorf("modules.dep (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff("alias crypto-crc32c crc32c\nalias fs-ext4 ext4\nalias fs-ext3 ext4\n", alias); diff != "" {
		t.Errorf("modules.alias (-want +got)\n%s", diff)
	}
}

func TestOpenAndReadErrors(t *testing.T) {
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "modules.builtin") {
		t.Errorf("a folder without modules: %v", err)
	}
	m := tree(t)
	if err := os.WriteFile(filepath.Join(m.dir, "kernel/lib/crc16.ko"), []byte("torn"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Order("crc16"); err == nil || !strings.HasPrefix(err.Error(), "read kernel module ") {
		t.Errorf("a torn module: %v", err)
	}
}
