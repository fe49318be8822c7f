package main

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"netd/netd/internal/daemon"
	"netd/netd/layout"
)

// The speaker and the BFD process have / as their working directory: a path that is
// relative to the agent's was another one there.
func TestPathsAreAbsolute(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	got, err := agentOptions([]string{
		"--config", "my.toml", "--data", "data", "--run", "./run", "--netns", "../netns", "--containerd", "c.sock",
		"--images", "images", "--shim", "bin/shim", "--runc", "/usr/bin/runc",
	})
	if err != nil {
		t.Fatal(err)
	}
	in := func(path string) string { return filepath.Join(dir, path) }
	want := daemon.Options{
		ConfigFile: in("my.toml"), DataDir: in("data"), RunDir: in("run"), NetnsDir: in("../netns"), ContainerdSocket: in("c.sock"),
		ImageDir: in("images"), Shim: in("bin/shim"), Runc: "/usr/bin/runc",
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(want)); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
	// What is left out stays so.
	if got, err = agentOptions(nil); err != nil || got.ConfigFile != "" || got.RunDir != layout.RunDir {
		t.Errorf("without arguments: %+v, %v", got, err)
	}
}
