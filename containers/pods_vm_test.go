//go:build vm

package containers

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/namespaces"
	"golang.org/x/sys/unix"

	"netd/containers/archive"
)

func TestPodLife(t *testing.T) {
	w := newWorld(t)
	w.startContainerd()
	look := shell("web-0", `hostname; echo "$HOSTNAME $COLOR"; cat /proc/self/cgroup; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; ip link | head -1; id -u; exec sleep 100000`)
	look.Env = map[string]string{"COLOR": "blue"}
	w.startRuntime(look, sleeper("web-1"))
	first := w.awaitRunning("web-0")
	other := w.awaitRunning("web-1")
	if first.Restarts != 0 || first.PID == 0 || first.Workload != "web" || first.Image != "web.tar" || len(first.Addresses) == 0 {
		t.Errorf("status: %+v", first)
	}
	w.eventually("the pod's output", func() bool { return strings.HasSuffix(w.podLog("web-0"), "\n0\n") })
	for _, want := range []string{"web-0\nweb-0 blue\n", "0::/\n", "NoNewPrivs:\t1", "Seccomp:\t2", "1: lo: <LOOPBACK,UP,LOWER_UP>", "\n0\n"} {
		if !strings.Contains(w.podLog("web-0"), want) {
			t.Errorf("output: want %q in:\n%s", want, w.podLog("web-0"))
		}
	}
	if b, err := os.ReadFile("/proc/" + itoa(first.PID) + "/cgroup"); err != nil || !strings.Contains(string(b), "/"+w.namespace()+"/web-0") {
		t.Errorf("cgroup: %s %v", b, err)
	}

	t.Log("the agent restarts")
	w.stop()
	if !alive(first.PID) {
		t.Fatal("the pod ended with the agent")
	}
	w.startRuntime(look, sleeper("web-1"))
	if got := w.awaitRunning("web-0"); got.PID != first.PID || got.Restarts != 0 {
		t.Errorf("after a restart: %+v, want pid %d", got, first.PID)
	}
	if got := w.awaitRunning("web-1"); got.PID != other.PID {
		t.Errorf("after a restart: %+v, want pid %d", got, other.PID)
	}

	t.Log("another command for web-0")
	w.rt.Set([]Spec{shell("web-0", "echo second; exec sleep 100000"), sleeper("web-1")})
	w.await("web-0", "another pid", func(s Status) bool { return s.State == StateRunning && s.PID != first.PID })
	w.eventually("the new output", func() bool { return strings.Contains(w.podLog("web-0"), "second") })
	if alive(first.PID) || !alive(other.PID) {
		t.Error("the wrong pod was replaced")
	}
	if w.network.teardowns("web-0") != 0 {
		t.Error("a replaced pod lost its network")
	}

	t.Log("web-0 is no longer wanted")
	w.rt.Set([]Spec{sleeper("web-1")})
	w.eventually("web-0 to go", func() bool { return len(w.rt.Status()) == 1 })
	if w.network.teardowns("web-0") != 1 {
		t.Errorf("teardowns of web-0: %d, want 1", w.network.teardowns("web-0"))
	}
	if _, err := os.Stat(filepath.Join(w.dir, "log", "web-0.log")); err == nil {
		t.Error("the log of web-0 is left")
	}

	t.Log("web-1 is no longer wanted after a restart")
	w.stop()
	w.startRuntime()
	w.eventually("web-1 to go", func() bool { return !alive(other.PID) && len(w.rt.Status()) == 0 })
	if left := w.processes(); len(left) != 0 {
		t.Errorf("processes left: %v", left)
	}
}

// What people expect of a pod who know Docker, all in one: facts has a line for each, as
// the pod sees it.
func TestPodIsAsDockerUsersExpect(t *testing.T) {
	w := newWorld(t)
	w.imageLike("user.tar", archive.Image{
		Arch: runtime.GOARCH, User: "app", Env: []string{"A=1"}, // without PATH
	}, archive.File{Path: "usr/bin/greet", Mode: 0o755, Data: []byte("#!/bin/sh\necho found by PATH\n")},
		archive.File{Path: "run/app/state", Data: []byte("of the image\n")}, archive.File{Path: "etc/resolv.conf", Data: []byte("nameserver 192.0.2.9\n")},
		archive.File{Path: "etc/passwd", Data: []byte("root:x:0:0::/:/bin/sh\napp:x:65532:65532::/:/bin/sh\n")})
	w.imageLike("quit.tar", archive.Image{Arch: runtime.GOARCH, StopSignal: "SIGQUIT"})
	w.startContainerd()
	const untilTold = "while ! grep -q 198.51.100.53 /etc/resolv.conf; do sleep 0.1; done; echo told; exec sleep 100000"
	asUser := shell("user-0", `id -u; ulimit -Sn; ulimit -Hn; greet; cat /run/app/state; cat /etc/resolv.conf; grep user-0 /etc/hosts; grep localhost /etc/hosts; cat /etc/hostname
ls /sys/fs/cgroup/pids.max; cat /proc/sys/net/ipv4/ping_group_range; nc -l -p 80 </dev/null & until nc -w5 localhost 80 </dev/null; do sleep 0.1; done; echo port 80; exec sleep 100000`)
	asUser.Image, asUser.StopTimeout = "user.tar", 0
	asRoot := shell("root-0", `mknod /tmp/null c 1 3 || echo no device; mkfifo /tmp/fifo && echo fifo
for f in /proc/kallsyms /proc/timer_list /proc/sched_debug /proc/iomem /proc/modules /proc/slabinfo; do [ -e $f ] && cat $f; done | wc -c; echo x >/proc/sysrq-trigger || echo no sysrq; `+untilTold)
	quit := shell("quit-0", "trap 'echo QUIT >/proc/1/fd/1; sleep 0.2; exit 0' QUIT; trap 'echo TERM' TERM; echo ready; while :; do sleep 0.1; done")
	quit.Image = "quit.tar"
	stubborn := shell("stubborn-0", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
	stubborn.StopTimeout, asRoot.StopTimeout = 0, 0
	w.startRuntime(asUser)
	w.awaitRunning("user-0")
	w.eventually("the output of user-0", func() bool { return strings.Contains(w.podLog("user-0"), "port 80") })
	for _, want := range []string{
		"65532\n1024\n524288\nfound by PATH\nof the image\nnameserver 192.0.2.9\n10.9.0.1\tuser-0\n2001:db8:9::1\tuser-0\n127.0.0.1\tlocalhost\n::1\tlocalhost",
		"user-0\n/sys/fs/cgroup/pids.max\n0\t2147483647\n",
	} {
		if !strings.Contains(w.podLog("user-0"), want) {
			t.Errorf("user-0: want %q in:\n%s", want, w.podLog("user-0"))
		}
	}

	w.rt.SetNameServers([]netip.Addr{netip.MustParseAddr("192.0.2.53")})
	w.rt.Set([]Spec{asRoot, quit, stubborn})
	w.awaitRunning("root-0")
	for _, want := range []string{"no device\nfifo\n0\n", "no sysrq"} {
		w.eventually("the output of root-0: "+want, func() bool { return strings.Contains(w.podLog("root-0"), want) })
	}
	w.rt.SetNameServers([]netip.Addr{netip.MustParseAddr("198.51.100.53")})
	w.eventually("the name server in root-0", func() bool { return strings.Contains(w.podLog("root-0"), "told") })
	for _, pod := range []string{"quit-0", "stubborn-0"} {
		w.eventually(pod, func() bool { return strings.Contains(w.podLog(pod), "ready") })
	}
	log, err := os.Open(filepath.Join(w.dir, "log", "quit-0.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // it goes with the pod
	begin := time.Now()
	w.rt.Set(nil)
	w.eventually("all pods to go", func() bool { return len(w.rt.Status()) == 0 })
	if b, err := io.ReadAll(log); err != nil || string(b) != "ready\nQUIT\n" {
		t.Errorf("quit-0 said %q, %v, want its image's signal", b, err)
	}
	t.Log("all were stopped in", time.Since(begin))
}

func TestPodEnds(t *testing.T) {
	w := newWorld(t)
	w.startContainerd()
	once := func(pod, script string, r Restart) Spec {
		s := shell(pod, script)
		s.Restart = r
		return s
	}
	done, failed := once("done-0", "echo all done; exit 0", RestartOnFailure), once("failed-0", "echo not done; exit 7", RestartNever)
	w.startRuntime(
		shell("bad-0", "echo bye; exit 3"), sleeper("web-0"), shell("always-0", "exit 0"), done, failed,
		Spec{Name: "n", Pod: "none-0", Image: "web.tar", Command: []string{"/none"}})
	w.await("bad-0", "two restarts", func(s Status) bool { return s.Restarts >= 2 })
	w.awaitReason("bad-0", "exited with code 3: bye")
	w.await("always-0", "a restart that is no failure", func(s Status) bool { return s.State == StateRestarting && s.Restarts > 0 })
	stay := func() {
		t.Helper()
		for pod, want := range map[string]Status{"done-0": {State: StateCompleted, Reason: "exited with code 0: all done"}, "failed-0": {State: StateFailed, Reason: "exited with code 7: not done"}} {
			if s := w.await(pod, string(want.State), func(s Status) bool { return s.State == want.State }); s.Restarts != 0 || s.PID != 0 || s.Reason != want.Reason {
				t.Errorf("%s: %+v", pod, s)
			}
		}
	}
	stay()
	if s := w.awaitReason("none-0", `exec: "/none": stat /none: no such file or directory`); strings.Contains(s.Reason, "failed") {
		t.Errorf("none-0: %q has more than what is wrong", s.Reason)
	}

	first := w.awaitRunning("web-0")
	if err := unix.Kill(int(first.PID), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.awaitReason("web-0", "ended by SIGKILL")
	second := w.await("web-0", "the next process", func(s Status) bool { return s.State == StateRunning && s.PID != first.PID })
	if second.Restarts != 1 {
		t.Errorf("restarts: %+v, want 1", second)
	}

	t.Log("its shim is killed")
	for _, pid := range w.processes() {
		args, _ := os.ReadFile("/proc/" + itoa(uint32(pid)) + "/cmdline")
		if strings.Contains(string(args), "\x00-id\x00web-0\x00") {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Errorf("kill the shim %d: %v", pid, err)
			}
		}
	}
	w.await("web-0", "the next process", func(s Status) bool { return s.State == StateRunning && s.PID != second.PID && s.PID != 0 })
	if alive(second.PID) {
		t.Error("the earlier process runs on")
	}

	t.Log("what is done stays done over a restart of the agent, until it is something else")
	w.stop()
	w.startRuntime(done, failed)
	stay()
	if got := strings.Count(w.podLog("done-0"), "all done"); got != 1 {
		t.Errorf("done-0 ran %d times, want once", got)
	}
	failed.Restart = RestartOnFailure
	w.rt.Set([]Spec{once("done-0", "echo another; exit 0", RestartOnFailure), failed})
	w.awaitReason("done-0", "exited with code 0: another")
	w.await("failed-0", "a restart", func(s Status) bool { return s.State == StateBackOff && s.Restarts > 0 })
}

func TestBadImagesDisturbNoOther(t *testing.T) {
	w := newWorld(t)
	w.image("other.tar", "riscv64")
	whole := w.image("cut.tar", runtime.GOARCH)
	st, err := os.Stat(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(whole, st.Size()/2); err != nil {
		t.Fatal(err)
	}
	spec := func(pod, image string) Spec { return Spec{Name: "w", Pod: pod, Image: image} }
	w.startContainerd()
	w.startRuntime(sleeper("web-0"), spec("other-0", "other.tar"), spec("cut-0", "cut.tar"), spec("none-0", "none.tar"), spec("up-0", "../web.tar"))
	w.awaitReason("other-0", "image other.tar: is for riscv64, expected "+runtime.GOARCH)
	w.awaitReason("cut-0", "image cut.tar: truncated")
	w.awaitReason("none-0", "image none.tar: no such file")
	w.awaitReason("up-0", "image ../web.tar: expected a file name")
	first := w.awaitRunning("web-0")

	w.image("none.tar", runtime.GOARCH)
	w.awaitRunning("none-0")
	if got := w.awaitRunning("web-0"); got.PID != first.PID {
		t.Errorf("web-0 was restarted: %+v", got)
	}
}

func TestContainerdKilled(t *testing.T) {
	w := newWorld(t)
	w.startContainerd()
	w.startRuntime(sleeper("web-0"))
	first := w.awaitRunning("web-0")
	w.killContainerd()
	got := w.awaitReason("web-0", "containerd does not answer on "+w.socket())
	if got.State != StateRunning || got.PID != first.PID || !alive(first.PID) {
		t.Errorf("with containerd away: %+v", got)
	}
	w.rt.Set([]Spec{sleeper("web-0"), sleeper("web-1")})
	w.await("web-1", "waiting", func(s Status) bool { return s.State == StateWaiting && strings.Contains(s.Reason, "does not answer") })
	w.startContainerd()
	if got := w.awaitRunning("web-0"); got.PID != first.PID || got.Restarts != 0 {
		t.Errorf("after containerd's restart: %+v, want pid %d", got, first.PID)
	}
	w.awaitRunning("web-1")
	if w.network.teardowns("web-0")+w.network.teardowns("web-1") != 0 {
		t.Error("a network was taken down")
	}

	t.Log("containerd ends by SIGTERM")
	w.stopContainerd()
	w.awaitReason("web-0", "containerd does not answer")
	w.startContainerd()
	if got := w.awaitRunning("web-0"); got.PID != first.PID {
		t.Errorf("after SIGTERM: %+v, want pid %d", got, first.PID)
	}

	t.Log("a pod ends while containerd is away")
	w.killContainerd()
	if err := unix.Kill(int(first.PID), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.startContainerd()
	w.await("web-0", "another pid", func(s Status) bool { return s.State == StateRunning && s.PID != first.PID })
}

// A power cut takes all processes and all that is in memory.
func TestReboot(t *testing.T) {
	w := newWorld(t)
	w.startContainerd()
	w.startRuntime(sleeper("web-0"), sleeper("gone-0"))
	first := w.awaitRunning("web-0")
	w.awaitRunning("gone-0")
	w.stop()
	w.killContainerd()
	w.killPods()

	w.startRuntime(sleeper("web-0"))
	w.await("web-0", "waiting", func(s Status) bool { return s.State == StateWaiting && strings.Contains(s.Reason, "does not answer") })
	w.startContainerd()
	if got := w.awaitRunning("web-0"); got.PID == first.PID {
		t.Errorf("after a reboot: %+v", got)
	}
	w.eventually("gone-0 to go", func() bool { return len(w.rt.Status()) == 1 })
	if w.network.teardowns("gone-0") != 1 {
		t.Errorf("teardowns of gone-0: %d, want 1", w.network.teardowns("gone-0"))
	}
}

func TestNetworkFails(t *testing.T) {
	w := newWorld(t)
	w.network.setFail(errors.New("the pool has no free address"))
	w.startContainerd()
	w.startRuntime(sleeper("web-0"))
	w.awaitReason("web-0", "set up the network of pod web-0: the pool has no free address")
	w.network.setFail(nil)
	first := w.awaitRunning("web-0")

	t.Log("at adoption, the pod runs on")
	w.stop()
	w.network.setFail(errors.New("not now"))
	w.startRuntime(sleeper("web-0"))
	got := w.awaitReason("web-0", "not now")
	if got.State != StateRunning || got.PID != first.PID {
		t.Errorf("at adoption: %+v, want pid %d running", got, first.PID)
	}
	w.network.setFail(nil)
	if got := w.awaitRunning("web-0"); got.PID != first.PID {
		t.Errorf("after it: %+v, want pid %d", got, first.PID)
	}

	t.Log("a pod in a network that is no more is made anew")
	w.stop()
	if err := w.network.Teardown(t.Context(), "web-0"); err != nil {
		t.Fatal(err)
	}
	w.startRuntime(sleeper("web-0"))
	w.await("web-0", "another pid", func(s Status) bool { return s.State == StateRunning && s.PID != first.PID && s.PID != 0 })
	if alive(first.PID) {
		t.Error("the pod in the old network runs on")
	}
}

func TestImages(t *testing.T) {
	w := newWorld(t)
	w.startContainerd()
	ctx := namespaces.WithNamespace(t.Context(), w.namespace())

	t.Log("the agent ends in the middle of an import")
	w.startRuntime(sleeper("web-0"))
	w.await("web-0", "the import", func(s Status) bool { return s.State != StateWaiting })
	w.stop()
	w.startRuntime(sleeper("web-0"))
	first := w.awaitRunning("web-0")

	t.Log("what containerd has stored is destroyed")
	blobs, err := filepath.Glob(filepath.Join(w.root, "io.containerd.content.v1.content/blobs/sha256/*"))
	if err != nil || len(blobs) == 0 {
		t.Fatalf("blobs: %v %v", blobs, err)
	}
	for _, b := range blobs {
		if err := os.Chmod(b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(b, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Kill(int(first.PID), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := w.await("web-0", "another pid", func(s Status) bool { return s.State == StateRunning && s.PID != first.PID })

	t.Log("the archive changes")
	w.stop()
	w.image("web.tar", runtime.GOARCH, archive.File{Path: "etc/new", Data: []byte("new\n")})
	w.startRuntime(shell("web-0", "cat /etc/new; exec sleep 100000"))
	third := w.await("web-0", "another pid", func(s Status) bool { return s.State == StateRunning && s.PID != second.PID && s.PID != 0 })
	w.eventually("the new file", func() bool { return strings.Contains(w.podLog("web-0"), "new\n") })
	w.stop()
	if err := os.Remove(filepath.Join(w.dir, "images", "web.tar")); err != nil {
		t.Fatal(err)
	}
	w.startRuntime(shell("web-0", "cat /etc/new; exec sleep 100000"))
	if got := w.awaitRunning("web-0"); got.PID != third.PID {
		t.Errorf("without its archive: %+v, want pid %d", got, third.PID)
	}

	t.Log("an image that no pod wants goes with all that it held")
	w.rt.Set(nil)
	w.eventually("the pod to go", func() bool { return len(w.rt.Status()) == 0 })
	w.rt.prune(ctx)
	w.eventually("the content to go", func() bool {
		blobs, err := filepath.Glob(filepath.Join(w.root, "io.containerd.content.v1.content/blobs/sha256/*"))
		snapshots, err2 := filepath.Glob(filepath.Join(w.root, "io.containerd.snapshotter.v1.overlayfs/snapshots/*"))
		return err == nil && err2 == nil && len(blobs) == 0 && len(snapshots) == 0
	})
}
