package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBad compares the errors of every bad file with the ones that were read and
// found good. Run with -update to rewrite them, and read them.
func TestBad(t *testing.T) {
	all, err := filepath.Glob(configs + "/testdata/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range all {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "good-") {
			continue
		}
		n++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseAll(name, data)
			if err == nil {
				t.Fatal("no error")
			}
			errs, ok := err.(Errors)
			if !ok {
				t.Fatalf("error of type %T", err)
			}
			for _, e := range errs {
				if strings.ContainsAny(e.Error(), "\n\r") {
					t.Errorf("more than one line: %q", e)
				}
			}
			golden(t, strings.TrimSuffix(file, ".toml")+".err", err.Error()+"\n")
			// What one box says is what netd check says.
			_, _, err = Parse(name, data, Identity{Name: "gw-a"})
			if diff := cmp.Diff(error(errs), err); diff != "" {
				t.Errorf("(-all +one)\n%s", diff)
			}
		})
	}
	if n < 45 {
		t.Errorf("%d bad files", n)
	}
}

// golden compares text with a file, which there is only for a text.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if got != "" {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	want, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", file, diff)
	}
}
