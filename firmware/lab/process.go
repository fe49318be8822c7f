package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"netd/firmware/lab/patience"
)

// Process is a program that runs on a host until the lab ends.
type Process struct {
	Name string
	// Log is the file with all that it printed.
	Log string

	cmd  *exec.Cmd
	done chan struct{}
	err  error // set before done is closed
}

// Start runs a program on the host. It dies with us, also when we are killed.
func (h *Host) Start(name string, args ...string) (*Process, error) {
	log, err := os.OpenFile(h.Path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, h.Name, err)
	}
	defer func() { _ = log.Close() }() // The program has its own by then.
	return h.StartOn(log, name, args...)
}

// StartOn is Start of a program that prints to console, and to its log nothing.
func (h *Host) StartOn(console *os.File, name string, args ...string) (*Process, error) {
	p := &Process{Name: name, Log: h.Path(name + ".log"), done: make(chan struct{})}
	full := h.command(args)
	p.cmd = exec.Command(full[0], full[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = console, console
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The death signal is bound to the thread that forked: keep it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, h.Name, err)
	}
	h.net.mu.Lock()
	h.net.procs = append(h.net.procs, p)
	h.net.mu.Unlock()
	return p, nil
}

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended; Err is then why.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is why an ended process ended.
func (p *Process) Err() error { return p.err }

// Signal sends a signal to the process.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop ends the process with SIGTERM, or SIGKILL if it does not listen, and
// whatever it started in its group.
func (p *Process) Stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-patience.After(stopTimeout):
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
		<-p.done
	}
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Tail returns the last lines of the log.
func (p *Process) Tail(lines int) string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
