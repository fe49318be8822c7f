package bfd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/internal/watchdog"
	"netd/netd/layout"
)

const (
	// answerTimeout bounds the time until a new process answers, or one ends when told to.
	answerTimeout = 5 * time.Second
	// silence is how long a process that was asked for its answer, or for beats, may say
	// nothing: four beats. It is looked for at each look, and only time counts in which
	// this process ran.
	silence = time.Second
	look    = 100 * time.Millisecond
	// wordsKept is how much of a dead process' last words is logged, in octets.
	wordsKept = 4096
)

// line is a connection to the process.
type line struct {
	*net.UnixConn
	in    *json.Decoder
	beats bool // the process beats when it is asked to
}

// call connects to the process that listens at socket. It does not wait.
func call(socket string) (*line, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return &line{UnixConn: conn, in: json.NewDecoder(conn)}, nil
}

// read waits for the next report.
func (l *line) read() (r report, err error) {
	if err = l.in.Decode(&r); err != nil {
		err = fmt.Errorf("read from the BFD process: %w", err)
	}
	return r, err
}

// readFirst reads what each version says at once.
func (l *line) readFirst() (report, error) {
	r, err := l.read()
	if err == nil && r.Version != protocol {
		err = fmt.Errorf("the BFD process speaks version %d, not %d", r.Version, protocol)
	}
	l.beats = r.Beats
	return r, err
}

func (l *line) say(o request) error {
	err := l.SetWriteDeadline(time.Now().Add(answerTimeout))
	if err == nil {
		err = json.NewEncoder(l).Encode(o)
	}
	if err != nil {
		return fmt.Errorf("tell the BFD process: %w", err)
	}
	return nil
}

// end tells the process to end, and kills it if it does not.
func (l *line) end() {
	defer func() { _ = l.Close() }()
	if l.say(request{End: true}) == nil && l.SetReadDeadline(time.Now().Add(answerTimeout)) == nil {
		if _, err := io.Copy(io.Discard, l); !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
	l.kill()
}

// kill kills the process, also one that is stopped.
func (l *line) kill() {
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if who, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil && who.Pid > 0 {
			_ = unix.Kill(int(who.Pid), unix.SIGKILL)
		}
	})
}

// watch looks for silence until ctx ends. It calls late with it, and whoever waits for
// the process waits no more.
func (l *line) watch(ctx context.Context, dog *watchdog.Dog, late func(error)) {
	dog.Run(ctx, look, silence, func(d time.Duration) {
		late(silent(d))
		_ = l.SetDeadline(time.Now())
	})
}

// errMute is a process that can not be talked to.
var errMute = errors.New("the BFD process does not answer, or in another protocol")

// reach connects to a process and takes its first report. One that can not be
// talked to is ended; that may take a while.
func reach(socket string) (*line, report, error) {
	l, err := call(socket)
	if err != nil {
		return nil, report{}, err
	}
	ctx, stop := context.WithCancelCause(context.Background())
	go l.watch(ctx, new(watchdog.Dog), stop)
	r, err := l.readFirst()
	stop(nil)
	switch mute := context.Cause(ctx); {
	case errors.As(mute, new(silent)):
		l.kill()
		_ = l.Close()
		return nil, report{}, errors.Join(errMute, mute)
	case err != nil:
		l.end()
		return nil, report{}, errors.Join(errMute, err)
	}
	return l, r, nil
}

// silent is for how long the process has said nothing.
type silent time.Duration

func (s silent) Error() string {
	return fmt.Sprintf("the BFD process has been silent for %.1f s", time.Duration(s).Seconds())
}

// start starts the process and waits until it answers.
func (c *Client) start(ctx context.Context) (*line, error) {
	cmd, err := c.command()
	if err != nil {
		return nil, fmt.Errorf("prepare the BFD process' folder: %w", err)
	}
	died, err := urgently(cmd)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.opts.Program, err)
	}
	deadline := time.After(answerTimeout)
	for {
		l, _, err := reach(c.opts.Socket)
		if err == nil {
			return l, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case dead := <-died:
			return nil, errors.Join(dead, c.lastWords())
		case <-deadline:
			_ = cmd.Process.Kill()
			return nil, fmt.Errorf("wait for the BFD process: %w", err)
		case <-time.After(time.Millisecond):
		}
	}
}

// words is the file that the process writes to: a pipe to the agent would end with
// it, or keep its own parent from noticing.
func (c *Client) words() string { return filepath.Join(filepath.Dir(c.opts.Socket), "last-words") }

// command is the process: a session of its own, for it is not to end with the agent,
// its own uid, no capability.
func (c *Client) command() (*exec.Cmd, error) {
	dir := filepath.Dir(c.opts.Socket)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chown(dir, layout.BFDUID, layout.BFDUID)); err != nil {
		return nil, err
	}
	words, err := os.OpenFile(c.words(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(c.opts.Program, c.opts.Args...)
	cmd.Stdout, cmd.Stderr = words, words
	cmd.Dir = "/"
	cmd.Env = []string{"GOTRACEBACK=single"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: layout.BFDUID, Gid: layout.BFDUID}}
	return cmd, nil
}

// lastWords are a dead process'; nil if it had none.
func (c *Client) lastWords() error {
	f, err := os.Open(c.words())
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	words, err := io.ReadAll(io.LimitReader(f, wordsKept))
	if len(words) == 0 || err != nil {
		return err
	}
	return fmt.Errorf("its last words: %s", words)
}

// urgent is the least real-time priority, above all that is not real-time.
const urgent = 1

// urgently starts the process with a priority that lets it send in time however busy
// the CPUs are, and reports its end. A child has the priority of the thread that
// forked it, in all its threads: so that one is a thread to be thrown away.
func urgently(cmd *exec.Cmd) (<-chan error, error) {
	started, died := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		// Where the kernel does not permit the first, the second is much, too; without
		// any it works as well as it can.
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_RR, Priority: urgent}, 0)
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
		err := cmd.Start()
		started <- err
		if err == nil {
			died <- cmd.Wait()
		}
	}()
	err := <-started
	if f, ok := cmd.Stdout.(io.Closer); ok {
		_ = f.Close() // The process has its own.
	}
	return died, err
}
