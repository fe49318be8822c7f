package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyNamedVariablesPass(t *testing.T) {
	got := filterEnv([]string{"PATH=/bin", "SECRET_TOKEN=x", "GOFLAGS=-mod=mod", "NETD_X=1", "LC_ALL=C", "PATHOLOGY=1", "HOME=/root", "TMPDIR=/x"})
	want := []string{"PATH=/bin", "GOFLAGS=-mod=mod", "NETD_X=1", "LC_ALL=C", "HOME=/root"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The test binary's own time-out comes first: it says which test hangs.
func TestDefaultTimeout(t *testing.T) {
	for _, c := range []struct {
		args []string
		want time.Duration
	}{
		{nil, 10 * time.Minute},
		{[]string{"-test.timeout=2m0s"}, 3 * time.Minute},
		{[]string{"-test.timeout=0s"}, 10 * time.Minute},
	} {
		if got := defaultTimeout(c.args); got != c.want {
			t.Errorf("%v: got %v, want %v", c.args, got, c.want)
		}
	}
}

func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	k := kernel{modules: t.TempDir()}
	const dep = "fs/9p/9p.ko: net/9p/9pnet.ko fs/netfs.ko\nnet/9p/9pnet.ko:\nfs/netfs.ko:\nnet/x-y.ko: net/9p/9pnet.ko\n"
	if err := os.WriteFile(filepath.Join(k.modules, "modules.dep"), []byte(dep), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := k.moduleFiles("9p", "x_y")
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i], err = filepath.Rel(k.modules, got[i]); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"net/9p/9pnet.ko", "fs/netfs.ko", "fs/9p/9p.ko", "net/x-y.ko"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := k.moduleFiles("none"); err == nil {
		t.Error("a module that is not there: got no error")
	}
}

// The archive is what cpio(1) takes for one.
func TestInitramfsIsReadByCpio(t *testing.T) {
	var b bytes.Buffer
	c := cpio{w: &b}
	c.add("dir", cpioDir, nil)
	c.add("dir/file", cpioFile, []byte("12345"))
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("cpio", "-i", "--quiet")
	cmd.Dir, cmd.Stdin = dir, &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "dir/file"))
	if err != nil || string(got) != "12345" {
		t.Errorf("dir/file: got %q, %v", got, err)
	}
}
