package buildroot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netd/firmware/debian"
)

// TestFragment holds linux.fragment against Debian's kernels, with which netd is
// tested: each symbol is one that this kernel knows and has, built in or as a
// module. So a misspelt or forgotten name is seen.
func TestFragment(t *testing.T) {
	fragment, err := os.ReadFile("linux.fragment")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		have := kernelConfig(t, filepath.Join(cache, "netd", "debian"), arch)
		for line := range strings.Lines(string(fragment)) {
			symbol, ok := strings.CutSuffix(strings.TrimSpace(line), "=y")
			if ok && !strings.Contains(have, "\n"+symbol+"=y\n") && !strings.Contains(have, "\n"+symbol+"=m\n") {
				t.Errorf("Debian's kernel for %s has no %s", arch, symbol)
			}
		}
	}
}

// kernelConfig is the configuration that Debian's current kernel was built with.
func kernelConfig(t *testing.T, cache, arch string) string {
	t.Helper()
	archive, err := debian.Open(t.Context(), cache, arch, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	names, err := archive.Depends(t.Context(), "linux-image-"+arch)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "linux-image-") {
			continue
		}
		packages, err := archive.Fetch(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(packages[0].Dir, "boot/config-*"))
		if len(files) != 1 {
			t.Fatalf("%s has %d kernel configurations in boot/: expected one", name, len(files))
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	t.Fatalf("linux-image-%s depends on no kernel: %v", arch, names)
	return ""
}
