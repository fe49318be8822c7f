//go:build vm

package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netd/containers/archive"
	"netd/firmware/lab/patience"
)

// These tests run pods for real: containerd in a child process, its shim, runc.
// Programs come from NETD_BIN (default ../bin/ARCH): containers/build.sh.

// deadline bounds every wait; an emulated guest on a busy machine is slow.
const deadline = 3 * time.Minute

// serveEnv makes the test binary be containerd: ROOT:STATE:SOCKET.
const serveEnv = "NETD_TEST_SERVE"

func TestMain(m *testing.M) {
	if dirs := os.Getenv(serveEnv); dirs != "" {
		p := strings.Split(dirs, ":")
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
		defer stop()
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		if err := Serve(ctx, ServerOptions{Root: p[0], State: p[1], Socket: p[2]}, log); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fakeNetwork gives each pod an empty network namespace.
type fakeNetwork struct {
	dir string

	mu      sync.Mutex
	fail    error // of Setup
	removed map[string]int
}

func (n *fakeNetwork) setFail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail = err
}

func (n *fakeNetwork) teardowns(pod string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.removed[pod]
}

func (n *fakeNetwork) path(pod string) string { return filepath.Join(n.dir, pod) }

func (n *fakeNetwork) Setup(_ context.Context, pod string) (Sandbox, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil {
		return Sandbox{}, n.fail
	}
	s := Sandbox{NetnsPath: n.path(pod), Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("2001:db8:9::1")}}
	if err := unix.Access(s.NetnsPath, unix.F_OK); err == nil {
		return s, nil
	}
	if err := os.WriteFile(s.NetnsPath, nil, 0o444); err != nil {
		return s, err
	}
	out, err := exec.Command("unshare", "--net="+s.NetnsPath, "ip", "link", "set", "lo", "up").CombinedOutput()
	if err != nil {
		return s, fmt.Errorf("unshare: %w: %s", err, out)
	}
	return s, nil
}

func (n *fakeNetwork) Teardown(_ context.Context, pod string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removed[pod]++
	if err := unix.Unmount(n.path(pod), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := os.Remove(n.path(pod)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// world is one gateway's pods.
type world struct {
	t       *testing.T
	dir     string
	root    string
	log     *bytes.Buffer
	network *fakeNetwork

	serve *exec.Cmd
	rt    *Runtime
	stop  func()
}

// newWorld starts containerd and a Runtime and takes all down at the end.
func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root: go test -tags vm -exec vmrun")
	}
	dir, err := os.MkdirTemp("", "pods")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, root: filepath.Join(dir, "root"), log: new(bytes.Buffer), network: &fakeNetwork{
		dir: filepath.Join(dir, "netns"), removed: map[string]int{},
	}}
	for _, d := range []string{"netns", "images", "log"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(w.cleanup)
	w.image("web.tar", runtime.GOARCH)
	return w
}

func (w *world) cleanup() {
	if w.t.Failed() {
		for _, dir := range []string{"containerd.log", "log/*.log"} {
			files, _ := filepath.Glob(filepath.Join(w.dir, dir))
			for _, f := range files {
				b, _ := os.ReadFile(f)
				w.t.Logf("%s:\n%s", f, b)
			}
		}
		if w.rt != nil {
			w.t.Logf("status: %+v", w.rt.Status())
		}
	}
	if w.stop != nil {
		w.stop()
	}
	w.killContainerd()
	w.killPods()
	if err := os.RemoveAll(w.dir); err != nil {
		w.t.Errorf("clean up: %v", err)
	}
}

// image writes an archive of the machine's static busybox.
func (w *world) image(name, arch string, extra ...archive.File) string {
	w.t.Helper()
	return w.imageLike(name, archive.Image{Arch: arch, Env: []string{"PATH=/bin"}}, extra...)
}

func (w *world) imageLike(name string, like archive.Image, extra ...archive.File) string {
	w.t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		w.t.Fatalf("%v (package busybox-static)", err)
	}
	files := []archive.File{{Path: "bin/busybox", Mode: 0o755, Data: busybox}, {Path: "tmp/.keep"}}
	files = append(files, extra...)
	for _, applet := range []string{"sh", "sleep", "cat", "echo", "grep", "hostname", "id", "ip", "yes", "head", "ls", "mkfifo", "mknod", "nc", "ping", "seq", "wc"} {
		files = append(files, archive.File{Path: "bin/" + applet, Link: "busybox"})
	}
	like.Entrypoint, like.Cmd, like.Files = []string{"/bin/sh", "-c"}, []string{"trap exit TERM; sleep 100000 & wait"}, files
	var buf bytes.Buffer
	if err := archive.Write(&buf, like); err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.dir, "images", name)
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) socket() string { return filepath.Join(w.dir, "c.sock") }

// namespace is w's own: runc keeps its state under it, outside w.dir.
func (w *world) namespace() string { return filepath.Base(w.dir) }

func (w *world) state() string { return filepath.Join(w.dir, "state") }

func (w *world) serveCommand() *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), serveEnv+"="+w.root+":"+w.state()+":"+w.socket())
	return cmd
}

func (w *world) startContainerd() {
	w.t.Helper()
	log, err := os.OpenFile(filepath.Join(w.dir, "containerd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	w.serve = w.serveCommand()
	w.serve.Stderr = log
	if err := w.serve.Start(); err != nil {
		w.t.Fatal(err)
	}
}

// stopContainerd ends containerd as init does, and expects that it obeys.
func (w *world) stopContainerd() {
	w.t.Helper()
	if err := w.serve.Process.Signal(unix.SIGTERM); err != nil {
		w.t.Errorf("SIGTERM to containerd: %v", err)
	}
	ctx, cancel := patience.Context(context.Background(), deadline)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = w.serve.Process.Kill() })()
	if err := w.serve.Wait(); err != nil {
		w.t.Errorf("containerd after SIGTERM: %v", err)
	}
	w.serve = nil
}

func (w *world) killContainerd() {
	if w.serve == nil {
		return
	}
	_ = w.serve.Process.Kill()
	_ = w.serve.Wait() // it was killed
	w.serve = nil
}

// processes finds what w has started: shims by their arguments, pods by their cgroup.
func (w *world) processes() []int {
	var pids []int
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		pid, _ := strconv.Atoi(filepath.Base(p))
		args, _ := os.ReadFile(p + "/cmdline")
		root, _ := os.Readlink(p + "/ns/net")
		if bytes.Contains(args, []byte("-address\x00"+w.socket())) || w.ownNetwork(root) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (w *world) ownNetwork(link string) bool {
	files, _ := filepath.Glob(w.network.path("*"))
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && link == fmt.Sprintf("net:[%d]", st.Sys().(*syscall.Stat_t).Ino) {
			return true
		}
	}
	return false
}

// killPods ends shims and pods, as a power cut does, and forgets what was in memory.
func (w *world) killPods() {
	for i := 0; i < 100; i++ {
		pids := w.processes()
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
		<-time.After(10 * time.Millisecond)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	lines := strings.Split(string(mounts), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if f := strings.Fields(lines[i]); len(f) > 4 && strings.HasPrefix(f[4], w.dir+"/") && f[4] != w.root {
			_ = unix.Unmount(f[4], unix.MNT_DETACH)
		}
	}
	os.RemoveAll(w.state())
	os.RemoveAll(filepath.Join("/run/containerd/runc", w.namespace()))
	nets, _ := filepath.Glob(w.network.path("*"))
	for _, f := range nets {
		_ = os.Remove(f)
	}
}

func (w *world) startRuntime(pods ...Spec) {
	w.t.Helper()
	bin := os.Getenv("NETD_BIN")
	if bin == "" {
		bin = filepath.Join("..", "bin", runtime.GOARCH)
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, program := range []string{"containerd-shim-runc-v2", "runc"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			w.t.Fatalf("%v: run containers/build.sh %s %s", err, runtime.GOARCH, bin)
		}
	}
	w.rt = New(Options{
		Socket: w.socket(), Namespace: w.namespace(), ImageDir: filepath.Join(w.dir, "images"), LogDir: filepath.Join(w.dir, "log"), FilesDir: filepath.Join(w.dir, "files"),
		Shim: filepath.Join(bin, "containerd-shim-runc-v2"), Runc: filepath.Join(bin, "runc"),
		Network: w.network, Log: slog.New(slog.NewTextHandler(testWriter{w.t}, nil)), LogBytes: 1 << 20,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.rt.Run(ctx) }()
	w.stop = func() {
		w.stop = nil
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.t.Errorf("Run: %v", err)
			}
		case <-patience.After(deadline):
			w.t.Error("Run did not return")
		}
	}
	w.rt.Set(pods)
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimRight(b, "\n"))
	return len(b), nil
}

// await waits until the pod's status is as ok says.
func (w *world) await(pod, what string, ok func(Status) bool) Status {
	w.t.Helper()
	end := patience.After(deadline)
	for {
		for _, s := range w.rt.Status() {
			if s.Pod == pod && ok(s) {
				return s
			}
		}
		select {
		case <-w.rt.Changed():
		case <-time.After(100 * time.Millisecond):
		case <-end:
			w.t.Fatalf("pod %s: waited for %s; status %+v", pod, what, w.rt.Status())
		}
	}
}

func (w *world) awaitRunning(pod string) Status {
	w.t.Helper()
	return w.await(pod, "running", func(s Status) bool { return s.State == StateRunning && s.Reason == "" })
}

func (w *world) awaitReason(pod, reason string) Status {
	w.t.Helper()
	return w.await(pod, "reason "+reason, func(s Status) bool { return strings.Contains(s.Reason, reason) })
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := patience.After(deadline); !ok(); {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-end:
			w.t.Fatalf("waited for %s", what)
		}
	}
}

func (w *world) podLog(pod string) string {
	b, err := os.ReadFile(filepath.Join(w.dir, "log", pod+".log"))
	if err != nil {
		w.t.Log(err)
	}
	return string(b)
}

func alive(pid uint32) bool { return unix.Kill(int(pid), 0) == nil }

func sleeper(pod string) Spec {
	return Spec{Name: "web", Pod: pod, Image: "web.tar", StopTimeout: 10 * time.Second}
}

func shell(pod, script string) Spec {
	return Spec{Name: "web", Pod: pod, Image: "web.tar", Args: []string{script}, StopTimeout: 10 * time.Second}
}
