//go:build net

package bfd

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/netd/internal/ownnet"
)

// prompt is how long what must not wait may take on a busy machine.
const prompt = 100 * time.Millisecond

// promptly fails if f waits.
func promptly(t *testing.T, what string, f func()) {
	t.Helper()
	begin := time.Now()
	if f(); time.Since(begin) > prompt {
		t.Errorf("%s took %s", what, time.Since(begin))
	}
}

// TestSilentProcess: a process that is stopped is noticed and replaced, without a loss
// of the path; nobody waits for it meanwhile.
func TestSilentProcess(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		_, tor := newToR(t)
		b := bird(t, tor, birdConfig(300, "10.0.1.11"))
		dir := t.TempDir()
		open755(t, dir)
		a := newAgent(t, dir, time.Minute, session(300))
		a.until("Up", is(Up))
		pid := process(t)
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		stopped := time.Now()
		var told error
		for told == nil {
			var all []Status
			promptly(t, "Statuses", func() { all, told = a.Statuses() })
			promptly(t, "Set", func() {
				a.Set(Wanted{Sessions: []Session{session(300 + int(time.Since(stopped)/time.Millisecond)%10)}, Linger: time.Minute})
			})
			if took := time.Since(stopped); took > 3*time.Second {
				t.Fatalf("nothing is noticed after %s: %+v", took, all)
			}
			if told == nil {
				continue
			}
			t.Logf("noticed after %s: %v", time.Since(stopped), told)
			if !errors.As(told, new(silent)) || len(all) != 1 || all[0].State != AdminDown || !all[0].Failed.IsZero() || all[0].Reason != told.Error() {
				t.Errorf("what is told of it: %+v %v", all, told)
			}
		}
		ownnet.Within(t, 3*time.Second-time.Since(stopped), "another process", func() error {
			if again := process(t); again == 0 || again == pid {
				return fmt.Errorf("process %d", again)
			}
			return nil
		})
		t.Logf("replaced after %s", time.Since(stopped))
		a.Set(Wanted{Sessions: []Session{session(300)}, Linger: time.Minute})
		a.until("Up again", is(Up))
		t.Logf("Up again after %s", time.Since(stopped))
		ownnet.Within(t, patience, "BIRD's session", func() error {
			if state, _, _ := sessions(t, b); state != "Up" {
				return errors.New(state)
			}
			return nil
		})

		// An agent that starts meanwhile does not wait either, and one that wants no
		// sessions ends what is stopped, too.
		a.stop()
		if err := syscall.Kill(process(t), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		second := newAgent(t, dir, time.Minute)
		if took := time.Since(begin); took > firstAnswer+prompt {
			t.Errorf("an agent's start took %s", took)
		}
		promptly(t, "Set", func() { second.Set(Wanted{Linger: time.Minute}) })
		ownnet.Within(t, 3*time.Second, "the end of a stopped process that nobody wants", func() error {
			if pid := process(t); pid != 0 {
				return fmt.Errorf("process %d is there", pid)
			}
			return nil
		})
	})
}

// agentFolder names the folder of the agent that TestStandsStill starts.
const agentFolder = "NETD_TEST_BFD_AGENT"

// TestStandsStill: a machine that stands still, and agent and process with it, makes
// nobody late.
func TestStandsStill(t *testing.T) {
	if dir := os.Getenv(agentFolder); dir != "" {
		tellStates(t, dir)
		return
	}
	ownnet.Run(t, func(t *testing.T) {
		_, tor := newToR(t)
		bird(t, tor, birdConfig(300, "10.0.1.11"))
		dir := t.TempDir()
		open755(t, dir)
		agent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStandsStill$", "-test.v")
		agent.Env = append(os.Environ(), agentFolder+"="+dir)
		out, err := agent.StdoutPipe()
		if err == nil {
			err = agent.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := make(chan string, 100)
		go func() {
			defer close(lines)
			for in := bufio.NewScanner(out); in.Scan(); {
				lines <- in.Text()
			}
		}()
		// read reads what the agent prints until it is up, or for a while.
		read := func(until string, during time.Duration) {
			t.Helper()
			for enough := time.After(during); ; {
				select {
				case line, ok := <-lines:
					t.Log(line)
					if !ok || strings.HasPrefix(line, "problem") {
						t.Fatal("the agent lost the process, or has ended")
					}
					if line == until {
						return
					}
				case <-enough:
					if until != "" {
						t.Fatalf("no %q", until)
					}
					return
				}
			}
		}
		read("state Up", patience)
		read("", 3*beatInterval) // Now nothing but beats comes.
		pid := process(t)
		signal := func(pid int, s syscall.Signal) {
			if err := syscall.Kill(pid, s); err != nil {
				t.Fatal(err)
			}
		}
		for range 4 { // Whether a beat has just been heard is chance.
			signal(pid, syscall.SIGSTOP)
			signal(agent.Process.Pid, syscall.SIGSTOP)
			<-time.After(2 * silence)
			signal(agent.Process.Pid, syscall.SIGCONT)
			<-time.After(look) // The other one's CPU is a little later.
			signal(pid, syscall.SIGCONT)
			read("", 2*beatInterval)
		}
		read("", 2*silence)
		if again := process(t); again != pid {
			t.Errorf("the BFD process was %d, is %d", pid, again)
		}
		_ = agent.Process.Kill()
		_ = agent.Wait()
	})
}

// tellStates is TestStandsStill's agent.
func tellStates(t *testing.T, dir string) {
	a := newAgent(t, dir, time.Minute, session(300))
	for last := ""; ; <-a.Changed() {
		all, err := a.Statuses()
		if err != nil {
			fmt.Println("problem", err)
		}
		if len(all) == 1 && all[0].State.String() != last {
			last = all[0].State.String()
			fmt.Println("state", last)
		}
	}
}

// TestMuteAgent: an agent that reads nothing keeps neither the sessions nor the next
// agent waiting.
func TestMuteAgent(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		ownnet.Command(t, "ip link set lo up")
		dir := t.TempDir()
		open755(t, dir)
		var many []Session
		for i := range 2000 {
			s := session(300)
			s.Peer, s.Remote = fmt.Sprint(i), netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
			many = append(many, s)
		}
		a := newAgent(t, dir, time.Minute, many...)
		ownnet.Within(t, patience, "the sessions", func() error {
			if all, err := a.Statuses(); len(all) != len(many) {
				return fmt.Errorf("%d %w", len(all), err)
			}
			return nil
		})
		a.stop()
		socket := filepath.Join(dir, "bfd", "bfd.sock")
		mute, err := call(socket)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = mute.Close() }()
		if _, err := mute.Read(make([]byte, 1)); err != nil { // The rest is more than the socket holds.
			t.Fatal(err)
		}
		l, r, err := reach(socket)
		if err != nil || len(r.Statuses) != len(many) {
			t.Fatalf("the next agent hears of %d sessions: %v", len(r.Statuses), err)
		}
		l.end()
	})
}

// TestFormerVersion: a process that knows nothing of beats is left as it is.
func TestFormerVersion(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		ownnet.Command(t, "ip link set lo up")
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "bfd"), 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", filepath.Join(dir, "bfd", "bfd.sock"))
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan string, 10)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				heard <- err.Error()
				return
			}
			_, _ = conn.Write([]byte(`{"Version": 1, "Statuses": [{"Peer": "tor", "State": 3}]}` + "\n"))
			for in := json.NewDecoder(conn); ; {
				var o struct{ Sessions []Session }
				err := in.Decode(&o)
				if heard <- fmt.Sprint(len(o.Sessions), " ", err); err != nil {
					return
				}
			}
		}()
		a := newAgent(t, dir, time.Minute, session(300))
		for asked, enough := 0, time.After(2*silence); ; {
			select {
			case got := <-heard:
				if asked++; got != "1 <nil>" {
					t.Fatalf("it heard %q", got)
				}
				continue
			case <-enough:
			}
			if asked == 0 {
				t.Error("it heard nothing")
			}
			break
		}
		a.until("Up", is(Up))
	})
}
