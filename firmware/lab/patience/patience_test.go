package patience

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCount(t *testing.T) {
	ms := func(n ...int) (d []time.Duration) {
		for _, n := range n {
			d = append(d, time.Duration(n)*time.Millisecond)
		}
		return d
	}
	for _, tt := range []struct {
		name      string
		looks     []time.Duration // the time between two looks, each of which was to be after 50 ms
		ran, lost time.Duration
	}{
		{"in time", ms(50, 50, 50), 150 * time.Millisecond, 0},
		{"busy", ms(50, 550, 50), 650 * time.Millisecond, 0},
		{"still for 0.6 s", ms(50, 650, 50), 150 * time.Millisecond, 600 * time.Millisecond},
		{"still twice", ms(1050, 1050, 50), 150 * time.Millisecond, 2 * time.Second},
		{"a session may be gone", ms(50, 50, 3050, 50), 50 * time.Millisecond, 3 * time.Second},
		{"a snapshot", ms(50, 90050), 0, 90 * time.Second},
	} {
		now := time.Now()
		c := count{before: now, slack: slack}
		for _, d := range tt.looks {
			now = now.Add(d)
			c.look(now, tick)
		}
		if diff := cmp.Diff([]time.Duration{tt.ran, tt.lost}, []time.Duration{c.ran, c.lost}); diff != "" {
			t.Errorf("%s: ran and lost (-want +got):\n%s", tt.name, diff)
		}
	}
}

// A machine that runs: a deadline is what it is.
func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := Context(t.Context(), 1234*time.Millisecond)
		defer cancel()
		child, stop := context.WithCancel(ctx)
		defer stop()
		if ctx.Err() != nil {
			t.Errorf("at once: %v", ctx.Err())
		}
		<-child.Done()
		if took := time.Since(began); took != 1234*time.Millisecond || !errors.Is(child.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			t.Errorf("after %s: %v, %v", took, child.Err(), context.Cause(ctx))
		}
		cancel() // again

		parent, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		ctx, cancel = Context(parent, time.Minute)
		defer cancel()
		want, _ := parent.Deadline()
		if got, ok := ctx.Deadline(); !ok || !got.Equal(want) {
			t.Errorf("deadline %s %v, want the parent's %s", got, ok, want)
		}
		<-ctx.Done()
		ctx, cancel = Context(t.Context(), time.Minute)
		cancel()
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("cancelled: %v", ctx.Err())
		}
	})
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := Context(t.Context(), time.Second)
		defer cancel()
		n := 0
		if err := Until(ctx, 100*time.Millisecond, "the third time", func(context.Context) error {
			if n++; n < 3 {
				return errors.New("too early")
			}
			return nil
		}); err != nil || n != 3 {
			t.Errorf("tried %d times: %v", n, err)
		}
		err := Until(ctx, time.Hour, "a wonder", func(context.Context) error { return Hopeless{errors.New("it is dead")} })
		if err == nil || err.Error() != "wait for a wonder: it is dead" {
			t.Errorf("hopeless: %v", err)
		}
		err = Until(ctx, 300*time.Millisecond, "a wonder", func(context.Context) error { return errors.New("not yet") })
		if err == nil || err.Error() != "waited 800ms for a wonder: not yet" {
			t.Errorf("in vain: %v", err)
		}
	})
}

func TestLimit(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	lift := Limit(a, 100*time.Millisecond)
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read nothing: %v", err)
	}
	lift()
	go func() { _, _ = b.Write([]byte("x")) }()
	if n, err := a.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("read after the limit: %d, %v", n, err)
	}
}

// variable says that this process is the one to be stopped.
const variable = "PATIENCE_TEST_STOPPED"

// A process that stands still for three seconds of a deadline of one does not miss it,
// and knows what it lost; a timer of Go's does miss it.
func TestStopped(t *testing.T) {
	if os.Getenv(variable) != "" {
		stopped(t)
		return
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStopped$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	for b := make([]byte, 100); !strings.Contains(told.String(), "ready"); {
		n, err := out.Read(b)
		told.Write(b[:n])
		if err != nil {
			t.Fatalf("%v: %s", err, told.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(3 * time.Second)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	_, _ = in.Write([]byte("x"))
	b := make([]byte, 10000)
	for n, err := out.Read(b); err == nil; n, err = out.Read(b) {
		told.Write(b[:n])
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(told.String(), "--- PASS: TestStopped") {
		t.Errorf("the process that was stopped: %v\n%s", err, told.String())
	}
}

func stopped(t *testing.T) {
	watch := Start()
	defer watch.Stop()
	usual, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ctx, cancel := Context(t.Context(), time.Second)
	defer cancel()
	fmt.Println("ready")
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	<-usual.Done()
	if err := ctx.Err(); err != nil {
		t.Errorf("a deadline of 1 s, still for 3 s: %v after %s", err, watch)
	}
	if lost := watch.Lost(); lost < 2500*time.Millisecond {
		t.Errorf("lost %s of 3 s", lost)
	}
	<-ctx.Done()
	if took := watch.Took(); !errors.Is(ctx.Err(), context.DeadlineExceeded) || took < 3500*time.Millisecond {
		t.Errorf("%v after %s", ctx.Err(), watch)
	}
}

func TestStopwatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := Start()
		defer w.Stop()
		<-time.After(12345 * time.Millisecond)
		w.Stop()
		<-time.After(time.Second)
		if diff := cmp.Diff("12.345s", w.String()); diff != "" {
			t.Errorf("stopped a second ago (-want +got):\n%s", diff)
		}
		if w.Took() != 12345*time.Millisecond || w.Lost() != 0 || w.Longest() != 0 {
			t.Errorf("took %s, lost %s, at most %s at a time", w.Took(), w.Lost(), w.Longest())
		}
	})
}
