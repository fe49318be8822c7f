package containers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"

	"github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/contrib/seccomp"
	"github.com/containerd/containerd/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// podOOMScore lets the kernel end pods before netd and containerd.
	podOOMScore = 500
	// podPIDs keeps a fork bomb from taking the gateway's process table.
	podPIDs = 4096
)

// specVersion is part of every hash: a change in how containers are made (the
// functions below) raises it, and pods are made again.
const specVersion = 1

// hash identifies what a container was made of.
func (s Spec) hash() string {
	b, err := json.Marshal(struct {
		Version int
		Spec    Spec
	}{specVersion, s})
	if err != nil {
		panic(err) // strings, slices and maps of strings
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// specOpts makes the OCI specification of a pod's container, on top of
// containerd's defaults (own pid, ipc, uts and mount namespaces, masked and
// read-only paths, its default capabilities, no new privileges).
//
// NET_RAW stays, so that ping works; what a pod may send is the policy's matter.
func specOpts(s Spec, image oci.Image, netns string, hostFiles []string) []oci.SpecOpts {
	opts := []oci.SpecOpts{
		oci.WithImageConfigArgs(image, s.Args),
	}
	if len(s.Command) > 0 {
		opts = append(opts, oci.WithProcessArgs(slices.Concat(s.Command, s.Args)...))
	}
	env := []string{"HOSTNAME=" + s.Pod}
	for k, v := range s.Env {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	return append(opts,
		requireCommand,
		oci.WithEnv(env),
		oci.WithHostname(s.Pod),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: netns}),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.CgroupNamespace}),
		oci.WithMounts(bindMounts(hostFiles)),
		oci.WithPidsLimit(podPIDs),
		withOOMScore(podOOMScore),
		seccomp.WithDefaultProfile(), // last: it depends on the capabilities
	)
}

func requireCommand(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	if len(s.Process.Args) == 0 {
		return errors.New("neither the image nor the workload has a command")
	}
	return nil
}

func withOOMScore(score int) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Process.OOMScoreAdj = &score
		return nil
	}
}

// bindMounts shows the host's files to the pod at the same path, read-only.
func bindMounts(files []string) []specs.Mount {
	var mounts []specs.Mount
	for _, f := range files {
		mounts = append(mounts, specs.Mount{
			Destination: f, Source: f, Type: "bind", Options: []string{"rbind", "ro", "nosuid", "nodev", "noexec"},
		})
	}
	return mounts
}

// hostFiles are the files that name resolution needs and the host has.
func hostFiles() []string {
	var found []string
	for _, f := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() {
			found = append(found, f)
		}
	}
	return found
}
