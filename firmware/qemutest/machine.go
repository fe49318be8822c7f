package qemutest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/config"
	"netd/netd/layout"
)

// NIC attaches a port to a network.
type NIC struct {
	MAC string
	// Tap is the name of an existing tap in Options.Netns.
	Tap string
}

// Options are a board and what is plugged into it.
type Options struct {
	Board string // folder with a board.toml
	// Disk is the raw image that the machine runs on and writes to; CopyDisk
	// makes one of an image that is to stay as it is.
	Disk string
	// Netns is the name of the network namespace that QEMU runs in (below
	// /run/netns); empty is the caller's.
	Netns string
	// NICs are the ports in the board's order; ports without one are left out.
	NICs []NIC
	// Serial is the box's serial number (SMBIOS type 1).
	Serial string
	// Dir is an existing folder for sockets, logs and the firmware's variables.
	// Its path must be short: a unix socket's has 107 octets.
	Dir string
	// MemoryMiB is 512 by default, CPUs 2.
	MemoryMiB, CPUs int
	// Late: the disk is not there when the machine is switched on; see Plug. The firmware
	// then needs a kernel by ExtraArgs.
	Late bool
	// ExtraArgs are added to QEMU's command line.
	ExtraArgs []string
}

// Machine is a board that was started. Its methods may be used by one goroutine
// at a time, except Kill and Close.
type Machine struct {
	opts    Options
	board   *config.Board
	console *console

	mu      sync.Mutex
	process *process
	shell   int // number of the last command; 0: nobody is logged in
}

// process is one run of QEMU.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed after Wait
	err   error         // valid when ended is closed
}

// Start switches a board on. The context bounds the start alone.
func Start(ctx context.Context, o Options) (*Machine, error) {
	b, err := config.LoadBoard(filepath.Join(o.Board, "board.toml"))
	if err != nil {
		return nil, err
	}
	if b.QEMU == nil {
		return nil, fmt.Errorf("board %s has no [qemu]: it can not be emulated", b.Name)
	}
	if len(o.NICs) > len(b.QEMU.NICs) {
		return nil, fmt.Errorf("board %s has %d ports: %d are to be attached", b.Name, len(b.QEMU.NICs), len(o.NICs))
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	m := &Machine{opts: o, board: b, console: &console{changed: make(chan struct{})}}
	if err := copyFile(b.QEMU.Vars, m.file("vars.fd")); err != nil {
		return nil, fmt.Errorf("firmware's variables: %w (packages %s)", err, strings.Join(b.QEMU.Packages, ", "))
	}
	if err := m.start(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Machine) file(name string) string { return filepath.Join(m.opts.Dir, name) }

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

// commandLine returns QEMU's, with the console and the monitor as given.
func commandLine(b *config.Board, o Options, vars string, rest ...string) []string {
	q := b.QEMU
	if o.MemoryMiB == 0 {
		o.MemoryMiB = 512
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	args := append([]string{q.Binary}, q.Args...)
	args = append(args,
		"-accel", "tcg", "-smp", fmt.Sprint(o.CPUs), "-m", fmt.Sprint(o.MemoryMiB),
		"-name", filepath.Base(o.Dir), "-nodefaults", "-no-user-config", "-display", "none",
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+comma(q.Code),
		"-drive", "if=pflash,unit=1,format=raw,file="+comma(vars),
		"-drive", "if=none,id=disk,format=raw,discard=unmap,file="+comma(o.Disk),
	)
	if o.Late {
		args = append(args, "-device", "pcie-root-port,id=late,chassis=1")
	} else {
		args = append(args, "-device", q.Disk+",drive=disk")
	}
	for i, nic := range o.NICs {
		args = append(args,
			"-netdev", fmt.Sprintf("tap,id=port%d,ifname=%s,script=no,downscript=no", i, comma(nic.Tap)),
			"-device", fmt.Sprintf("%s,netdev=port%d,mac=%s", q.NICs[i], i, nic.MAC))
	}
	if o.Serial != "" {
		args = append(args, "-smbios", "type=1,serial="+comma(o.Serial))
	}
	return append(append(args, rest...), o.ExtraArgs...)
}

// comma escapes a value in QEMU's option syntax.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

func (m *Machine) start(ctx context.Context) error {
	for _, name := range []string{"console", "qmp"} {
		if err := os.Remove(m.file(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	args := commandLine(m.board, m.opts, m.file("vars.fd"),
		"-chardev", "socket,id=console,server=on,wait=on,path="+comma(m.file("console"))+",logappend=on,logfile="+comma(m.file("console.log")),
		"-serial", "chardev:console",
		"-qmp", "unix:"+comma(m.file("qmp"))+",server=on,wait=off")
	log, err := os.OpenFile(m.file("qemu.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(log, "%s\n", strings.Join(args, " "))
	p := &process{cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A process group of its own: Ctrl-C is for the test, whose end ends QEMU.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go p.run(m.opts.Netns, started)
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w (packages %s)", args[0], err, strings.Join(m.board.QEMU.Packages, ", "))
	}
	m.mu.Lock()
	m.process, m.shell = p, 0
	m.mu.Unlock()
	if err := m.AttachConsole(ctx); err != nil {
		return fmt.Errorf("%w\n%s", errors.Join(err, m.Kill()), tail(m.file("qemu.log"), 10))
	}
	return nil
}

// run starts QEMU in a namespace and waits for it, on one thread that is the
// goroutine's alone and ends with it: a thread's namespace is inherited, and so
// is the one whose death the kernel tells QEMU of.
func (p *process) run(netns string, started chan<- error) {
	runtime.LockOSThread()
	err := enterNetns(netns)
	if err == nil {
		err = p.cmd.Start()
	}
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
	}
	close(p.ended)
}

func enterNetns(name string) error {
	if name == "" {
		return nil
	}
	f, err := os.Open(filepath.Join(layout.NetnsDir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", name, err)
	}
	return nil
}

func (m *Machine) current() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process
}

// Done is closed when the machine is off.
func (m *Machine) Done() <-chan struct{} { return m.current().ended }

// Kill cuts the power.
func (m *Machine) Kill() error {
	p := m.current()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill QEMU: %w", err)
	}
	<-p.ended
	m.ReleaseConsole()
	return nil
}

// Restart switches the machine on again, with the same disk; if it is on, its
// power is cut first.
func (m *Machine) Restart(ctx context.Context) error {
	if err := m.Kill(); err != nil {
		return err
	}
	return m.start(ctx)
}

// Plug puts a Late disk in, while the machine runs.
func (m *Machine) Plug(ctx context.Context) error {
	driver, _, _ := strings.Cut(m.board.QEMU.Disk, ",")
	return m.qmp(ctx, "device_add", map[string]string{"driver": driver, "bus": "late", "drive": "disk", "id": "disk0"})
}

// Type types on the machine's keyboard, which is not the console's line. It knows small
// letters, digits, and what keys names.
func (m *Machine) Type(ctx context.Context, text string) error {
	keys := map[rune]string{'-': "minus", '\n': "ret", ' ': "spc", '/': "slash"}
	for _, c := range text {
		key := cmp.Or(keys[c], string(c))
		if err := m.qmp(ctx, "send-key", map[string]any{"keys": []map[string]string{{"type": "qcode", "data": key}}}); err != nil {
			return err
		}
	}
	return nil
}

// PowerOff presses the power button and waits until the machine is off.
func (m *Machine) PowerOff(ctx context.Context) error {
	if err := m.qmp(ctx, "system_powerdown", nil); err != nil {
		return err
	}
	return m.WaitOff(ctx)
}

// WaitOff waits until the machine has switched itself off.
func (m *Machine) WaitOff(ctx context.Context) error {
	select {
	case <-m.Done():
		m.ReleaseConsole()
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the machine is still on: %w\n%s", context.Cause(ctx), m.console.end())
	}
}

// Close cuts the power and removes the sockets; logs stay.
func (m *Machine) Close() error {
	err := m.Kill()
	for _, socket := range []string{"console", "qmp"} {
		if e := os.Remove(m.file(socket)); !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// CopyDisk copies a raw image, leaving holes where it has them, for a disk of
// at least size octets.
func CopyDisk(from, to string, size int64) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	st, err := r.Stat()
	if err != nil {
		return err
	}
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Truncate(max(size, st.Size())); err != nil {
		return err
	}
	for at := int64(0); ; {
		start, err := unix.Seek(int(r.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return w.Close()
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
		if at, err = unix.Seek(int(r.Fd()), start, unix.SEEK_HOLE); err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
		if _, err := io.Copy(io.NewOffsetWriter(w, start), io.NewSectionReader(r, start, at-start)); err != nil {
			return fmt.Errorf("copy %s to %s: %w", from, to, err)
		}
	}
}

// tail returns a file's last lines for an error message.
func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return lastLines(b, lines)
}

func lastLines(b []byte, n int) string {
	all := bytes.Split(bytes.TrimRight(b, "\r\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-n):], []byte("\n")))
}

// pollEvery is the interval at which a socket that QEMU has yet to make is
// tried.
const pollEvery = 5 * time.Millisecond
