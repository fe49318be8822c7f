package containers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/content"
	"github.com/containerd/containerd/contrib/seccomp"
	"github.com/containerd/containerd/oci"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"netd/containers/archive"
)

const (
	// podOOMScore lets the kernel end pods before netd and containerd.
	podOOMScore = 500
	// podPIDs keeps a fork bomb from taking the gateway's process table.
	podPIDs = 4096
	// A pod's open files: who uses select(2) is safe with the first, and whoever needs
	// more asks for up to the second.
	podFilesSoft, podFilesHard = 1024, 524288
	// podPath is what Docker gives to an image that names none.
	podPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// specVersion is part of every hash: a change in how containers are made (the
// functions below) raises it, and pods are made again.
const specVersion = 2

// hash identifies what a container was made of: not what is done about its end, which
// may change while it runs.
func (s Spec) hash() string {
	s.Restart, s.StopTimeout = "", 0
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
// read-only paths, its default capabilities, no new privileges), with what images are
// made for, which is Docker: no file system over the image's /run, cgroups to read,
// ports and ping without root.
//
// NET_RAW stays, so that every ping and tcpdump work; what a pod may send is the
// policy's matter.
func specOpts(s Spec, image oci.Image, netns string, files []specs.Mount) []oci.SpecOpts {
	env := []string{"HOSTNAME=" + s.Pod}
	for k, v := range s.Env {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	return []oci.SpecOpts{
		fromImage(image, s),
		oci.WithEnv(env),
		withPath,
		oci.WithHostname(s.Pod),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: netns}),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.CgroupNamespace}),
		oci.WithoutMounts("/run"),
		oci.WithMounts([]specs.Mount{{
			Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"},
		}}),
		oci.WithMounts(files),
		withLimits,
		oci.WithDroppedCapabilities([]string{"CAP_MKNOD"}),
		withHidden,
		seccomp.WithDefaultProfile(), // it depends on the capabilities
		withoutTracing,
	}
}

// fromImage sets what the image says: who runs, where, with which variables, and what.
func fromImage(image oci.Image, s Spec) oci.SpecOpts {
	return func(ctx context.Context, client oci.Client, c *containers.Container, spec *oci.Spec) error {
		config, err := imageConfig(ctx, image)
		if err != nil {
			return err
		}
		if err := oci.WithImageConfig(image)(ctx, client, c, spec); err != nil {
			if config.User != "" {
				return fmt.Errorf("run as user %q of the image: %w", config.User, err)
			}
			return err
		}
		spec.Process.Args = archive.Info{Entrypoint: config.Entrypoint, Cmd: config.Cmd}.Args(s.Command, s.Args)
		if len(spec.Process.Args) == 0 {
			return errors.New("neither the image nor the workload has a command")
		}
		return nil
	}
}

func imageConfig(ctx context.Context, image oci.Image) (ocispec.ImageConfig, error) {
	var parsed ocispec.Image
	d, err := image.Config(ctx)
	if err != nil {
		return parsed.Config, err
	}
	b, err := content.ReadBlob(ctx, image.ContentStore(), d)
	if err != nil {
		return parsed.Config, err
	}
	err = json.Unmarshal(b, &parsed)
	return parsed.Config, err
}

// withPath gives a path to an image that has variables, but not that one.
func withPath(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	if !slices.ContainsFunc(s.Process.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		s.Process.Env = append(s.Process.Env, podPath)
	}
	return nil
}

// withLimits bounds what a pod can take, and lets it have what needs no privilege in a
// network of its own.
func withLimits(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	score, pids := podOOMScore, int64(podPIDs)
	s.Process.OOMScoreAdj = &score
	s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: podFilesSoft, Hard: podFilesHard}}
	s.Linux.Resources.Pids = &specs.LinuxPids{Limit: pids}
	s.Linux.Sysctl = map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "0",
		"net.ipv4.ping_group_range":           "0 2147483647",
	}
	return nil
}

// withHidden hides what tells a pod of the kernel's memory and of its neighbours, beyond
// what containerd hides: a pod's root is the kernel's root there.
func withHidden(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	s.Linux.MaskedPaths = append(s.Linux.MaskedPaths,
		"/proc/interrupts", "/proc/iomem", "/proc/ioports", "/proc/kallsyms", "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags",
		"/proc/modules", "/proc/pagetypeinfo", "/proc/slabinfo", "/proc/vmallocinfo", "/sys/kernel/notes")
	return nil
}

// withoutTracing takes one process' hands off another, which seccomp's default profile
// allows since Linux 4.8.
func withoutTracing(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	for i, c := range s.Linux.Seccomp.Syscalls {
		s.Linux.Seccomp.Syscalls[i].Names = slices.DeleteFunc(slices.Clone(c.Names), func(name string) bool {
			return name == "ptrace" || name == "process_vm_readv" || name == "process_vm_writev"
		})
	}
	s.Linux.Seccomp.Syscalls = slices.DeleteFunc(s.Linux.Seccomp.Syscalls, func(c specs.LinuxSyscall) bool { return len(c.Names) == 0 })
	return nil
}
