package containers

import (
	"context"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/content"
	"github.com/containerd/containerd/content/local"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/oci"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var update = flag.Bool("update", false, "write the golden files")

// fakeImage is an image of nothing but a config.
type fakeImage struct {
	store  content.Store
	config ocispec.Descriptor
}

func (i fakeImage) Config(context.Context) (ocispec.Descriptor, error) { return i.config, nil }
func (i fakeImage) ContentStore() content.Store                        { return i.store }

func newFakeImage(t *testing.T, ctx context.Context, config string) fakeImage {
	t.Helper()
	store, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString(config), Size: int64(len(config))}
	if err := content.WriteBlob(ctx, store, "config", strings.NewReader(config), d); err != nil {
		t.Fatal(err)
	}
	return fakeImage{store, d}
}

const testConfig = `{"os":"linux","config":{"Env":["PATH=/bin","COLOR=red"],"Entrypoint":["/entry"],"Cmd":["a","b"],"WorkingDir":"/srv","User":"7:8"}}`

func generate(t *testing.T, s Spec, config string) (*oci.Spec, error) {
	t.Helper()
	ctx := namespaces.WithNamespace(context.Background(), "netd")
	root := t.TempDir()
	files := podFiles{t.TempDir()}
	if err := files.make("web-0", nil, []netip.Addr{netip.MustParseAddr("192.0.2.53")}); err != nil {
		t.Fatal(err)
	}
	opts := append([]oci.SpecOpts{oci.WithRootFSPath(root)},
		specOpts(s, newFakeImage(t, ctx, config), "/run/netns/web-0", files.mounts("web-0"))...)
	spec, err := oci.GenerateSpec(ctx, nil, &containers.Container{ID: s.Pod}, opts...)
	if err == nil {
		spec.Root.Path = "rootfs"
		for i, m := range spec.Mounts {
			spec.Mounts[i].Source = strings.Replace(m.Source, files.dir, "/run/netd/files", 1)
		}
	}
	return spec, err
}

// All that a pod's container is, but for the list of system calls, which is
// containerd's and depends on architecture and kernel.
func TestSpecGolden(t *testing.T) {
	spec, err := generate(t, Spec{Name: "web", Pod: "web-0", Image: "web.tar", Args: []string{"x"}, Env: map[string]string{"COLOR": "blue", "A": "1"}}, testConfig)
	if err != nil {
		t.Fatal(err)
	}
	if s := spec.Linux.Seccomp; s == nil || s.DefaultAction != "SCMP_ACT_ERRNO" || len(s.Syscalls) == 0 {
		t.Errorf("seccomp: %+v", s)
	}
	spec.Linux.Seccomp = nil
	b, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, '\n')
	golden := filepath.Join("testdata", "spec.golden")
	if *update {
		if err := os.WriteFile(golden, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(b)); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestSpecArgs(t *testing.T) {
	for _, tt := range []struct {
		name   string
		spec   Spec
		config string
		want   []string
		err    string
	}{
		{"the image's", Spec{}, testConfig, []string{"/entry", "a", "b"}, ""},
		{"own args", Spec{Args: []string{"x"}}, testConfig, []string{"/entry", "x"}, ""},
		{"no args", Spec{Args: []string{}}, testConfig, []string{"/entry"}, ""},
		{"own command", Spec{Command: []string{"/c"}}, testConfig, []string{"/c"}, ""},
		{"both", Spec{Command: []string{"/c"}, Args: []string{"x"}}, testConfig, []string{"/c", "x"}, ""},
		{"none", Spec{}, `{"os":"linux"}`, nil, "neither the image nor the workload has a command"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := generate(t, tt.spec, tt.config)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("got error %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.Process.Args); diff != "" {
				t.Errorf("args (-want +got):\n%s", diff)
			}
		})
	}
}

// What an image leaves out, and what is refused of it.
func TestSpecOfImage(t *testing.T) {
	spec, err := generate(t, Spec{Pod: "web-0"}, `{"os":"linux","config":{"Env":["A=1"],"Cmd":["x"]}}`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A=1", "HOSTNAME=web-0", podPath}, spec.Process.Env); diff != "" {
		t.Errorf("env of an image without PATH (-want +got):\n%s", diff)
	}
	for _, call := range spec.Linux.Seccomp.Syscalls {
		if slices.Contains(call.Names, "ptrace") && call.Action == "SCMP_ACT_ALLOW" {
			t.Error("ptrace is allowed")
		}
	}
	_, err = generate(t, Spec{Pod: "web-0"}, `{"os":"linux","config":{"User":"app","Cmd":["x"]}}`)
	if err == nil || !strings.Contains(err.Error(), `run as user "app" of the image: `) {
		t.Errorf("a user that is not there: got %v", err)
	}
}

func TestSpecHash(t *testing.T) {
	base := Spec{Name: "w", Pod: "w-0", Image: "a.tar", Env: map[string]string{"A": "1", "B": "2"}}
	same := Spec{Name: "w", Pod: "w-0", Image: "a.tar", Env: map[string]string{"B": "2", "A": "1"}}
	if base.hash() != same.hash() {
		t.Error("equal specs have different hashes")
	}
	other := base
	other.Restart, other.StopTimeout = RestartNever, time.Minute
	if base.hash() != other.hash() {
		t.Error("what is done about its end would make a running pod anew")
	}
	other.Args = []string{"x"}
	if base.hash() == other.hash() {
		t.Error("different specs have one hash")
	}
}
