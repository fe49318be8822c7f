package bgp

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"netd/netd/internal/bgp/wire"
	"netd/netd/layout"
)

// startAndWait starts the process and reports its end. Both happen on one thread
// that is kept for it: the parent's death signal is bound to the thread that
// forked (prctl(2), PR_SET_PDEATHSIG), and Go ends threads now and then.
func startAndWait(cmd *exec.Cmd) (<-chan error, error) {
	started, died := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			died <- cmd.Wait()
		}
	}()
	return died, <-started
}

// prepare makes the process with its own uid and the one capability that it needs:
// to listen on a port below 1024. It writes hints to the pipe.
func (s *Speaker) prepare(pipe *os.File) (*exec.Cmd, *lastWords, error) {
	dir := filepath.Dir(s.opts.Socket)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	if err := os.Chown(dir, layout.SpeakerUID, layout.SpeakerUID); err != nil {
		return nil, nil, err
	}
	last := &lastWords{out: s.opts.Words}
	cmd := exec.Command(s.opts.Program, s.opts.Args...)
	cmd.Stdout, cmd.Stderr = last, last
	cmd.Dir = "/"
	cmd.Env = []string{"GOTRACEBACK=single", wire.HintsVariable + "=3"}
	cmd.ExtraFiles = []*os.File{pipe}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:     true, // Ctrl-C is for the agent, which ends the speaker in order
		Pdeathsig:   syscall.SIGTERM,
		Credential:  &syscall.Credential{Uid: layout.SpeakerUID, Gid: layout.SpeakerUID},
		AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE},
	}
	return cmd, last, nil
}

// lastWords passes on what the process says and keeps its end, for the day it
// dies with a stack trace.
type lastWords struct {
	out  io.Writer
	mu   sync.Mutex // guards tail
	tail []byte
}

const tailOctets = 4 << 10

func (l *lastWords) Write(b []byte) (int, error) {
	l.mu.Lock()
	l.tail = append(l.tail, b...)
	if n := len(l.tail); n > tailOctets {
		l.tail = bytes.Clone(l.tail[n-tailOctets:])
	}
	l.mu.Unlock()
	if l.out == nil {
		return len(b), nil
	}
	return l.out.Write(b)
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.tail))
}
