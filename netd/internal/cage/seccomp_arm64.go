package cage

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

func archPlain() []uintptr { return nil }

func archTested() []rule { return nil }

func archFatal() []uintptr { return nil }
