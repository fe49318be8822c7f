package boot

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netd/firmware/lab/patience"
	"netd/netd/layout"
	"netd/netd/outlet"
)

// terminal makes a pseudo-terminal: tty is the console, line the serial line's far end.
func terminal(t *testing.T) (line *os.File, tty int) {
	t.Helper()
	open := func(path string, flags int) int {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|flags, 0)
		if err != nil {
			t.Fatalf("open %s: %v", path, err)
		}
		return fd
	}
	far := open("/dev/ptmx", unix.O_NONBLOCK) // so that a read of the file has a deadline
	line = os.NewFile(uintptr(far), "ptmx")
	t.Cleanup(func() { _ = line.Close() })
	if err := unix.IoctlSetPointerInt(far, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(far, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return line, open(fmt.Sprintf("/dev/pts/%d", n), 0)
}

// flow stops the output to a terminal (unix.TCOOFF) or lets it go on (unix.TCOON).
func flow(t *testing.T, tty, action int) {
	t.Helper()
	if err := unix.IoctlSetInt(tty, unix.TCXONC, action); err != nil {
		t.Fatal(err)
	}
}

// promptly fails if f waits.
func promptly(t *testing.T, what string, f func()) {
	t.Helper()
	watch := patience.Start()
	defer watch.Stop()
	if f(); watch.Took()-watch.Lost() > time.Second {
		t.Errorf("%s took %s", what, watch)
	}
}

// A console that was stopped (Ctrl-S) keeps PID 1 from nothing; when it goes on, all is
// there, in order.
func TestStoppedConsole(t *testing.T) {
	line, tty := terminal(t)
	flow(t, tty, unix.TCOOFF)
	console := os.NewFile(uintptr(tty), "console")
	t.Cleanup(func() { _ = console.Close() })
	in := &initProcess{console: speech{outlet.New(console, consoleRoom)}}
	promptly(t, "a hundred words", func() {
		for i := range 100 {
			in.say("word %d", i)
		}
	})
	r := newRig(t, [2]string{"loud", "echo level=error msg=ouch; echo >>runs; exit 1"})
	r.Supervisor.console = in.console
	r.until("two runs", func() bool { return strings.Count(r.read("runs"), "\n") >= 2 })
	promptly(t, "the end of the services", func() { r.Stop(func() {}) })
	begin := time.Now()
	in.flush()
	if took := time.Since(begin); took < flushTimeout || took > flushTimeout+time.Second {
		t.Errorf("the way down waited %s for the console, want %s", took, flushTimeout)
	}
	flow(t, tty, unix.TCOON)
	var want strings.Builder
	for i := range 100 {
		fmt.Fprintf(&want, "netd init: word %d\r\n", i)
	}
	lift := patience.Limit(line, 10*time.Second)
	defer lift()
	var got bytes.Buffer
	for b := make([]byte, 4096); got.Len() < want.Len(); {
		n, err := line.Read(b)
		if got.Write(b[:n]); err != nil {
			t.Fatalf("%v after\n%s", err, got.String())
		}
	}
	if text := strings.ReplaceAll(got.String(), "\r\r\n", "\r\n"); !strings.HasPrefix(text, want.String()) {
		t.Errorf("the console says\n%s\nwant\n%s", text, want.String())
	}
}

// A console that was stopped takes nothing from another one.
func TestStoppedConsoleBesideAnother(t *testing.T) {
	_, tty := terminal(t)
	flow(t, tty, unix.TCOOFF)
	stopped := os.NewFile(uintptr(tty), "console")
	t.Cleanup(func() { _ = stopped.Close() })
	var other output
	in := &initProcess{console: speech{outlet.New(stopped, consoleRoom), outlet.New(&other, consoleRoom)}}
	promptly(t, "a word", func() { in.say("word") })
	in.flush()
	if got := other.String(); got != "netd init: word\r\n" {
		t.Errorf("the other one says %q", got)
	}
	flow(t, tty, unix.TCOON)
}

// What a daemon has for the console is said as it is, and once.
func TestLinesToTheConsole(t *testing.T) {
	log, err := openLog(filepath.Join(t.TempDir(), "run.log"))
	if err != nil {
		t.Fatal(err)
	}
	var console output
	copyLines(strings.NewReader("level=INFO msg=quiet\n"+layout.ToConsole+"netd gw-a: GOOD\nlevel=WARN msg=loud\n"), "run", log, &console)
	if got, want := console.String(), "netd gw-a: GOOD\r\nrun: level=WARN msg=loud\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
