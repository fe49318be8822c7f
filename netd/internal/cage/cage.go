package cage

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Work is what a process in the cage does with the network.
type Work int

// Streams is TCP, for the BGP speaker. Datagrams is UDP, for BFD, and no port of TCP.
const (
	Streams Work = iota
	Datagrams
)

// Config is what the cage leaves open.
type Config struct {
	Work Work
	// Listen and Connect are the TCP ports to bind to and to connect to. Where the
	// kernel's Landlock is older than ports (ABI 4, Linux 6.7) they are not confined,
	// and Log says so.
	Listen, Connect []uint16
	Log             *slog.Logger
}

// Enter confines this process, all of its threads, for good. On an error it may be
// confined in part; it should end.
func Enter(c Config) error {
	// The first local time reads the zone's file; from now on there is none.
	_, _ = time.Now().Zone()
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"set limits", limit},
		{"give way when memory is short", c.giveWay},
		{"forbid tracing", func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }},
		{"set no_new_privs", noNewPrivileges},
		{"enter Landlock", c.landlock},
		{"enter seccomp", c.seccomp},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// Scores of the processes for the kernel when memory is short
// (proc_pid_oom_score_adj(5)): it ends pods first (500, package containers), then the
// speaker, whose loss takes no route, and last those without whom nothing is forwarded
// or told.
const (
	lastInLine   = -999
	speakersTurn = 0
)

// StayLast has the kernel end this process and its children last when memory is short. It
// needs a privilege that not every host gives.
func StayLast() error { return score("/proc/self/oom_score_adj", lastInLine) }

// giveWay is for what the agent has started, which has its place in the line.
func (c Config) giveWay() error {
	if c.Work == Datagrams {
		return nil
	}
	const file = "/proc/self/oom_score_adj"
	var now int
	b, err := os.ReadFile(file)
	if err == nil {
		_, err = fmt.Sscan(string(b), &now)
	}
	if err != nil || now >= speakersTurn { // Less is for the privileged.
		return err
	}
	return score(file, speakersTurn)
}

func score(file string, n int) error { return os.WriteFile(file, []byte(strconv.Itoa(n)), 0) }

// everyThread makes a system call in each thread: the attribute belongs to these.
func everyThread(trap, a1, a2, a3 uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall6(trap, a1, a2, a3, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func noNewPrivileges() error { return everyThread(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0) }

// DropCapabilities gives up all that is left. With them go the ambient ones
// (capabilities(7)).
func DropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := everyThread(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

const (
	// maxThreads counts those of all processes of the uid.
	maxThreads     = 1024
	maxDescriptors = 4096
	// The memory is a quarter of the machine's, within these bounds in octets.
	leastMemory = 256 << 20
	mostMemory  = 2 << 30
)

// Memory is how many octets a process in the cage may take on this machine. At the
// limit Go's runtime ends it.
func Memory() (uint64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("ask for the machine's memory: %w", err)
	}
	return min(max(info.Totalram*uint64(info.Unit)/4, leastMemory), mostMemory), nil
}

func limit() error {
	memory, err := Memory()
	if err != nil {
		return err
	}
	// Before the hard limit the garbage collector works harder.
	debug.SetMemoryLimit(int64(memory / 4 * 3))
	var errs []error
	for _, l := range []struct {
		what     string
		resource int
		most     uint64
	}{
		// Of the address space Go reserves more than it ever uses; RLIMIT_DATA
		// counts what can be written to (getrlimit(2), since Linux 4.7).
		{"memory", unix.RLIMIT_DATA, memory},
		{"threads", unix.RLIMIT_NPROC, maxThreads},
		{"descriptors", unix.RLIMIT_NOFILE, maxDescriptors},
		{"core", unix.RLIMIT_CORE, 0},
		{"locked memory", unix.RLIMIT_MEMLOCK, 0},
		{"message queues", unix.RLIMIT_MSGQUEUE, 0},
	} {
		if err := setLimit(l.resource, l.most); err != nil {
			errs = append(errs, fmt.Errorf("of %s to %d: %w", l.what, l.most, err))
		}
	}
	return errors.Join(errs...)
}

// setLimit lowers a limit for good; one that is lower stays.
func setLimit(resource int, most uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return err
	}
	most = min(most, now.Max)
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most})
}
