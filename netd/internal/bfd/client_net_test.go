//go:build net

package bfd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/netd/internal/cage"
	"netd/netd/internal/ownnet"
	"netd/netd/layout"
)

// agent is a Client of a process that is the real program.
type agent struct {
	*Client
	t    *testing.T
	stop func()
}

func newAgent(t *testing.T, dir string, linger time.Duration, sessions ...Session) *agent {
	t.Helper()
	program, err := filepath.Abs("../../../bin/amd64/netd")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("no binary to test (make build makes it): %v", err)
	}
	socket := filepath.Join(dir, "bfd", "bfd.sock")
	a := &agent{t: t, Client: Connect(Options{
		Program: program, Args: []string{"bfd", "--socket", socket}, Socket: socket, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})}
	if sessions != nil {
		a.Set(Wanted{Sessions: sessions, Linger: linger})
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = a.Run(ctx) }()
	a.stop = func() { cancel(); <-done }
	t.Cleanup(a.stop)
	return a
}

// open755 lets the process' user into a test's folder.
func open755(t *testing.T, dir string) {
	t.Helper()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// process is the pid of the only BFD process of this process namespace; 0 if there
// is none.
func process(t *testing.T) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		b, _ := os.ReadFile(file)
		if strings.Contains(string(b), fmt.Sprintf("\nUid:\t%d\t", layout.BFDUID)) && !strings.Contains(string(b), "\nState:\tZ") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			return pid
		}
	}
	return 0
}

func (a *agent) until(what string, cond func(Status) bool) {
	a.t.Helper()
	ownnet.Within(a.t, patience, what, func() error {
		all, err := a.Statuses()
		if err != nil || len(all) != 1 || !cond(all[0]) {
			return fmt.Errorf("%+v, %w", all, err)
		}
		return nil
	})
}

func gone(t *testing.T, what string) {
	t.Helper()
	ownnet.Within(t, patience, what, func() error {
		if pid := process(t); pid != 0 {
			return fmt.Errorf("process %d is there", pid)
		}
		return nil
	})
}

// TestProcess: sessions go on without their agent, the next one finds them as they
// are; the process has a priority and no privilege, is started again when it dies,
// and ends when it is not wanted.
func TestProcess(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		_, tor := newToR(t)
		b := bird(t, tor, birdConfig(300, "10.0.1.11"))
		dir := t.TempDir()
		open755(t, dir)
		first := newAgent(t, dir, time.Minute, session(300))
		first.until("Up", is(Up))
		pid := process(t)
		checkThreads(t, pid)
		checkCage(t, pid)
		first.stop()

		second := newAgent(t, dir, time.Minute)
		if all, err := second.Statuses(); err != nil || len(all) != 1 || all[0].State != Up || all[0].Flaps != 0 {
			t.Errorf("the second agent finds %+v %v", all, err)
		}
		second.Set(Wanted{Sessions: []Session{session(400)}, Linger: time.Minute})
		second.until("other timers", func(s Status) bool { return s.State == Up && s.Transmit == 400*time.Millisecond && s.Flaps == 0 })
		if again := process(t); again != pid {
			t.Errorf("the process was %d, is %d", pid, again)
		}
		if log := b.Tail(1000); strings.Contains(log, "Up to Down") {
			t.Errorf("BIRD saw an end:\n%s", log)
		}

		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		ownnet.Within(t, patience, "another process", func() error {
			if again := process(t); again == 0 || again == pid {
				return fmt.Errorf("process %d", again)
			}
			return nil
		})
		second.until("Up again", is(Up))
		second.Set(Wanted{Linger: time.Minute})
		gone(t, "the end of what nobody wants")
		ownnet.Within(t, patience, "BIRD to be told", func() error {
			if state, _, _ := sessions(t, b); state == "Up" {
				return errors.New(state)
			}
			return nil
		})

		second.Set(Wanted{Sessions: []Session{session(300)}, Linger: 100 * time.Millisecond})
		second.until("Up once more", is(Up))
		second.stop()
		gone(t, "the end of what no agent came for")

		third := newAgent(t, dir, time.Minute, session(300))
		third.until("Up at last", is(Up))
		third.stop()
		third.Leave()
		if pid := process(t); pid != 0 {
			t.Errorf("process %d is there after Leave", pid)
		}
	})
}

// checkThreads looks at what all threads may do, and how urgently.
func checkThreads(t *testing.T, pid int) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(threads) < 2 {
		t.Fatal(err, threads)
	}
	for _, thread := range threads {
		status, err := os.ReadFile(filepath.Join(thread, "status"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(string(status), want) {
				t.Errorf("no %q in\n%s", want, status)
			}
		}
		stat, err := os.ReadFile(filepath.Join(thread, "stat"))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		f := strings.Fields(rest) // proc_pid_stat(5), from field 3
		if priority, policy := f[40-3], f[41-3]; priority != "1" || policy != "2" {
			t.Errorf("thread %s: real-time priority %s, policy %s; want 1 and 2 (SCHED_RR)", thread, priority, policy)
		}
	}
}

// checkCage looks at what the process has and may take: as the speaker, of package cage.
func checkCage(t *testing.T, pid int) {
	t.Helper()
	memory, err := cage.Memory()
	if err != nil {
		t.Fatal(err)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[string]string{"Max data size": fmt.Sprint(memory), "Max core file size": "0", "Max locked memory": "0", "Max processes": "1024"} {
		_, rest, _ := strings.Cut(string(limits), "\n"+limit)
		if f := strings.Fields(rest); len(f) < 2 || f[0] != want || f[1] != want {
			t.Errorf("no limit of %s to %s in\n%s", limit, want, limits)
		}
	}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(files) < 5 {
		t.Fatal(err, files)
	}
	for _, f := range files {
		if to, _ := os.Readlink(f); !regexp.MustCompile(`^(socket:|pipe:|anon_inode:|/dev/null$|/sys/fs/cgroup/|.*/last-words$)`).MatchString(to) {
			t.Errorf("BFD has %s open", to)
		}
	}
}

// TestStranger: a process that speaks another protocol is told to end.
func TestStranger(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		ownnet.Command(t, "ip link set lo up")
		dir := t.TempDir()
		socket := filepath.Join(dir, "bfd.sock")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan string, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				heard <- err.Error()
				return
			}
			defer func() { _ = conn.Close() }()
			_, err = conn.Write([]byte(`{"Version": 99, "Statuses": "who knows"}` + "\n"))
			b := make([]byte, 512)
			n, errRead := conn.Read(b)
			heard <- fmt.Sprint(string(b[:n]), err, errRead)
		}()
		if _, _, err := reach(socket); !errors.Is(err, errMute) {
			t.Errorf("%v", err)
		}
		if said := <-heard; !strings.Contains(said, `"End":true`) {
			t.Errorf("it heard %q", said)
		}
	})
}
