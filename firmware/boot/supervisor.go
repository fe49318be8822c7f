package boot

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/retry"
	"netd/netd/wake"
)

// Service is a program that is to be running.
type Service struct {
	Name string
	Argv []string // Argv[0] is a path
	// Terminal is for a program that opens its own terminal: it gets the
	// console, not a log, and its end is nothing to talk about.
	Terminal bool
	// After is a file that has to be there before its first start, unless startAfter has
	// passed or a service has failed, which is to be looked at.
	After string
	// Goodbye ends it when the box goes down, SIGTERM if 0.
	Goodbye syscall.Signal
}

// How a service is started again: at once, and ever later if it does not stay
// up for steadyAfter.
const (
	firstBackOff = 250 * time.Millisecond
	lastBackOff  = 30 * time.Second
	steadyAfter  = 10 * time.Second
	// startAfter bounds the wait for a service's After, which is looked at each lookEvery.
	startAfter = 2 * time.Minute
	lookEvery  = 100 * time.Millisecond
	// stopTimeout is between Goodbye and SIGKILL.
	stopTimeout = 10 * time.Second
	// killTimeout is what everything else gets, pods' processes above all.
	killTimeout = 3 * time.Second
)

// Supervisor keeps services running. It is not safe for concurrent use: its
// owner waits for Wake and calls Step, and that is the only place where a
// process is started or reaped. So the end of a process can not be seen before
// its start is known, and no os/exec waits for the same children.
type Supervisor struct {
	services []*service
	logDir   string
	env      []string
	console  io.Writer
	begun    time.Time
	wake     wake.Signal
	children chan os.Signal
}

type service struct {
	Service
	pid     int // 0: not running
	started time.Time
	backOff retry.Backoff
	pause   time.Duration // before the next start
	due     time.Time     // of the next start
	log     *pump
}

func newService(s Service) *service {
	return &service{Service: s, backOff: retry.Backoff{First: firstBackOff, Last: lastBackOff, Steady: steadyAfter}}
}

// NewSupervisor takes the services in the order of their start. Their output
// goes to logDir/NAME.log, and what matters of it to the console, which must not wait
// for its reader.
func NewSupervisor(services []Service, logDir string, env []string, console io.Writer) *Supervisor {
	s := &Supervisor{
		logDir: logDir, env: env, console: console, begun: time.Now(),
		wake: wake.New(), children: make(chan os.Signal, 1),
	}
	for _, d := range services {
		s.services = append(s.services, newService(d))
	}
	signal.Notify(s.children, syscall.SIGCHLD)
	go func() {
		for range s.children {
			s.wake.Send()
		}
	}()
	s.wake.Send()
	return s
}

// Wake is ready when Step has something to do.
func (s *Supervisor) Wake() <-chan struct{} { return s.wake }

func (s *Supervisor) say(format string, args ...any) {
	fmt.Fprintf(s.console, "netd init: "+format+"\r\n", args...)
}

// Step reaps what has ended and starts what is due.
func (s *Supervisor) Step() {
	s.reap()
	now := time.Now()
	for _, sv := range s.services {
		if sv.pid != 0 || now.Before(sv.due) {
			continue
		}
		if s.tooEarly(sv) {
			s.wakeAt(now.Add(lookEvery))
			continue
		}
		if err := s.start(sv); err != nil {
			sv.ended(now)
			s.say("%v; again in %v", err, sv.pause)
			s.wakeAt(sv.due)
		}
	}
}

// tooEarly says that a service waits for its file.
func (s *Supervisor) tooEarly(sv *service) bool {
	failed := slices.ContainsFunc(s.services, func(o *service) bool { return o.pause > 0 })
	if sv.After == "" || failed || time.Since(s.begun) > startAfter {
		return false
	}
	_, err := os.Lstat(sv.After)
	return errors.Is(err, os.ErrNotExist)
}

func (s *Supervisor) wakeAt(t time.Time) { time.AfterFunc(time.Until(t), s.wake.Send) }

// reap collects every process that has ended: a service, or an orphan, whose
// parent is PID 1. It says whether there is any child left.
func (s *Supervisor) reap() (left bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return false // ECHILD
		case pid == 0:
			return true
		}
		i := slices.IndexFunc(s.services, func(sv *service) bool { return sv.pid == pid })
		if i < 0 {
			continue
		}
		sv := s.services[i]
		sv.ended(time.Now())
		if !sv.Terminal {
			s.say("%s ended: %s; again in %v", sv.Name, describe(status), sv.pause)
		}
		s.wakeAt(sv.due)
	}
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// ended plans the next start.
func (sv *service) ended(now time.Time) {
	var lasted time.Duration
	if sv.pid != 0 {
		lasted = now.Sub(sv.started)
	}
	sv.pause = sv.backOff.Next(lasted)
	sv.pid, sv.due = 0, now.Add(sv.pause)
}

// start forks by hand: os/exec would want to wait for the child itself.
func (s *Supervisor) start(sv *service) error {
	attr := &syscall.ProcAttr{Dir: "/", Env: s.env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true}}
	if !sv.Terminal {
		if sv.log == nil {
			p, err := newPump(sv.Name, s.logDir, s.console)
			if err != nil {
				return fmt.Errorf("start %s: %w", sv.Name, err)
			}
			sv.log = p
		}
		null, err := os.Open(os.DevNull)
		if err != nil {
			return fmt.Errorf("start %s: %w", sv.Name, err)
		}
		defer null.Close()
		attr.Files = []uintptr{null.Fd(), sv.log.in.Fd(), sv.log.in.Fd()}
	}
	pid, err := syscall.ForkExec(sv.Argv[0], sv.Argv, attr)
	if err != nil {
		return fmt.Errorf("start %s: %s: %w", sv.Name, sv.Argv[0], err)
	}
	sv.pid, sv.started = pid, time.Now()
	return nil
}

// Stop ends the services, the last one first, and starts nothing any more;
// tick is called some times a second.
func (s *Supervisor) Stop(tick func()) {
	for _, sv := range s.services {
		sv.due = time.Now().Add(24 * time.Hour) // by no wall clock, which may be set meanwhile
	}
	for _, sv := range slices.Backward(s.services) {
		pid := sv.pid
		if pid == 0 {
			continue
		}
		// Not yet reaped, so it is there, and it is ours.
		_ = syscall.Kill(pid, cmp.Or(sv.Goodbye, syscall.SIGTERM))
		gone := func() bool { s.reapQuietly(); return sv.pid == 0 }
		if !waitUntil(gone, stopTimeout, tick) {
			s.say("%s does not end within %v: killed", sv.Name, stopTimeout)
			_ = syscall.Kill(pid, syscall.SIGKILL)
			waitUntil(gone, killTimeout, tick)
		}
	}
}

// reapQuietly is reap when a process that ends is what was asked for.
func (s *Supervisor) reapQuietly() (left bool) {
	console := s.console
	s.console = io.Discard
	defer func() { s.console = console }()
	return s.reap()
}

// KillAll ends every other process on the box. Only PID 1 may call it.
func (s *Supervisor) KillAll(tick func()) {
	none := func() bool { return !s.reapQuietly() }
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		_ = syscall.Kill(-1, sig) // ESRCH: there is none left
		if waitUntil(none, killTimeout, tick) {
			return
		}
	}
}

// waitUntil asks a hundred times a second: the kernel's SIGCHLDs merge, and this
// is the way down.
func waitUntil(done func() bool, timeout time.Duration, tick func()) bool {
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if done() {
			return true
		}
		tick()
	}
	return done()
}
