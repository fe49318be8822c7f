package ext4

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	super := make([]byte, SuperSize)
	binary.LittleEndian.PutUint32(super[0x4:], 1000)
	binary.LittleEndian.PutUint32(super[0x18:], 2)
	binary.LittleEndian.PutUint16(super[0x38:], 0xef53)
	super[0x3a] = 1
	binary.LittleEndian.PutUint32(super[0x150:], 7)
	want := func(what string, want Super) {
		t.Helper()
		got, err := Parse(super)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
	want("without 64bit the high half is not one", Super{Blocks: 1000, BlockSize: 4096})
	super[0x60] = 0x80
	want("64bit", Super{Blocks: 7<<32 + 1000, BlockSize: 4096})
	super[0x60] |= 0x4
	want("a journal to replay", Super{Blocks: 7<<32 + 1000, BlockSize: 4096, InUse: true})
	super[0x60], super[0x3a] = 0x80, 2
	want("errors, and not unmounted", Super{Blocks: 7<<32 + 1000, BlockSize: 4096, InUse: true, Errors: true})
	super[0x18] = 7
	if _, err := Parse(super); err == nil {
		t.Error("blocks of 128 KiB: got no error")
	}
	super[0x38] = 0
	if _, err := Parse(super); err == nil {
		t.Error("no magic: got no error")
	}
}

// mke2fs refuses to reserve less than there is.
func TestMakeArgs(t *testing.T) {
	if got := strings.Join(MakeArgs("data", 1<<30, "lazy_itable_init=0"), " "); !strings.Contains(got, " -E root_owner=0:0,nodiscard,lazy_itable_init=0,resize=268435456 ") {
		t.Error(got)
	}
	if got := strings.Join(MakeArgs("data", 1<<41), " "); strings.Contains(got, "resize=") {
		t.Error(got)
	}
}
