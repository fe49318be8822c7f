package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"netd/firmware/boot"
)

// guestMain is PID 1 of the guest: it makes the guest look like the host, runs
// the program, reports its exit status and never returns.
func guestMain() {
	ports, err := openPorts()
	if err != nil {
		fmt.Fprintf(os.Stderr, "vmrun guest: %v\n", err)
		powerOff()
	}
	code, err := guestRun(ports)
	unix.Sync()
	if err != nil {
		fmt.Fprintf(ports["status"], "error %v\n", strings.ReplaceAll(err.Error(), "\n", " "))
	} else {
		fmt.Fprintf(ports["status"], "exit %d\n", code)
	}
	powerOff()
}

func powerOff() {
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // if it fails, the host's deadline ends the guest
	select {}
}

// openPorts loads the first modules and opens the virtio-serial ports by name.
func openPorts() (map[string]*os.File, error) {
	for _, m := range []mount{
		{"devtmpfs", "/dev", "devtmpfs", ""}, {"proc", "/proc", "proc", ""}, {"sysfs", "/sys", "sysfs", ""},
	} {
		if err := m.do(""); err != nil {
			return nil, err
		}
	}
	modules, err := filepath.Glob("/modules/*")
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		if err := boot.LoadModule(m); err != nil {
			return nil, err
		}
	}
	ports := map[string]*os.File{"stdout": nil, "stderr": nil, "status": nil}
	deadline := time.Now().Add(10 * time.Second)
	for name := range ports {
		for ports[name] == nil {
			ports[name], err = openPort(name)
			if err != nil && time.Now().After(deadline) {
				return nil, err
			}
			time.Sleep(time.Millisecond)
		}
	}
	return ports, nil
}

// openPort finds a port by the name that the host gave it. Ports appear some
// time after their driver: the host announces them one by one.
func openPort(name string) (*os.File, error) {
	files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(b)) == name {
			return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(f)), os.O_WRONLY, 0)
		}
	}
	return nil, fmt.Errorf("open the virtio-serial port %s: not among %v", name, files)
}

type mount struct{ source, target, fstype, data string }

func (m mount) do(root string) error {
	return boot.Mount{Source: m.source, Target: root + m.target, Type: m.fstype, Data: m.data}.Do()
}

func bind(from, to string) error {
	return boot.Mount{Source: from, Target: to, Flags: unix.MS_BIND}.Do()
}

// ninePOptions: virtio carries at most 125 pages in one message.
const ninePOptions = "trans=virtio,version=9p2000.L,msize=512000"

// guestRun builds the root, enters it and runs the program.
func guestRun(ports map[string]*os.File) (int, error) {
	js, err := os.ReadFile("/spec.json")
	if err != nil {
		return 0, err
	}
	var s spec
	if err := json.Unmarshal(js, &s); err != nil {
		return 0, fmt.Errorf("parse spec.json: %w", err)
	}
	if err := buildRoot(s); err != nil {
		return 0, err
	}
	if err := enterRoot(); err != nil {
		return 0, err
	}
	if err := settle(); err != nil {
		return 0, err
	}
	return runProgram(s, ports)
}

// buildRoot mounts the root at /root. /tmp is a tmpfs, not the overlay: an
// overlay's upper directory can not be on another overlay, and tests of
// containers put theirs there.
func buildRoot(s spec) error {
	for _, m := range []mount{
		{"host", "/host", "9p", ninePOptions + ",cache=loose"},
		{"tmpfs", "/rw", "tmpfs", "size=75%"},
	} {
		if err := m.do(""); err != nil {
			return err
		}
	}
	for _, d := range []string{"/rw/upper", "/rw/work"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	for _, m := range []mount{
		{"root", "", "overlay", "lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work"},
		{"proc", "/proc", "proc", ""},
		{"sysfs", "/sys", "sysfs", ""},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", ""},
		{"bpf", "/sys/fs/bpf", "bpf", ""},
		{"tracefs", "/sys/kernel/tracing", "tracefs", ""},
		{"devtmpfs", "/dev", "devtmpfs", ""},
		{"devpts", "/dev/pts", "devpts", "ptmxmode=0666"},
		{"tmpfs", "/dev/shm", "tmpfs", "mode=1777"},
		{"tmpfs", "/run", "tmpfs", "mode=755"},
		{"tmpfs", "/tmp", "tmpfs", "mode=1777,size=75%"},
	} {
		if err := m.do("/root"); err != nil {
			return err
		}
	}
	for _, dir := range s.Keep {
		if strings.HasPrefix(dir+"/", "/tmp/") && dir != "/tmp" {
			if err := bind("/host"+dir, "/root"+dir); err != nil {
				return err
			}
		}
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	return bind("/host"+s.Modules, "/root/lib/modules/"+strings.TrimSpace(string(release)))
}

// enterRoot makes /root the root as switch_root does: an initramfs can not be
// left by pivot_root.
func enterRoot() error {
	if err := os.Chdir("/root"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the new root to /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	return os.Chdir("/")
}

// settle does what a booted system has done: a host name, the device nodes
// whose opening loads their module, cgroup controllers, loopback.
func settle() error {
	if _, err := os.Stat("/sbin/modprobe"); err != nil {
		return fmt.Errorf("%w (package kmod)", err)
	}
	if err := os.MkdirAll("/dev/net", 0o755); err != nil {
		return err
	}
	for node, minor := range map[string]uint32{"net/tun": 200, "loop-control": 237, "fuse": 229} {
		if err := unix.Mknod("/dev/"+node, unix.S_IFCHR|0o600, int(unix.Mkdev(10, minor))); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("make /dev/%s: %w", node, err)
		}
	}
	if err := unix.Sethostname([]byte("vmrun")); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+cpu +memory +pids +io"), 0); err != nil {
		return err
	}
	return boot.LinkUp("lo")
}

// runProgram starts the program and reaps everything until it ends: orphans
// would stay zombies, and tests ask whether a process is gone.
func runProgram(s spec, ports map[string]*os.File) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	var copies sync.WaitGroup
	files := []uintptr{null.Fd()}
	var ends []*os.File
	for _, name := range []string{"stdout", "stderr"} {
		r, w, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		copies.Go(func() { _, _ = io.Copy(ports[name], r) })
		files = append(files, w.Fd())
		ends = append(ends, w)
	}
	pid, err := syscall.ForkExec(s.Argv[0], s.Argv, &syscall.ProcAttr{Dir: s.Dir, Env: s.Env, Files: files})
	if err != nil {
		return 0, fmt.Errorf("start %s in %s: %w", s.Argv[0], s.Dir, err)
	}
	for _, w := range ends {
		w.Close()
	}
	var status syscall.WaitStatus
	for {
		got, err := syscall.Wait4(-1, &status, 0, nil)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return 0, fmt.Errorf("wait for %s: %w", s.Argv[0], err)
		}
		if got == pid {
			break
		}
	}
	// What it left behind may hold the pipes open for good.
	drained := make(chan struct{})
	go func() { copies.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(time.Second):
	}
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}
