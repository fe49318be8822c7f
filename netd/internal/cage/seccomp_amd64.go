package cage

import "golang.org/x/sys/unix"

// auditArch is also that of the x32 calls, whose numbers are above all others: no
// rule is about them, so they are refused.
const auditArch = unix.AUDIT_ARCH_X86_64

func archPlain() []uintptr { return nil }

// archSetFS is ARCH_SET_FS of arch_prctl(2): the thread-local storage of a new thread.
const archSetFS = 0x1002

func archTested() []rule {
	return []rule{{unix.SYS_ARCH_PRCTL, [][]condition{{is(0, archSetFS)}}}}
}

func archFatal() []uintptr {
	return []uintptr{unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT}
}
