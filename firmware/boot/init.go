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
// netd is the program that has the daemons' roles. mountData, if not nil, mounts
// layout.Data, however long that takes, and says how it goes.
func Init(netd string, mountData func(say func(format string, args ...any))) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("this process is number %d: init is what the kernel starts", os.Getpid())
	}
	in := &initProcess{console: speech{outlet.New(os.Stderr, consoleRoom)}}
	in.prepare()
	words, err := os.ReadFile("/proc/cmdline")
	in.check(err)
	consoles := consolesOf(string(words), graphics)
	in.console = in.console.with(consoles)
	in.dog = openWatchdog(watchdogDev)
	in.check(in.dog.err)
	if mountData != nil {
		in.wait(func() { mountData(in.say) })
	}
	in.furnish()
	how := in.supervise(in.services(netd, consoles))
	in.shutDown(how)
	select {} // reboot(2) does not return
}

// initProcess says what it does on a console that may take no octet: a serial line that
// XOFF has stopped keeps neither the watchdog from being fed nor a daemon from its start.
type initProcess struct {
	console speech
	dog     *watchdog
}

// waitLimit is how long the watchdog is fed while a disk is waited for: one that does not
// answer then is the reset's business.
const waitLimit = time.Hour

// wait feeds the watchdog while f takes its time.
func (in *initProcess) wait(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	feed := time.NewTicker(watchdogFeed)
	defer feed.Stop()
	for start := time.Now(); ; {
		select {
		case <-done:
			return
		case <-feed.C:
			if time.Since(start) < waitLimit {
				in.dog.feed()
			}
		}
	}
}

// flushTimeout is how long the way down waits for such a console.
const flushTimeout = time.Second

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
	in.console.flush(ctx)
}

// prepare is everything before the data partition.
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
	in.check(os.MkdirAll(layout.LogDir, 0o755))
}

// furnish is what is left before the first daemon.
func (in *initProcess) furnish() {
	folders{in.say, layout.DataRepaired}.clear(layout.DataDir, layout.ContainerdRoot)
	in.check(setClock(layout.Manifest, layout.Clock))
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

// services are the daemons, in the order of their start, and the logins.
func (in *initProcess) services(netd string, consoles []console) []Service {
	s := []Service{
		{Name: "containerd", Argv: []string{netd, "containerd"}},
		// SIGINT: peers are told that we leave, instead of waiting for us to come back.
		{Name: "run", Argv: []string{netd, "run", "--appliance"}, Goodbye: syscall.SIGINT},
	}
	if len(consoles) == 0 {
		in.say("the kernel's command line has no console=: there is no login")
	}
	for _, c := range consoles {
		s = append(s, Service{
			Name: "login on " + c.tty, Argv: []string{"/usr/bin/getty", "-L", strconv.Itoa(c.baud), c.tty, c.kind},
			// Its first screen says what the agent has found, and nobody can log in before.
			Terminal: true, After: layout.Issue,
		})
	}
	return s
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
	s := NewSupervisor(services, layout.LogDir, []string{"PATH=/usr/bin", "HOME=/root", "TERM=vt100"}, in.console)
	button := powerButtons("/dev/input")
	feed := time.NewTicker(watchdogFeed)
	save := time.NewTicker(clockPeriod)
	for {
		select {
		case <-feed.C:
			in.dog.feed()
		case <-save.C:
			in.check(saveClock(layout.Clock))
		case <-button:
			in.say("power button")
			return in.stop(s, unix.LINUX_REBOOT_CMD_POWER_OFF)
		case sig := <-signals:
			return in.stop(s, rebootCommand(sig))
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

func (in *initProcess) stop(s *Supervisor, how int) int {
	in.say("going down")
	in.check(saveClock(layout.Clock))
	s.Stop(in.dog.feed)
	s.KillAll(in.dog.feed)
	if how != unix.LINUX_REBOOT_CMD_RESTART {
		in.dog.disarm()
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
