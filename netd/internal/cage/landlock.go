package cage

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What each ABI of Landlock added (landlock(7)).
const (
	abiRefer    = 2 // Linux 5.19
	abiTruncate = 3 // Linux 6.2
	abiPorts    = 4 // Linux 6.7
	abiIoctl    = 5 // Linux 6.10
)

// files is every right over files that ABI 1 knows.
const files = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
	unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
	unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
	unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
	unix.LANDLOCK_ACCESS_FS_MAKE_SYM

// rights are those that a kernel of the ABI can take away: of files all, of the
// network what has to do with ports.
//
// Its scopes (ABI 6) are left out: no unix socket and no signal passes seccomp,
// and before Linux 6.15 the threads of one process, each with a domain of its own,
// could not signal one another, which Go's runtime does.
func rights(abi int) unix.LandlockRulesetAttr {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: files}
	for _, more := range []struct {
		abi     int
		fs, net uint64
	}{
		{abiRefer, unix.LANDLOCK_ACCESS_FS_REFER, 0},
		{abiTruncate, unix.LANDLOCK_ACCESS_FS_TRUNCATE, 0},
		{abiPorts, 0, unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP},
		{abiIoctl, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV, 0},
	} {
		if abi >= more.abi {
			attr.Handled_access_fs |= more.fs
			attr.Handled_access_net |= more.net
		}
	}
	return attr
}

// landlockABI is 0 where the kernel has no Landlock or has it turned off.
func landlockABI() (int, error) {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch {
	case errno == unix.ENOSYS || errno == unix.EOPNOTSUPP:
		return 0, nil
	case errno != 0:
		return 0, fmt.Errorf("ask for its version: %w", errno)
	}
	return int(abi), nil
}

// portRule is the kernel's struct landlock_net_port_attr.
type portRule struct{ allowed, port uint64 }

const rulePort = 2 // LANDLOCK_RULE_NET_PORT

// landlock takes away all files, and all ports but the configured ones.
func (c Config) landlock() (err error) {
	abi, err := landlockABI()
	if err != nil {
		return err
	}
	switch {
	case abi == 0:
		c.Log.Warn("this kernel has no Landlock: seccomp alone keeps the BGP speaker from files, and any TCP port may be connected to")
		return nil
	case abi < abiPorts:
		// No warning: it is so with Debian 12's kernel, at each start, and nobody's to mend.
		c.Log.Info("this kernel's Landlock knows no ports: the BGP speaker may connect to any TCP port", "abi", abi, "needs", abiPorts)
	}
	attr := rights(abi)
	ruleset, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return fmt.Errorf("make a ruleset of ABI %d: %w", abi, errno)
	}
	defer func() { err = errors.Join(err, unix.Close(int(ruleset))) }()
	if abi >= abiPorts {
		for access, ports := range map[uint64][]uint16{unix.LANDLOCK_ACCESS_NET_BIND_TCP: c.Listen, unix.LANDLOCK_ACCESS_NET_CONNECT_TCP: c.Connect} {
			for _, port := range ports {
				r := portRule{access, uint64(port)}
				if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, ruleset, rulePort, uintptr(unsafe.Pointer(&r)), 0, 0, 0); errno != 0 {
					return fmt.Errorf("allow TCP port %d: %w", port, errno)
				}
			}
		}
	}
	if err := everyThread(unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0, 0); err != nil {
		return fmt.Errorf("restrict this process: %w", err)
	}
	return nil
}
