//go:build vm

package containers

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"netd/firmware/lab/patience"
)

func itoa(n uint32) string { return fmt.Sprint(n) }

// A full data partition is told, survived, and tried again.
func TestDiskFull(t *testing.T) {
	w := newWorld(t)
	if err := os.Mkdir(w.root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", w.root, "tmpfs", 0, "size=40m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(w.root, unix.MNT_DETACH) })
	w.startContainerd()
	w.startRuntime(sleeper("web-0"))
	first := w.awaitRunning("web-0")
	ballast := filepath.Join(w.root, "ballast")
	fill(t, ballast)
	w.image("second.tar", runtime.GOARCH)
	second := Spec{Name: "second", Pod: "second-0", Image: "second.tar"}
	w.rt.Set([]Spec{sleeper("web-0"), second})
	w.awaitReason("second-0", "no space left on device")
	if got := w.awaitRunning("web-0"); got.PID != first.PID {
		t.Errorf("web-0 was restarted: %+v", got)
	}

	t.Log("containerd and a pod are started again with the disk full")
	w.killContainerd()
	w.startContainerd()
	w.await("second-0", "containerd's return", func(s Status) bool { return strings.Contains(s.Reason, "no space left") })
	if got := w.awaitRunning("web-0"); got.PID != first.PID {
		t.Errorf("web-0 was restarted: %+v", got)
	}
	fill(t, ballast+"2")
	if err := unix.Kill(int(first.PID), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.await("web-0", "its end", func(s Status) bool { return s.PID != first.PID })

	for _, f := range []string{ballast, ballast + "2"} {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	w.awaitRunning("second-0")
	w.awaitRunning("web-0")
}

func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 64<<10); len(chunk) > 0; {
		if _, err := f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
}

func TestBrokenDatabase(t *testing.T) {
	w := newWorld(t)
	w.startContainerd()
	w.startRuntime(sleeper("web-0"))
	w.awaitRunning("web-0")
	w.stop()
	w.killContainerd()
	w.killPods()
	for _, db := range []string{"io.containerd.metadata.v1.bolt/meta.db", "io.containerd.snapshotter.v1.overlayfs/metadata.db"} {
		path := filepath.Join(w.root, db)
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, st.Size()/2+100); err != nil {
			t.Fatal(err)
		}
	}
	w.startContainerd()
	w.startRuntime(sleeper("web-0"))
	w.awaitRunning("web-0")
	b, err := os.ReadFile(filepath.Join(w.dir, "containerd.log"))
	if err != nil || !strings.Contains(string(b), "what containerd keeps is broken") {
		t.Errorf("containerd did not say that its database is broken: %v\n%s", err, b)
	}
}

// One line and a failure, at once.
func TestServeErrors(t *testing.T) {
	w := newWorld(t)
	w.startContainerd()
	w.startRuntime(sleeper("web-0"))
	w.awaitRunning("web-0")
	wait := func(want string, change func(*world, *syscall.SysProcAttr)) {
		t.Helper()
		other := *w
		attr := &syscall.SysProcAttr{}
		change(&other, attr)
		cmd := other.serveCommand()
		cmd.SysProcAttr = attr
		var out bytes.Buffer
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { defer close(ended); _ = cmd.Wait() }() // how it ended is in ProcessState
		select {
		case <-ended:
		case <-patience.After(deadline):
			_ = cmd.Process.Kill()
			t.Errorf("did not end, expected %q", want)
			return
		}
		if got := strings.TrimSpace(out.String()); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(got, want) || strings.Contains(got, "\n") {
			t.Errorf("exit %d, got:\n%s\nwant one line with %q", cmd.ProcessState.ExitCode(), got, want)
		}
	}
	wait("run containerd: another containerd uses "+w.root, func(*world, *syscall.SysProcAttr) {})
	wait("run containerd: another process listens on "+w.socket(), func(o *world, _ *syscall.SysProcAttr) { o.root += "2" })
	wait("run containerd: needs root", func(_ *world, a *syscall.SysProcAttr) {
		a.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	})

	small := filepath.Join(w.dir, "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(small, unix.MNT_DETACH) }()
	fill(t, filepath.Join(small, "ballast"))
	wait("no space left on device", func(o *world, _ *syscall.SysProcAttr) { o.root, o.dir = filepath.Join(small, "root"), w.dir+"/other" })

	t.Log("a socket that was left behind is no reason")
	w.stop()
	w.killContainerd()
	l, err := net.Listen("unix", w.socket()+".stale")
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if err := os.Rename(w.socket()+".stale", w.socket()); err != nil {
		t.Fatal(err)
	}
	w.startContainerd()
	w.startRuntime(sleeper("web-0"))
	w.awaitRunning("web-0")
}

// A pod may write what it wants: its logs are bounded and it does not wait.
func TestLogsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.startContainerd()
	w.startRuntime(shell("loud-0", "yes | head -c 30000000; echo done; exec sleep 100000"))
	w.awaitRunning("loud-0")
	w.eventually("the end of the output", func() bool {
		for _, file := range []string{"loud-0.log", "loud-0.log.1"} {
			if st, err := os.Stat(filepath.Join(w.dir, "log", file)); err == nil && st.Size() > 32<<10 {
				t.Fatalf("%s has %d octets", file, st.Size())
			}
		}
		return strings.HasSuffix(w.podLog("loud-0"), "done\n")
	})
	if st, err := os.Stat(filepath.Join(w.dir, "log", "loud-0.log.1")); err != nil || st.Size() > 32<<10 {
		t.Errorf("the older log: %v, %v", st, err)
	}
}
