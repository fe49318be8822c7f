//go:build net || vm

package cage

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"netd/netd/internal/ownnet"
)

func itoa(n int) string { return strconv.Itoa(n) }

// port is what the probes' cage leaves open: they have given up the capability
// for one below 1024.
const port = 1790

// TestMain makes this binary a process that tries one thing, if it is called so:
// "probe LAYERS DIR PARENT NAME".
func TestMain(m *testing.M) {
	if len(os.Args) == 6 && os.Args[1] == "probe" {
		os.Exit(runProbe(os.Args[2], os.Args[3], os.Args[4], os.Args[5]))
	}
	os.Exit(m.Run())
}

// layers of the cage that can be entered alone.
func layers() map[string]func(Config) error {
	return map[string]func(Config) error{
		"none":     func(Config) error { return DropCapabilities() },
		"landlock": func(c Config) error { return errors.Join(noNewPrivileges(), c.landlock(), DropCapabilities()) },
		"cage":     func(c Config) error { return errors.Join(Enter(c), DropCapabilities()) },
		"BFD's": func(c Config) error {
			c.Work, c.Listen, c.Connect = Datagrams, nil, nil
			return errors.Join(Enter(c), DropCapabilities())
		},
		"small": func(c Config) error { return errors.Join(setLimit(unix.RLIMIT_DATA, smallMemory), Enter(c)) },
	}
}

// smallMemory in octets is less than the cage gives: the machine has others on it.
const smallMemory = 200 << 20

func runProbe(layer, dir, parent, name string) int {
	pid, err := strconv.Atoi(parent)
	if err != nil {
		panic(err)
	}
	all := slices.Concat(fileProbes(), processProbes(), kernelProbes(), networkProbes(), portProbes(), workProbes(), datagramProbes(), []probe{{name: "take all memory", try: takeAll}})
	i := slices.IndexFunc(all, func(p probe) bool { return p.name == name })
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := layers()[layer](Config{Listen: []uint16{0, port}, Connect: []uint16{port}, Log: log}); err != nil {
		panic(err)
	}
	err = all[i].try(probeEnv{dir, pid})
	var errno syscall.Errno
	if err != nil && !errors.As(err, &errno) {
		panic(err)
	}
	fmt.Printf("outcome %d\n", errno)
	return 0
}

// caged is this binary as a process like the speaker's.
func caged(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	// The user can not enter the folder that go test builds in: by a descriptor it can.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = self.Close() })
	cmd := exec.Command("/proc/self/fd/3", args...)
	cmd.ExtraFiles = []*os.File{self}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 179, Gid: 179},
		AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE},
	}
	return cmd
}

// try runs a probe.
func try(t *testing.T, layer, name string) (outcome, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cage-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := errors.Join(os.Chmod(dir, 0o777), os.WriteFile(filepath.Join(dir, "file"), nil, 0o666), os.Chmod(filepath.Join(dir, "file"), 0o666)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err == nil {
		err = os.Chmod(filepath.Join(dir, "socket"), 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	cmd := caged(t, "probe", layer, dir, itoa(os.Getpid()), name)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() && status.Signal() == unix.SIGSYS {
			return killed, string(out)
		}
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	_, number, _ := strings.Cut(string(out), "outcome ")
	n, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil {
		t.Fatalf("%s: printed %q", name, out)
	}
	return outcome(n), string(out)
}

// ready brings up what the probes use.
func ready(t *testing.T) {
	t.Helper()
	ownnet.Command(t, "ip link set lo up")
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
}

// expect runs the probes, two at a time.
func expect(t *testing.T, layer string, probes []probe, want func(probe) outcome) {
	t.Helper()
	var all errgroup.Group
	all.SetLimit(2)
	for _, p := range probes {
		all.Go(func() error {
			if got, out := try(t, layer, p.name); got != want(p) {
				t.Errorf("layer %s: %s: %v, want %v\n%s", layer, p.name, got, want(p), out)
			}
			return nil
		})
	}
	_ = all.Wait()
}

// escapes: what a process in the cage must not do fails, each thing in the way
// that is expected. Without the cage the harmless ones succeed, so it is the cage.
func escapes(t *testing.T) {
	ready(t)
	forbidden := slices.Concat(fileProbes(), processProbes(), kernelProbes(), networkProbes())
	abi, err := landlockABI()
	if err != nil {
		t.Fatal(err)
	}
	if abi >= abiPorts {
		forbidden = append(forbidden, portProbes()...)
	}
	t.Logf("%d things, Landlock ABI %d", len(forbidden), abi)
	expect(t, "cage", forbidden, func(p probe) outcome { return p.want })
	free := slices.DeleteFunc(forbidden, func(p probe) bool { return !p.free })
	expect(t, "none", free, func(probe) outcome { return done })
	expect(t, "BFD's", datagramProbes(), func(p probe) outcome { return p.want })
}

// works: what a speaker does succeeds.
func works(t *testing.T) {
	ready(t)
	expect(t, "cage", workProbes(), func(p probe) outcome { return p.want })
}

// landlockAlone: where the cage's files are shut by seccomp, Landlock would do.
func landlockAlone(t *testing.T) {
	ready(t)
	byLandlock := []string{
		"read /etc/passwd", "list /", "make a file", "append to a file", "make a folder", "link to a file", "make a pipe with a name", "remove a file",
		"become another program",
	}
	probes := slices.DeleteFunc(slices.Concat(fileProbes(), processProbes()), func(p probe) bool { return !slices.Contains(byLandlock, p.name) })
	abi, err := landlockABI()
	if err != nil {
		t.Fatal(err)
	}
	if abi >= abiPorts {
		probes = append(probes, portProbes()...)
	}
	expect(t, "landlock", probes, func(probe) outcome { return eacces })
	expect(t, "landlock", workProbes(), func(p probe) outcome { return p.want })
}

// memoryLimit: a process that goes on taking memory ends, at the limit.
func memoryLimit(t *testing.T) {
	cmd := caged(t, "probe", "small", "/", "0", "take all memory")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "out of memory") && !strings.Contains(string(out), "cannot allocate memory") {
		t.Errorf("it did not end for lack of memory: %v\n%.2000s", err, out)
	}
	// What can not be written to is not counted: the program itself.
	if peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10; peak > smallMemory+32<<20 {
		t.Errorf("it had %d MB, of at most %d", peak>>20, smallMemory>>20)
	}
}
