//go:build net || vm

package cage

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probe is something that a process in the cage must not be able to do.
type probe struct {
	name string
	try  func(probeEnv) error
	want outcome
	// free: without the cage it succeeds, for the same user without capabilities.
	free bool
}

// probeEnv is what the probes are aimed at.
type probeEnv struct {
	dir    string // everybody may write to it; has "file" and "socket", which somebody listens on
	parent int
}

// outcome of a probe: an error's number, or killed, or done.
type outcome int

const (
	done   outcome = 0
	killed outcome = -1 // by SIGSYS
	eperm          = outcome(unix.EPERM)
	eacces         = outcome(unix.EACCES)
)

func (o outcome) String() string {
	switch o {
	case done:
		return "done"
	case killed:
		return "killed by SIGSYS"
	}
	return "refused: " + unix.ErrnoName(syscall.Errno(o))
}

// call makes a bare system call.
func call(trap uintptr, args ...uintptr) func(probeEnv) error {
	return func(probeEnv) error {
		var a [6]uintptr
		copy(a[:], args)
		if _, _, errno := unix.Syscall6(trap, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}
}

func file(try func(path string) error) func(probeEnv) error {
	return func(e probeEnv) error { return try(filepath.Join(e.dir, "file")) }
}

func read(path string) func(probeEnv) error {
	return func(probeEnv) error { _, err := os.ReadFile(path); return err }
}

func socket(domain, kind, protocol int) func(probeEnv) error {
	return func(probeEnv) error { _, err := unix.Socket(domain, kind, protocol); return err }
}

// tcp gives try a TCP socket.
func tcp(try func(fd int) error) func(probeEnv) error {
	return func(probeEnv) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return try(fd)
	}
}

func option(level, name int) func(probeEnv) error {
	return tcp(func(fd int) error { return unix.SetsockoptInt(fd, level, name, 1) })
}

func loopback(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

// addLink asks the kernel for a bridge, which needs CAP_NET_ADMIN.
func addLink(probeEnv) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	header := unix.NlMsghdr{Len: unix.SizeofNlMsghdr + unix.SizeofIfInfomsg, Type: unix.RTM_NEWLINK, Flags: unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_ACK}
	message := append(unsafe.Slice((*byte)(unsafe.Pointer(&header)), unix.SizeofNlMsghdr), make([]byte, unix.SizeofIfInfomsg)...)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	if _, _, err := unix.Recvfrom(fd, answer, 0); err != nil {
		return err
	}
	if n := -*(*int32)(unsafe.Pointer(&answer[unix.SizeofNlMsghdr])); n != 0 {
		return syscall.Errno(n)
	}
	return nil
}

func code(try func(page []byte) error) func(probeEnv) error {
	return func(probeEnv) error {
		page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return err
		}
		return try(page)
	}
}

var zero [256]byte

func someMemory() uintptr { return uintptr(unsafe.Pointer(&zero[0])) }

// fileProbes and those that follow are what is tried.
func fileProbes() []probe {
	return []probe{
		{"read /etc/shadow", read("/etc/shadow"), eperm, false},
		{"read /etc/passwd", read("/etc/passwd"), eperm, true},
		{"read its own environment", read("/proc/self/environ"), eperm, true},
		{"list /", func(probeEnv) error { _, err := os.ReadDir("/"); return err }, eperm, true},
		{"ask for a file's size", file(func(p string) error { _, err := os.Stat(p); return err }), eperm, true},
		{"make a file", file(func(p string) error { return os.WriteFile(p+"2", nil, 0o600) }), eperm, true},
		{"append to a file", file(func(p string) error { _, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0); return err }), eperm, true},
		{"truncate a file", file(func(p string) error { return os.Truncate(p, 0) }), eperm, true},
		{"make a folder", file(func(p string) error { return os.Mkdir(p+"3", 0o700) }), eperm, true},
		{"link to a file", file(func(p string) error { return os.Symlink(p, p+"4") }), eperm, true},
		{"make a pipe with a name", file(func(p string) error { return unix.Mknod(p+"5", unix.S_IFIFO, 0) }), eperm, true},
		{"rename a file", file(func(p string) error { return os.Rename(p, p+"6") }), eperm, true},
		{"remove a file", file(os.Remove), eperm, true},
		{"watch a file", func(probeEnv) error { _, err := unix.InotifyInit1(0); return err }, eperm, true},
		{"change a sysctl", func(probeEnv) error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }, eperm, false},
		{"write into the parent's memory", func(e probeEnv) error {
			_, err := os.OpenFile(filepath.Join("/proc", itoa(e.parent), "mem"), os.O_RDWR, 0)
			return err
		}, eperm, false},
		{"mount", call(unix.SYS_MOUNT, 0, someMemory(), 0, unix.MS_REMOUNT, 0), killed, false},
		{"open a file system", call(unix.SYS_FSOPEN, someMemory(), 0), killed, false},
		{"chroot", call(unix.SYS_CHROOT, someMemory()), killed, false},
		{"pivot_root", call(unix.SYS_PIVOT_ROOT, someMemory(), someMemory()), killed, false},
		{"open by handle", call(unix.SYS_OPEN_BY_HANDLE_AT, 0, someMemory(), 0), killed, false},
		{"memory as a file", func(probeEnv) error { _, err := unix.MemfdCreate("x", 0); return err }, killed, true},
	}
}

func processProbes() []probe {
	return []probe{
		{"become another program", func(probeEnv) error { return unix.Exec("/bin/true", []string{"true"}, nil) }, killed, false},
		{"execveat", call(unix.SYS_EXECVEAT, 0, someMemory(), 0, 0, unix.AT_EMPTY_PATH), killed, false},
		{"start a program", func(probeEnv) error { return exec.Command("/bin/true").Run() }, eperm, true},
		{"fork in a user namespace of its own", call(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD)), eperm, false},
		{"clone3", call(unix.SYS_CLONE3, someMemory(), 64), eperm, false},
		{"unshare", call(unix.SYS_UNSHARE, unix.CLONE_NEWUTS), killed, false},
		{"setns", call(unix.SYS_SETNS, 0, 0), killed, false},
		{"trace the parent", func(e probeEnv) error { return unix.PtraceAttach(e.parent) }, killed, false},
		{"read the parent's memory", func(e probeEnv) error { return call(unix.SYS_PROCESS_VM_READV, uintptr(e.parent))(e) }, killed, false},
		{"kill the parent", func(e probeEnv) error { return unix.Kill(e.parent, unix.SIGTERM) }, eperm, false},
		{"kill one thread of it", func(e probeEnv) error { return unix.Tgkill(e.parent, e.parent, unix.SIGTERM) }, eperm, false},
		{"hold another process", func(e probeEnv) error { _, err := unix.PidfdOpen(e.parent, 0); return err }, eperm, true},
		{"raise its priority", func(probeEnv) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -1) }, eperm, false},
		{"become root", call(unix.SYS_SETUID, 0), killed, false},
		{"join a group", call(unix.SYS_SETGROUPS, 0, 0), killed, false},
		{"regain its capability", func(probeEnv) error {
			d := [2]unix.CapUserData{{Effective: 1 << unix.CAP_NET_BIND_SERVICE, Permitted: 1 << unix.CAP_NET_BIND_SERVICE}}
			return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &d[0])
		}, eperm, false},
		{"make a capability ambient", func(probeEnv) error {
			return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_BIND_SERVICE, 0, 0)
		}, eperm, false},
		{"allow to be traced", func(probeEnv) error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }, eperm, true},
		{"raise its memory limit", func(probeEnv) error {
			return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
		}, eperm, true},
		{"map code", func(probeEnv) error {
			_, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
			return err
		}, eperm, true},
		{"make data code", code(func(page []byte) error { return unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC) }), eperm, true},
		{"personality", call(unix.SYS_PERSONALITY, 0xffffffff), killed, true},
		{"another seccomp filter", call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_STRICT, 1, 0), eperm, false},
	}
}

func kernelProbes() []probe {
	return []probe{
		{"load BPF", call(unix.SYS_BPF, 0, someMemory(), 64), killed, false},
		{"perf_event_open", call(unix.SYS_PERF_EVENT_OPEN, someMemory(), 0, ^uintptr(0), ^uintptr(0)), killed, false},
		{"userfaultfd", call(unix.SYS_USERFAULTFD), killed, false},
		{"io_uring", call(unix.SYS_IO_URING_SETUP, 1, someMemory()), killed, false},
		{"read its keys", call(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 1), killed, false},
		{"load a module", call(unix.SYS_FINIT_MODULE, 0, someMemory(), 0), killed, false},
		{"load another kernel", call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0), killed, false},
		{"reboot", call(unix.SYS_REBOOT, 0, 0, 0, 0), killed, false}, // wrong magic: it would do nothing
		{"set the clock", call(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, 0), killed, false},
		{"set the host's name", call(unix.SYS_SETHOSTNAME, someMemory(), 0), killed, false},
		{"read the kernel's log", call(unix.SYS_SYSLOG, 3, someMemory(), 1), killed, false},
		{"control a device", func(probeEnv) error { _, err := unix.IoctlGetInt(0, unix.TIOCINQ); return err }, eperm, false},
		{"lock its memory", call(unix.SYS_MLOCKALL, unix.MCL_CURRENT), eperm, false},
	}
}

func networkProbes() []probe {
	return []probe{
		{"connect to a unix socket", func(e probeEnv) error { _, err := net.Dial("unix", filepath.Join(e.dir, "socket")); return err }, eperm, true},
		{"make a pair of sockets", func(probeEnv) error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err }, eperm, true},
		{"UDP", socket(unix.AF_INET, unix.SOCK_DGRAM, 0), eperm, true},
		{"MPTCP", socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP), eperm, false},
		{"raw IP", socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), eperm, false},
		{"raw Ethernet", socket(unix.AF_PACKET, unix.SOCK_RAW, 0), eperm, false},
		{"the kernel's crypto", socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0), eperm, false},
		{"netfilter", socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), eperm, true},
		{"make a link", addLink, eperm, false},
		{"listen on port 80", tcp(func(fd int) error { return unix.Bind(fd, loopback(80)) }), eacces, false},
		{"filter what a socket gets", option(unix.SOL_SOCKET, unix.SO_ATTACH_FILTER), eperm, false},
		{"mark packets", option(unix.SOL_SOCKET, unix.SO_MARK), eperm, false},
		{"TLS in the kernel", option(unix.IPPROTO_TCP, unix.TCP_ULP), eperm, false},
		{"have any address", option(unix.IPPROTO_IP, unix.IP_TRANSPARENT), eperm, false},
		{"connect by sending", tcp(func(fd int) error { return unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, loopback(80)) }), eperm, false},
	}
}

// portProbes need Landlock's ports.
func portProbes() []probe {
	return []probe{
		{"connect to port 8080", tcp(func(fd int) error { return unix.Connect(fd, loopback(8080)) }), eacces, true},
		{"listen on port 8081", tcp(func(fd int) error { return unix.Bind(fd, loopback(8081)) }), eacces, true},
	}
}

// datagramProbes are where BFD's cage is another one than the speaker's.
func datagramProbes() []probe {
	// udp sets options of a socket.
	udp := func(family int, options ...[2]int) func(probeEnv) error {
		return func(probeEnv) error {
			fd, err := unix.Socket(family, unix.SOCK_DGRAM, unix.IPPROTO_UDP)
			for _, o := range options {
				if err == nil {
					err = unix.SetsockoptInt(fd, o[0], o[1], 1)
				}
			}
			return err
		}
	}
	return []probe{
		{"BFD reads the links", func(probeEnv) error { _, err := net.Interfaces(); return err }, done, true},
		{"BFD over IPv4", udp(unix.AF_INET, [2]int{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS}, [2]int{unix.SOL_SOCKET, unix.SO_RCVBUF}, [2]int{unix.SOL_SOCKET, unix.SO_DONTROUTE},
			[2]int{unix.IPPROTO_IP, unix.IP_PKTINFO}, [2]int{unix.IPPROTO_IP, unix.IP_TTL}, [2]int{unix.IPPROTO_IP, unix.IP_TOS}), done, true},
		{"BFD over IPv6", udp(unix.AF_INET6, [2]int{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}, [2]int{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO},
			[2]int{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS}, [2]int{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}), done, true},
		{"BFD with TCP", socket(unix.AF_INET, unix.SOCK_STREAM, 0), eperm, true},
		{"BFD with ICMP", socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP), eperm, false},
		{"BFD with a unix socket", socket(unix.AF_UNIX, unix.SOCK_STREAM, 0), eperm, true},
		{"BFD has any address", udp(unix.AF_INET, [2]int{unix.IPPROTO_IP, unix.IP_TRANSPARENT}), eperm, false},
		{"BFD marks packets", udp(unix.AF_INET, [2]int{unix.SOL_SOCKET, unix.SO_MARK}), eperm, false},
		{"BFD reads a file", read("/etc/passwd"), eperm, true},
		{"BFD starts a program", func(probeEnv) error { return unix.Exec("/bin/true", []string{"true"}, nil) }, killed, false},
	}
}
