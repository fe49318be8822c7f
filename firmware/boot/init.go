package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/layout"
	"netd/netd/outlet"
)

const watchdogDev = "/dev/watchdog"

// noPassword is what no password hashes to, with a salt that crypt(3) takes:
// busybox' login dies of one that it does not, such as the usual "*".
const noPassword = "$5$none$*"

// Init is PID 1: it returns only if it is not, and otherwise ends in reboot(2).
// netd is the program that has the daemons' roles.
func Init(netd string) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("this process is number %d: init is what the kernel starts", os.Getpid())
	}
	in := &initProcess{console: outlet.New(os.Stderr, consoleRoom)}
	in.prepare()
	how := in.supervise(in.services(netd))
	in.shutDown(how)
	select {} // reboot(2) does not return
}

// initProcess says what it does on a console that may take no octet: a serial line that
// XOFF has stopped keeps neither the watchdog from being fed nor a daemon from its start.
type initProcess struct{ console *outlet.Outlet }

const (
	// consoleRoom is what is kept for such a console, in octets.
	consoleRoom = 64 << 10
	// flushTimeout is how long the way down waits for it.
	flushTimeout = time.Second
)

func (in *initProcess) say(format string, args ...any) {
	fmt.Fprintf(in.console, "netd init: "+format+"\r\n", args...)
}

// check reports a step that went wrong; the next ones are taken all the same.
func (in *initProcess) check(err error) {
	if err == nil {
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		in.say("%s", line)
	}
}

// flush waits until the console has taken all, but for no longer than flushTimeout.
func (in *initProcess) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	in.console.Flush(ctx)
}

// prepare is everything before the first daemon.
func (in *initProcess) prepare() {
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, m := range []Mount{
		{"proc", "/proc", "proc", safe, ""},
		{"sysfs", "/sys", "sysfs", safe, ""},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, ""},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
		{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", safe, "nsdelegate"},
		{"bpf", "/sys/fs/bpf", "bpf", safe, "mode=700"},
	} {
		// Stage 1 has mounted some; an initramfs of somebody else's may have not.
		if !mounted(m.Target) {
			in.check(m.Do())
		}
	}
	in.check(os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+cpu +memory +pids +io"), 0))
	in.check(set("/proc/sys", early()))
	in.check(LoadModules(layout.ModuleList))
	tracked, err := conntrack()
	in.check(errors.Join(err, set("/proc/sys", tracked)))
	in.check(setClock(layout.Manifest, layout.Clock))
	in.check(os.MkdirAll(layout.LogDir, 0o755))
	// Nobody can log in until netd run has read the configuration.
	in.check(writeUnlessThere(layout.RunDir+"/shadow", "root:"+noPassword+":1::::::\n", 0o600))
	in.check(writeUnlessThere(layout.RunDir+"/hostname", "netd\n", 0o644))
	in.check(writeUnlessThere(layout.RunDir+"/resolv.conf", "", 0o644))
	if err := unix.Sethostname([]byte("netd")); err != nil {
		in.say("set the host name: %v", err)
	}
	in.check(LinkUp("lo"))
}

func writeUnlessThere(path, text string, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// LinkUp sets a link of this namespace up.
func LinkUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set link %s up: %w", name, err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("set link %s up: %w", name, err)
	}
	return nil
}

// services are the daemons, in the order of their start, and the console.
func (in *initProcess) services(netd string) []Service {
	s := []Service{
		{Name: "containerd", Argv: []string{netd, "containerd"}},
		// SIGINT: peers are told that we leave, instead of waiting for us to come back.
		{Name: "run", Argv: []string{netd, "run", "--appliance"}, Goodbye: syscall.SIGINT},
	}
	words, err := os.ReadFile("/proc/cmdline")
	in.check(err)
	if tty, baud, ok := consoleOf(string(words)); ok {
		s = append(s, Service{
			Name: "console", Argv: []string{"/usr/bin/getty", "-L", strconv.Itoa(baud), tty, "vt100"}, Terminal: true,
		})
	} else {
		in.say("the kernel's command line has no console=: there is no login")
	}
	return s
}

// consoleOf finds the last console=TTY[,BAUD…] on the kernel's command line,
// which is the one that /dev/console stands for.
func consoleOf(cmdline string) (tty string, baud int, ok bool) {
	for _, word := range strings.Fields(cmdline) {
		value, isConsole := strings.CutPrefix(word, "console=")
		if !isConsole {
			continue
		}
		name, options, _ := strings.Cut(value, ",")
		digits := strings.IndexFunc(options+"n", func(r rune) bool { return r < '0' || r > '9' })
		rate, err := strconv.Atoi(options[:digits])
		if err != nil {
			rate = 115200
		}
		tty, baud, ok = name, rate, name != ""
	}
	return tty, baud, ok
}

// supervise runs the services until someone wants the box down, and returns
// how: a command of reboot(2).
func (in *initProcess) supervise(services []Service) int {
	// Ctrl-Alt-Del becomes a SIGINT to this process.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		in.say("take over Ctrl-Alt-Del: %v", err)
	}
	// What busybox' reboot, poweroff and halt send to PID 1, and a power supply.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPWR)
	dog := openWatchdog(watchdogDev)
	in.check(dog.err)
	s := NewSupervisor(services, layout.LogDir, []string{"PATH=/usr/bin", "HOME=/root", "TERM=vt100"}, in.console)
	button := powerButtons("/dev/input")
	feed := time.NewTicker(watchdogFeed)
	save := time.NewTicker(clockPeriod)
	for {
		select {
		case <-feed.C:
			dog.feed()
		case <-save.C:
			in.check(saveClock(layout.Clock))
		case <-button:
			in.say("power button")
			return in.stop(s, dog, unix.LINUX_REBOOT_CMD_POWER_OFF)
		case sig := <-signals:
			return in.stop(s, dog, rebootCommand(sig))
		case <-s.Wake():
			s.Step()
		}
	}
}

func rebootCommand(sig os.Signal) int {
	switch sig {
	case syscall.SIGUSR1:
		return unix.LINUX_REBOOT_CMD_HALT
	case syscall.SIGUSR2, syscall.SIGPWR:
		return unix.LINUX_REBOOT_CMD_POWER_OFF
	}
	return unix.LINUX_REBOOT_CMD_RESTART
}

func (in *initProcess) stop(s *Supervisor, dog *watchdog, how int) int {
	in.say("going down")
	in.check(saveClock(layout.Clock))
	s.Stop(dog.feed)
	s.KillAll(dog.feed)
	if how != unix.LINUX_REBOOT_CMD_RESTART {
		dog.disarm()
	}
	return how
}

// shutDown takes the file systems away from what the disk holds.
func (in *initProcess) shutDown(how int) {
	in.check(unmountAll())
	unix.Sync()
	words := map[int]string{
		unix.LINUX_REBOOT_CMD_HALT: "halted", unix.LINUX_REBOOT_CMD_POWER_OFF: "power off", unix.LINUX_REBOOT_CMD_RESTART: "restart",
	}
	in.say("%s", words[how])
	in.flush()
	in.check(unix.Reboot(how))
}
