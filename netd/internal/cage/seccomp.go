package cage

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rule is what becomes of a system call. It is allowed if all conditions of one of
// its cases hold, or if it has none; otherwise it is refused.
type rule struct {
	call  uintptr
	cases [][]condition
}

// condition: the argument (its lower 32 bits, all that the kernel looks at for
// what is tested here) and the mask, is one of the values.
type condition struct {
	arg    int
	mask   uint32
	values []uint32
}

const all = ^uint32(0)

func is(arg int, values ...uint32) condition { return condition{arg, all, values} }
func without(arg int, bits uint32) condition { return condition{arg, bits, []uint32{0}} }

// plain are the calls whose arguments do not matter: on descriptors that the
// process has, and on itself.
func plain() []uintptr {
	return append(archPlain(),
		// Go's runtime (runtime/sys_linux_*.s, internal/runtime/syscall)
		unix.SYS_CLOCK_GETTIME, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_FUTEX, unix.SYS_GETPID, unix.SYS_GETRANDOM, unix.SYS_GETTID,
		unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_MUNMAP, unix.SYS_NANOSLEEP, unix.SYS_RESTART_SYSCALL, unix.SYS_RT_SIGACTION,
		unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SCHED_YIELD, unix.SYS_SIGALTSTACK, unix.SYS_UNAME,
		// descriptors
		unix.SYS_CLOSE, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_FCNTL, unix.SYS_PREAD64, unix.SYS_READ, unix.SYS_READV, unix.SYS_WRITE, unix.SYS_WRITEV,
		// sockets
		unix.SYS_ACCEPT4, unix.SYS_BIND, unix.SYS_CONNECT, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKNAME, unix.SYS_GETSOCKOPT, unix.SYS_LISTEN,
		unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_SHUTDOWN,
		// less and less: DropCapabilities
		unix.SYS_CAPSET,
	)
}

// tested are the calls that are allowed with some arguments.
func tested(pid int, w Work) []rule {
	const (
		newThread = unix.CLONE_THREAD | unix.CLONE_VM | unix.CLONE_SIGHAND
		newKinds  = unix.CLONE_NEWNS | unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	)
	own := map[Work]func() []rule{Streams: streams, Datagrams: datagrams}[w]
	return append(append(archTested(), own()...), []rule{
		// Threads, no processes.
		{unix.SYS_CLONE, [][]condition{{{0, newThread | newKinds, []uint32{newThread}}}}},
		// Signals within the process: how Go's scheduler pre-empts.
		{unix.SYS_TGKILL, [][]condition{{is(0, uint32(pid))}}},
		// Memory that is not code.
		{unix.SYS_MMAP, [][]condition{{without(2, unix.PROT_EXEC)}}},
		{unix.SYS_MPROTECT, [][]condition{{without(2, unix.PROT_EXEC)}}},
		// Go names its memory.
		{unix.SYS_PRCTL, [][]condition{{is(0, unix.PR_SET_VMA)}}},
		// To a socket that is connected: TCP Fast Open connects past Landlock.
		{unix.SYS_SENDTO, [][]condition{{without(3, unix.MSG_FASTOPEN)}}},
		{unix.SYS_SENDMSG, [][]condition{{without(2, unix.MSG_FASTOPEN)}}},
	}...)
}

// sockets lets a process open those of a type and protocol of the internet, and what
// reads the links' names and neighbours, which zones of link-local addresses need:
// without CAP_NET_ADMIN nothing can be changed by it.
func sockets(kind, protocol uint32) rule {
	const typeMask = ^uint32(unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC)
	return rule{unix.SYS_SOCKET, [][]condition{
		{is(0, unix.AF_INET, unix.AF_INET6), {1, typeMask, []uint32{kind}}, is(2, 0, protocol)},
		{is(0, unix.AF_NETLINK), {1, typeMask, []uint32{unix.SOCK_RAW}}, is(2, unix.NETLINK_ROUTE)},
	}}
}

// streams are a speaker's.
func streams() []rule {
	const minHops = 73 // IPV6_MINHOPCOUNT, RFC 5082
	return []rule{
		sockets(unix.SOCK_STREAM, unix.IPPROTO_TCP),
		{unix.SYS_SETSOCKOPT, [][]condition{
			{is(1, unix.SOL_SOCKET), is(2, unix.SO_REUSEADDR, unix.SO_KEEPALIVE, unix.SO_BINDTODEVICE, unix.SO_LINGER, unix.SO_RCVBUF, unix.SO_SNDBUF)},
			{is(1, unix.IPPROTO_IP), is(2, unix.IP_TTL, unix.IP_MINTTL, unix.IP_TOS)},
			{is(1, unix.IPPROTO_IPV6), is(2, unix.IPV6_V6ONLY, unix.IPV6_UNICAST_HOPS, minHops, unix.IPV6_TCLASS)},
			{is(1, unix.IPPROTO_TCP), is(2, unix.TCP_NODELAY, unix.TCP_MAXSEG, unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT,
				unix.TCP_USER_TIMEOUT, unix.TCP_MD5SIG, unix.TCP_MD5SIG_EXT)},
			{is(1, unix.SOL_NETLINK), is(2, unix.NETLINK_EXT_ACK)},
		}},
	}
}

// datagrams are BFD's: it waits for several sockets at once, and filters what they get.
func datagrams() []rule {
	return []rule{
		sockets(unix.SOCK_DGRAM, unix.IPPROTO_UDP),
		{unix.SYS_PPOLL, nil},
		{unix.SYS_SETSOCKOPT, [][]condition{
			{is(1, unix.SOL_SOCKET), is(2, unix.SO_TIMESTAMPNS, unix.SO_RCVBUF, unix.SO_DONTROUTE, unix.SO_ATTACH_FILTER)},
			{is(1, unix.IPPROTO_IP), is(2, unix.IP_PKTINFO, unix.IP_TTL, unix.IP_TOS)},
			{is(1, unix.IPPROTO_IPV6), is(2, unix.IPV6_V6ONLY, unix.IPV6_RECVPKTINFO, unix.IPV6_UNICAST_HOPS, unix.IPV6_TCLASS)},
		}},
	}
}

// fatal are the calls that no speaker and no BFD makes, by mistake or by a newer
// library: whoever makes one has taken it over.
func fatal() []uintptr {
	return append(archFatal(),
		unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
		unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID, unix.SYS_SETGROUPS,
		unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT,
		unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_BY_HANDLE_AT,
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT,
		unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
		unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_SYSLOG,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_PERSONALITY, unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET,
	)
}

const (
	refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	// Offsets in struct seccomp_data; both architectures are little-endian.
	offsetCall, offsetArch, offsetArgs = 0, 4, 16
)

func load(offset int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(offset)}
}

func end(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// equal goes on if the accumulator is v, and otherwise passes over n instructions.
func equal(v uint32, n int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: v, Jf: uint8(n)}
}

// holds is the code of one case: it allows if the conditions hold, and otherwise
// falls through to what comes after it.
func holds(conditions []condition) []unix.SockFilter {
	rest := []unix.SockFilter{end(unix.SECCOMP_RET_ALLOW)}
	for i := len(conditions) - 1; i >= 0; i-- {
		c := conditions[i]
		code := []unix.SockFilter{load(offsetArgs + 8*c.arg)}
		if c.mask != all {
			code = append(code, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: c.mask})
		}
		last := len(c.values) - 1
		for j, v := range c.values[:last] {
			code = append(code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: v, Jt: uint8(last - j)})
		}
		rest = append(append(code, equal(c.values[last], len(rest))), rest...)
	}
	return rest
}

// filter is the program (seccomp(2)); pid is the process' own.
func filter(pid int, w Work) []unix.SockFilter {
	code := []unix.SockFilter{
		load(offsetArch),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: auditArch, Jt: 1},
		end(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetCall),
	}
	for _, call := range plain() {
		code = append(code, equal(uint32(call), 1), end(unix.SECCOMP_RET_ALLOW))
	}
	for _, r := range tested(pid, w) {
		var block []unix.SockFilter
		for _, conditions := range r.cases {
			block = append(block, holds(conditions)...)
		}
		if r.cases == nil {
			block = append(block, end(unix.SECCOMP_RET_ALLOW))
		} else {
			block = append(block, end(refuse))
		}
		code = append(append(code, equal(uint32(r.call), len(block))), block...)
	}
	for _, call := range fatal() {
		code = append(code, equal(uint32(call), 1), end(unix.SECCOMP_RET_KILL_PROCESS))
	}
	return append(code, end(refuse))
}

// seccomp puts the filter on all threads. What it refuses is in the kernel's log.
func (c Config) seccomp() error {
	code := filter(os.Getpid(), c.Work)
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC|unix.SECCOMP_FILTER_FLAG_LOG, uintptr(unsafe.Pointer(&program)))
	switch {
	case errno != 0:
		return errno
	case thread != 0:
		return fmt.Errorf("thread %d has a filter of its own", thread)
	}
	return nil
}
