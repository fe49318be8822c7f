package debian

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseURIs(t *testing.T) {
	const sum = "732c9135564fc71337e0e05fb4da4d11e6c28c1834bce3e405e575afef2a52f5"
	out := "Reading package lists...\n" +
		"'http://deb.example/pool/i/iproute2_6.1.0-3_arm64.deb' iproute2_6.1.0-3_arm64.deb 1008124 SHA256:" + sum + "\n" +
		"'http://deb.example/pool/b/busybox-static_1.35.0-4%2bdeb12u1_arm64.deb' busybox-static_1%3a1.35.0-4+deb12u1_arm64.deb 822236 SHA256:" + sum + "\n" +
		"'http://deb.example/pool/m/md5_1_all.deb' md5_1_all.deb 5 MD5Sum:00\n"
	got, err := parseURIs(out)
	if err != nil {
		t.Fatal(err)
	}
	want := []Package{
		{Name: "busybox-static", Version: "1:1.35.0-4+deb12u1", Arch: "arm64", SHA256: sum, Size: 822236},
		{Name: "iproute2", Version: "6.1.0-3", Arch: "arm64", SHA256: sum, Size: 1008124},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestReason(t *testing.T) {
	stderr := "W: something\nE: Unable to locate package nosuch\nE: No packages found\n"
	if got := reason(stderr); got != "Unable to locate package nosuch" {
		t.Error(got)
	}
}

// The machine's own sources, for an architecture that is not the machine's.
func TestFetch(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for _, arch := range []string{"amd64", "arm64"} {
		a, err := Open(ctx, filepath.Join(cache, "netd", "debian"), arch, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Fetch(ctx, "libmnl0", "busybox-static")
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got[0].Name != "busybox-static" || got[0].Arch != arch {
			t.Fatalf("%+v", got)
		}
		if _, err := os.Stat(filepath.Join(got[0].Dir, "bin", "busybox")); err != nil {
			t.Error(err)
		}
		if sum, err := sumFile(a.deb(got[0])); err != nil || sum != got[0].SHA256 {
			t.Errorf("the cache has %s (%v), expected %s", sum, err, got[0].SHA256)
		}
		deps, err := a.Depends(ctx, "linux-image-"+arch)
		if err != nil || len(deps) != 1 || !strings.HasPrefix(deps[0], "linux-image-6.1.0-") {
			t.Errorf("linux-image-%s depends on %q (%v)", arch, deps, err)
		}
		_, err = a.Fetch(ctx, "nosuch-package")
		if want := "look up packages for " + arch + ": apt-get: exit status 100: Unable to locate package nosuch-package"; err == nil || err.Error() != want {
			t.Errorf("error %v, expected %s", err, want)
		}
	}
}

// Without a network and without a cache there is one clear error.
func TestOffline(t *testing.T) {
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	t.Setenv("https_proxy", "http://127.0.0.1:1")
	_, err := Open(context.Background(), t.TempDir(), "amd64", t.Logf)
	if err == nil || !strings.HasPrefix(err.Error(), "fetch Debian's list of packages for amd64: apt-get: ") {
		t.Errorf("error %v", err)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %v", err)
	}
}
