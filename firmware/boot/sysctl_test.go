package boot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFlows(t *testing.T) {
	const mib = 1 << 20
	for memory, want := range map[uint64]uint64{
		64 * mib: 16384, 256 * mib: 16384, 450 * mib: 28800, 1024 * mib: 65536, 8192 * mib: 524288, 65536 * mib: 1048576,
	} {
		if got := flows(memory); got != want {
			t.Errorf("%d MiB: %d, want %d", memory/mib, got, want)
		}
		// As much as all of them take, in the worst case.
		if used := want * (320 + 8); used > memory/10 {
			t.Errorf("%d MiB: %d flows would take %d MiB", memory/mib, want, used/mib)
		}
	}
}

// What the kernel does not have is passed over; what it refuses is told.
func TestSet(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"kernel/there", "kernel/not"} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(root+"/kernel/there", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root+"/kernel/not", 0o755); err != nil {
		t.Fatal(err)
	}
	err := set(root, []sysctl{{"kernel/not", "2"}, {"kernel/absent", "3"}, {"kernel/there", "1"}})
	if err == nil || strings.Contains(err.Error(), "absent") || !strings.Contains(err.Error(), "kernel/not") {
		t.Errorf("told: %v", err)
	}
	if b, err := os.ReadFile(root + "/kernel/there"); err != nil || string(b) != "1" {
		t.Errorf("%q, %v", b, err)
	}
	seen := map[string]bool{}
	for _, s := range early() {
		if seen[s.key] {
			t.Errorf("%s twice", s.key)
		}
		seen[s.key] = true
	}
	all, err := conntrack()
	if err != nil || len(all) != 2 || all[0].value != all[1].value {
		t.Error(cmp.Diff(nil, all), err)
	}
}
