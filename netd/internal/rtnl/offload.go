package rtnl

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// linux/ethtool.h, which x/sys has not.
const (
	ethtoolGTxCsum = 0x16
	ethtoolSTxCsum = 0x17
)

// SetTxChecksum says whether a link's driver is left to fill in the checksums of what
// is sent, in the namespace of the process (ethtool -K LINK tx on|off).
func SetTxChecksum(link string, on bool) error {
	value := uint32(0)
	if on {
		value = 1
	}
	if _, err := ethtool(link, ethtoolSTxCsum, value); err != nil {
		return fmt.Errorf("set checksum offload of %s to %t: %w", link, on, err)
	}
	return nil
}

// TxChecksum tells whether they are.
func TxChecksum(link string) (bool, error) {
	value, err := ethtool(link, ethtoolGTxCsum, 0)
	if err != nil {
		return false, fmt.Errorf("read checksum offload of %s: %w", link, err)
	}
	return value != 0, nil
}

// ethtool sends one command of struct ethtool_value.
func ethtool(link string, command, value uint32) (uint32, error) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(s) }()
	argument := [2]uint32{command, value}
	request := struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&argument)}
	copy(request.name[:unix.IFNAMSIZ-1], link)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&argument)
	if errno != 0 {
		return 0, errno
	}
	return argument[1], nil
}

// KernelAtLeast compares the running kernel's version.
func KernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	var m, n int
	if unix.Uname(&u) != nil {
		return false
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &m, &n); err != nil {
		return false
	}
	return m > major || m == major && n >= minor
}
