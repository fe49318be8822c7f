package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"netd/firmware/lab/patience"
)

// guestModules are what the guest needs before it can read the host's files.
var guestModules = []string{"virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"}

// passedEnv are the environment variables that the program gets: by name, or by
// prefix if they end in "*". A list of what may pass, so that no secret of the
// host's session ends in a guest's log.
var passedEnv = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TERM", "TZ", "CI",
	"XDG_CACHE_HOME", "GO*", "CGO_*", "NETD_*",
}

// spec tells the guest what to do; it travels in the initramfs.
type spec struct {
	Argv []string
	Env  []string
	Dir  string
	// Keep are the host's folders under /tmp that the program needs to see.
	Keep []string
	// Modules is the host's folder for /lib/modules/VERSION.
	Modules string
	// Console asks for the kernel's informational messages.
	Console bool
}

// run boots the guest and returns the program's exit status.
func run(o options) (int, error) {
	s, err := newSpec(o)
	if err != nil {
		return 0, err
	}
	k, err := findKernel(o.kernel)
	if err != nil {
		return 0, err
	}
	s.Modules = k.modules
	// No name, so that nothing is left of it however vmrun ends.
	initrd, err := os.CreateTemp("", "vmrun-")
	if err != nil {
		return 0, err
	}
	defer initrd.Close()
	if err := os.Remove(initrd.Name()); err != nil {
		return 0, err
	}
	if err := writeInitramfs(initrd, k, s); err != nil {
		return 0, fmt.Errorf("write the initramfs: %w", err)
	}
	m, err := startGuest(o, k, initrd)
	if err != nil {
		return 0, err
	}
	return m.wait(o.timeout)
}

func newSpec(o options) (spec, error) {
	program, err := exec.LookPath(o.argv[0])
	if err != nil {
		return spec{}, err
	}
	program, err = filepath.Abs(program)
	if err != nil {
		return spec{}, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return spec{}, err
	}
	s := spec{
		Argv: append([]string{program}, o.argv[1:]...),
		Env:  filterEnv(os.Environ()), Dir: dir, Console: o.console,
		Keep: []string{filepath.Dir(program), moduleRoot(dir)},
	}
	if cache, err := os.UserCacheDir(); err == nil {
		s.Keep = append(s.Keep, cache)
	}
	return s, nil
}

// moduleRoot is the folder of dir's go.mod, or dir: tests read their
// neighbours' files.
func moduleRoot(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			return dir
		}
	}
}

func filterEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return !slices.ContainsFunc(passedEnv, func(p string) bool {
			prefix, ok := strings.CutSuffix(p, "*")
			return name == p || ok && strings.HasPrefix(name, prefix)
		})
	})
}

func writeInitramfs(w io.Writer, k kernel, s spec) error {
	modules, err := k.moduleFiles(guestModules...)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	js, err := json.Marshal(s)
	if err != nil {
		return err
	}
	c := cpio{w: w}
	for _, d := range []string{"dev", "proc", "sys", "host", "rw", "root", "modules"} {
		c.add(d, cpioDir, nil)
	}
	for i, m := range modules {
		b, err := os.ReadFile(m)
		if err != nil {
			return err
		}
		c.add(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(m)), cpioFile, b)
	}
	init, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	c.add("init", cpioFile, init)
	c.add("spec.json", cpioFile, js)
	return c.close()
}

// machine is a running guest.
type machine struct {
	cmd     *exec.Cmd
	copies  sync.WaitGroup
	console tail
	stderr  tail // QEMU's own words
	status  bytes.Buffer
	ended   chan struct{} // closed when the guest has reported a status
}

// startGuest starts QEMU. The three channels and the console are pipes that it
// writes to, so that what the program prints is not mixed with the kernel's.
func startGuest(o options, k kernel, initrd *os.File) (*machine, error) {
	m := &machine{ended: make(chan struct{})}
	args := []string{
		"-accel", "tcg", "-machine", "pc", "-cpu", "max",
		"-smp", fmt.Sprint(o.cpus), "-m", fmt.Sprint(o.memoryMiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none",
		"-kernel", k.vmlinux, "-initrd", inherited(0), "-append", commandLine(o.console),
		"-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
		"-device", "virtio-serial-pci",
	}
	sinks := []struct {
		name string
		to   io.Writer
	}{{"console", &m.console}, {"stdout", os.Stdout}, {"stderr", os.Stderr}, {"status", &statusWriter{m: m}}}
	if o.console {
		sinks[0].to = io.MultiWriter(&m.console, os.Stderr)
	}
	m.cmd = exec.Command("qemu-system-x86_64")
	m.cmd.ExtraFiles = []*os.File{initrd}
	for i, sink := range sinks {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer w.Close()
		m.cmd.ExtraFiles = append(m.cmd.ExtraFiles, w)
		m.copies.Go(func() { _, _ = io.Copy(sink.to, r); r.Close() })
		args = append(args, "-chardev", fmt.Sprintf("file,id=%s,path=%s", sink.name, inherited(1+i)))
		if sink.name == "console" {
			args = append(args, "-serial", "chardev:console")
		} else {
			args = append(args, "-device", fmt.Sprintf("virtserialport,chardev=%s,name=%s", sink.name, sink.name))
		}
	}
	m.cmd.Args = append(m.cmd.Args, args...)
	m.cmd.Stderr = &m.stderr
	// Nothing may outlive vmrun: its parent may kill it with SIGKILL. The death
	// signal belongs to the thread that forks, hence the lock; a process group
	// of its own keeps Ctrl-C for vmrun.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	runtime.LockOSThread()
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start QEMU: %w (package qemu-system-x86)", err)
	}
	return m, nil
}

// inherited is what QEMU calls one of exec.Cmd's ExtraFiles.
func inherited(i int) string { return fmt.Sprintf("/proc/self/fd/%d", 3+i) }

func commandLine(verbose bool) string {
	// The emulated CPU needs no defences; its TSC is measured while QEMU may not be
	// running, so it is not for telling time.
	line := "console=ttyS0 clocksource=hpet panic=-1 reboot=t mitigations=off random.trust_cpu=on cryptomgr.notests"
	if !verbose {
		line += " quiet"
	}
	return line
}

// wait returns the program's exit status, or says why there is none.
func (m *machine) wait(timeout time.Duration) (int, error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	var waitErr, cause error
	exited := make(chan struct{})
	go func() { waitErr = m.cmd.Wait(); close(exited) }()
	select {
	case <-m.ended:
	case s := <-signals:
		cause = fmt.Errorf("ended by signal: %v", s)
	case <-patience.After(timeout):
		cause = fmt.Errorf("the guest did not end within %v", timeout)
	case <-exited:
		cause = errors.New("the guest ended without a status")
		if waitErr != nil {
			cause = fmt.Errorf("qemu-system-x86_64: %w: %s", waitErr, m.stderr.String())
		}
	}
	_ = m.cmd.Process.Kill() // the guest has synchronized its files before it reports
	<-exited
	m.copies.Wait()
	var code int
	if _, err := fmt.Sscanf(m.status.String(), "exit %d", &code); err == nil {
		return code, nil
	}
	if reason, ok := strings.CutPrefix(m.status.String(), "error "); ok {
		cause = errors.New("guest: " + strings.TrimSpace(reason))
	}
	return 0, fmt.Errorf("%w\n--- the end of the guest's console:\n%s", cause, m.console.String())
}

// statusWriter ends the machine at the first complete line.
type statusWriter struct{ m *machine }

func (w *statusWriter) Write(p []byte) (int, error) {
	before := bytes.Contains(w.m.status.Bytes(), []byte("\n"))
	w.m.status.Write(p)
	if !before && bytes.Contains(w.m.status.Bytes(), []byte("\n")) {
		close(w.m.ended)
	}
	return len(p), nil
}

// tail keeps the last 8 KiB that were written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 8<<10 {
		t.b = slices.Clone(t.b[len(t.b)-8<<10:])
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.b)) }
