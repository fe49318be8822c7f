package store

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// writerFile, in the environment, makes the test binary the writer of that file.
const writerFile = "STORE_TEST_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerFile); path != "" {
		if err := writer(path); err != nil {
			fmt.Fprintln(os.Stderr, "writer:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const writerPods = 8

// turnOf is what a pod is given in a turn: another address each time, and each seventh
// time none.
func turnOf(pod, turn int) []netip.Addr {
	if turn%7 == 0 {
		return nil
	}
	return []netip.Addr{netip.AddrFrom4([4]byte{10, byte(pod), byte(turn >> 8), byte(turn)})}
}

// writer gives pods addresses, several at once, and says what is durable, until its
// input ends.
func writer(path string) error {
	l := &log{}
	db := Open(options(path, l))
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	for turn := 1; ; turn++ {
		var all [writerPods]<-chan error
		for pod := range all {
			all[pod] = db.Put(fmt.Sprint("web-", pod), turnOf(pod, turn), nil)
		}
		for pod, done := range all {
			if err := <-done; err != nil {
				return fmt.Errorf("%w\n%s", err, l)
			}
			fmt.Println(pod, turn)
		}
		select {
		case <-stop:
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			return db.Close(ctx)
		default:
		}
	}
}

// child is a running writer.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	errs  bytes.Buffer
	lines *bufio.Scanner
	acked [writerPods]int // the last turn that was durable
}

func newWriter(t *testing.T, path string) *child {
	t.Helper()
	c := &child{cmd: exec.CommandContext(t.Context(), os.Args[0])}
	c.cmd.Env = append(os.Environ(), writerFile+"="+path)
	c.cmd.Stderr = &c.errs
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.lines = bufio.NewScanner(out)
	return c
}

// next reads what became durable; it is false at the writer's end.
func (c *child) next(t *testing.T) bool {
	t.Helper()
	if !c.lines.Scan() {
		return false
	}
	var pod, turn int
	if _, err := fmt.Sscan(c.lines.Text(), &pod, &turn); err != nil || pod >= writerPods {
		return true // The line was cut by the writer's end.
	}
	c.acked[pod] = turn
	return true
}

// check compares what the file says with what the writer said: each pod has what was
// durable, or what it was given next.
func (c *child) check(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, damage := look(content)
	if len(damage) > 0 {
		t.Errorf("damage: %q", damage)
	}
	for pod, turn := range c.acked {
		got := fmt.Sprint(s.pods[fmt.Sprint("web-", pod)])
		if now, next := fmt.Sprint(turnOf(pod, turn)), fmt.Sprint(turnOf(pod, turn+1)); got != now && got != next {
			t.Errorf("web-%d has %s; durable was %s (turn %d), next %s", pod, got, now, turn, next)
		}
	}
}

// A writer that is killed at any moment leaves what it has said.
func TestKilled(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	path := filepath.Join(t.TempDir(), "state.db")
	for range 15 {
		c := newWriter(t, path)
		for range 1 + r.IntN(60) {
			if !c.next(t) {
				t.Fatalf("the writer has ended: %s", &c.errs)
			}
		}
		timer := time.AfterFunc(time.Duration(r.IntN(3000))*time.Microsecond, func() { _ = c.cmd.Process.Kill() })
		for c.next(t) {
		}
		timer.Stop()
		_ = c.cmd.Wait()
		c.check(t, path)
	}
}

// change is what somebody does to a file.
type change struct {
	name string
	make func(file string) error
}

func changes() []change {
	noise := bytes.Repeat([]byte("noise"), 1000)
	over := func(file string, at int64) error {
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		_, err = f.WriteAt(noise, at)
		return err
	}
	return []change{
		{"cut to nothing", func(file string) error { return os.Truncate(file, 0) }},
		{"cut to a page", func(file string) error { return os.Truncate(file, 4096) }},
		{"made large", func(file string) error { return os.Truncate(file, 1<<36) }},
		{"overwritten at the beginning", func(file string) error { return over(file, 0) }},
		{"overwritten in the pages", func(file string) error { return over(file, 9000) }},
		{"deleted", os.Remove},
		{"replaced", func(file string) error {
			_ = os.Remove(file)
			return os.WriteFile(file, noise, 0o600)
		}},
		{"a folder", func(file string) error {
			_ = os.Remove(file)
			return os.Mkdir(file, 0o700)
		}},
		{"a pipe", func(file string) error {
			_ = os.Remove(file)
			return syscall.Mkfifo(file, 0o600)
		}},
		{"a link", func(file string) error {
			_ = os.Remove(file)
			return os.Symlink("/dev/zero", file)
		}},
	}
}

// Whatever becomes of the file while it is in use, the writer goes on, and at its end
// the file says all.
func TestChangedInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	c := newWriter(t, path)
	for range 3 {
		for _, ch := range changes() {
			for _, file := range []string{path, path + ".spare"} {
				for range 2 * writerPods { // There are both now.
					if !c.next(t) {
						t.Fatalf("%s %s: the writer has ended: %s", file, ch.name, &c.errs)
					}
				}
				// The file may just be exchanged for the other: then it is no error
				// that it is not there.
				if err := ch.make(file); err != nil && !os.IsNotExist(err) && !os.IsExist(err) {
					t.Logf("%s %s: %v", file, ch.name, err)
				}
			}
		}
	}
	_ = c.stdin.Close()
	for c.next(t) {
	}
	if err := c.cmd.Wait(); err != nil {
		t.Fatalf("the writer has ended by %v: %s", err, &c.errs)
	}
	c.check(t, path)
}

// What is done to the file is noticed also if nobody writes, said once, and made good.
func TestNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db, l := opened(t, path, nosync)
	put(t, db, "web-0", "10.64.1.0")
	want := map[string][]netip.Addr{"web-0": addresses("10.64.1.0")}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	db.wake.Send() // As the timer does.
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(l.String(), "changed under the agent"); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nobody has noticed:\n%s", l)
		}
	}
	shut(t, db)
	if n := strings.Count(l.String(), "\n"); n != 1 {
		t.Errorf("%d lines in the log, want one:\n%s", n, l)
	}
	says(t, path, want, addresses("10.64.1.0"))
}

// At each moment of a write the file is whole, with what was before or what is now: a
// power cut there leaves that. An address that changes hands is always one pod's.
func TestPowerCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	var seen []map[string][]netip.Addr
	db, _ := opened(t, path, func(*os.File) error {
		content, _ := os.ReadFile(path)
		if len(content) == 0 {
			return nil
		}
		s, damage := look(content)
		if len(damage) > 0 {
			return fmt.Errorf("damage: %q", damage)
		}
		seen = append(seen, s.pods)
		return nil
	})
	put(t, db, "a", "10.64.1.0")
	for range 2 {
		db.Put("a", nil, nil)
		put(t, db, "b", "10.64.1.0")
		put(t, db, "a", "10.64.1.0")
	}
	shut(t, db)
	a, b := map[string][]netip.Addr{"a": addresses("10.64.1.0")}, map[string][]netip.Addr{"b": addresses("10.64.1.0")}
	free := map[string][]netip.Addr{}
	for i, got := range seen {
		if !cmp.Equal(got, a, cmpopts.EquateComparable(netip.Addr{})) && !cmp.Equal(got, b, cmpopts.EquateComparable(netip.Addr{})) && !cmp.Equal(got, free) {
			t.Errorf("sync %d: %v", i, got)
		}
	}
	if len(seen) < 8 {
		t.Errorf("%d looks at the file", len(seen))
	}
}
