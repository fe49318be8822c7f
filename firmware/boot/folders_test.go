package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What stands in a folder's way is put aside, a bounded number of times, and told.
func TestFoldersInTheWay(t *testing.T) {
	dir := t.TempDir()
	told := filepath.Join(dir, "told")
	var said []string
	f := folders{func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }, told}
	good, way, link, none := filepath.Join(dir, "good"), filepath.Join(dir, "way"), filepath.Join(dir, "link"), filepath.Join(dir, "none")
	if err := os.Mkdir(good, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	f.clear(good, link, none)
	if len(said) > 0 {
		t.Errorf("nothing is wrong, and it says %q", said)
	}
	for i := range mostAside + 2 {
		if err := os.WriteFile(way, []byte(fmt.Sprint(i)), 0o644); err != nil {
			t.Fatal(err)
		}
		f.clear(good, way)
		if _, err := os.Lstat(way); !os.IsNotExist(err) {
			t.Fatalf("it is still there: %v", err)
		}
	}
	aside, err := filepath.Glob(way + ".damaged-*")
	if err != nil || len(aside) != mostAside {
		t.Fatalf("aside: %v, %v", aside, err)
	}
	if last, err := os.ReadFile(aside[mostAside-1]); string(last) != fmt.Sprint(mostAside+1) {
		t.Errorf("the last one is %q, %v", last, err)
	}
	text, err := os.ReadFile(told)
	if err != nil || strings.Count(string(text), way+" is no folder: it is now "+way+".damaged-") != mostAside+2 {
		t.Errorf("netd status is told: %s (%v)", text, err)
	}
}
