package boot

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netd/firmware/lab/patience"
)

// output is a console that a test can read while it is written to.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// rig is a supervisor with real processes.
type rig struct {
	*Supervisor
	t       *testing.T
	dir     string
	console *output
}

// newRig runs shell scripts by name, one service each, in the folder rig.dir.
func newRig(t *testing.T, scripts ...[2]string) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), console: &output{}}
	var services []Service
	for _, s := range scripts {
		services = append(services, Service{Name: s[0], Argv: []string{"/bin/sh", "-c", "cd " + r.dir + "; " + s[1]}})
	}
	r.Supervisor = NewSupervisor(services, r.dir, []string{"PATH=" + os.Getenv("PATH")}, r.console)
	t.Cleanup(func() { r.Stop(func() {}) })
	return r
}

// until steps the supervisor until a condition holds.
func (r *rig) until(what string, holds func() bool) {
	r.t.Helper()
	deadline := patience.After(15 * time.Second)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-r.Wake():
			r.Step()
		case <-look.C:
		case <-deadline:
			r.t.Fatalf("%s: not within 15 s; console:\n%s", what, r.console)
		}
	}
}

func (r *rig) read(name string) string {
	b, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		return ""
	}
	return string(b)
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestServiceIsStartedAgain(t *testing.T) {
	r := newRig(t, [2]string{"once", "echo x >>runs; exit 3"})
	r.until("three runs", func() bool { return strings.Count(r.read("runs"), "x") >= 3 })
	for _, want := range []string{"once ended: exit status 3; again in 250ms", "again in 500ms"} {
		if !strings.Contains(r.console.String(), want) {
			t.Errorf("console: no %q in:\n%s", want, r.console)
		}
	}
}

func TestKilledServiceIsStartedAgain(t *testing.T) {
	r := newRig(t, [2]string{"stay", "echo $$ >>pids; exec sleep 1000"}, [2]string{"other", "echo $$ >>others; exec sleep 1000"})
	pids := func() []string { return strings.Fields(r.read("pids")) }
	r.until("a first run", func() bool { return len(pids()) == 1 && r.read("others") != "" })
	pid, err := strconv.Atoi(pids()[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.until("a second run", func() bool { return len(pids()) == 2 })
	if alive(pid) {
		t.Errorf("process %d was not reaped", pid)
	}
	if !strings.Contains(r.console.String(), "stay ended: signal SIGKILL; again in 250ms") {
		t.Errorf("console:\n%s", r.console)
	}
	if n := len(strings.Fields(r.read("others"))); n != 1 {
		t.Errorf("the other service was started %d times", n)
	}
}

// A service that waits for a file is started when it comes, or when something has failed.
func TestServiceAfterAFile(t *testing.T) {
	r := newRig(t, [2]string{"maker", "until test -e go; do sleep 0.05; done; touch file; exec sleep 1000"}, [2]string{"late", "ls file >found; exec sleep 1000"})
	r.services[1].After = filepath.Join(r.dir, "file")
	r.until("the first one", func() bool { return r.services[0].pid != 0 })
	if r.services[1].pid != 0 {
		t.Error("started without its file")
	}
	if err := os.WriteFile(filepath.Join(r.dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.until("the other one", func() bool { return r.read("found") == "file\n" })

	r = newRig(t, [2]string{"broken", "exit 1"}, [2]string{"late", "echo x >found; exec sleep 1000"})
	r.services[1].After = filepath.Join(r.dir, "file")
	r.until("one that waits while another fails", func() bool { return r.read("found") != "" })
}

// A program that can not be started is tried again, and the others run.
func TestMissingProgramKeepsNobodyElse(t *testing.T) {
	r := newRig(t, [2]string{"good", "echo x >>runs; exec sleep 1000"})
	r.services = append([]*service{{Service: Service{Name: "bad", Argv: []string{"/none"}}}}, r.services...)
	r.until("the good one", func() bool { return r.read("runs") != "" })
	r.until("another try", func() bool {
		return strings.Count(r.console.String(), "start bad: /none: no such file or directory") >= 2
	})
}

func TestStopIsInReverseOrderAndFinal(t *testing.T) {
	r := newRig(t,
		[2]string{"first", "trap 'echo first >>order; exit' TERM; echo x >>up; while :; do sleep 0.01; done"},
		[2]string{"second", "trap 'echo second >>order; exit' TERM; echo x >>up; while :; do sleep 0.01; done"})
	r.until("both up", func() bool { return strings.Count(r.read("up"), "x") == 2 })
	ticks := 0
	r.Stop(func() { ticks++ })
	if got := r.read("order"); got != "second\nfirst\n" {
		t.Errorf("order: got %q", got)
	}
	r.Step()
	for _, s := range r.services {
		if s.pid != 0 {
			t.Errorf("%s was started after Stop", s.Name)
		}
	}
	if ticks == 0 {
		t.Error("the watchdog was not fed")
	}
}

// An orphan's new parent is PID 1, here by PR_SET_CHILD_SUBREAPER.
func TestOrphanIsReaped(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }()
	r := newRig(t, [2]string{"parent", "(sleep 0.2 & echo $! >orphan); exec sleep 1000"})
	var pid int
	r.until("an orphan", func() bool { n, _ := fmt.Sscan(r.read("orphan"), &pid); return n == 1 })
	r.until("its reaping", func() bool { return !alive(pid) })
	if strings.Contains(r.console.String(), "ended") {
		t.Errorf("console:\n%s", r.console)
	}
}

func TestOutputGoesToTheLogAndWarningsToTheConsole(t *testing.T) {
	r := newRig(t, [2]string{"talk", `echo 'time=x level=INFO msg=quiet'; echo 'time=x level=WARN msg=loud' >&2
		echo 'panic: at last'; printf 'no end of line'; exec sleep 1000`})
	r.until("the log", func() bool {
		return strings.Contains(r.read("talk.log"), "no end of line") || strings.Contains(r.read("talk.log"), "at last")
	})
	for _, want := range []string{"talk: time=x level=WARN msg=loud\r\n", "talk: panic: at last\r\n"} {
		if !strings.Contains(r.console.String(), want) {
			t.Errorf("console: no %q in:\n%s", want, r.console)
		}
	}
	if strings.Contains(r.console.String(), "quiet") || !strings.Contains(r.read("talk.log"), "quiet") {
		t.Errorf("console:\n%s\nlog:\n%s", r.console, r.read("talk.log"))
	}
}

func TestLogIsRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("y"), 1000)
	for range 2500 {
		if err := l.write(line); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{path, path + ".1"} {
		st, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() > logSize || st.Size() == 0 {
			t.Errorf("%s: %d octets", p, st.Size())
		}
	}
}

func TestBackOffGrowsAndIsForgotten(t *testing.T) {
	now := time.Now()
	s := newService(Service{})
	var got []time.Duration
	for range 9 {
		s.pid, s.started = 1, now.Add(-time.Second)
		s.ended(now)
		got = append(got, s.pause)
	}
	if got[0] != firstBackOff || got[1] != 2*firstBackOff || got[8] != lastBackOff {
		t.Errorf("quick ends: got %v", got)
	}
	s.pid, s.started = 1, now.Add(-time.Minute)
	if s.ended(now); s.pause != firstBackOff {
		t.Errorf("after a minute: got %v, want %v", s.pause, firstBackOff)
	}
}
