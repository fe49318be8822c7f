package rtnl

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// sysctls is where they are.
const sysctls = "/proc/sys/net"

// Sysctl reads a key of /proc/sys/net. It makes three system calls and no garbage, as
// dozens are read every other second.
func Sysctl(key string) (string, error) {
	var value [64]byte // None of those that are set here is longer.
	fd, err := unix.Open(sysctls+"/"+key, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("read sysctl net.%s: %w", strings.ReplaceAll(key, "/", "."), err)
	}
	n, err := unix.Read(fd, value[:])
	_ = unix.Close(fd)
	if err != nil {
		return "", fmt.Errorf("read sysctl net.%s: %w", strings.ReplaceAll(key, "/", "."), err)
	}
	return strings.TrimSpace(string(value[:n])), nil
}

// SetSysctl sets a key of /proc/sys/net (such as "ipv4/ip_forward") in the
// namespace of the process, if it has another value.
func SetSysctl(key, value string) error {
	if have, err := Sysctl(key); err == nil && have == value {
		return nil
	}
	if err := os.WriteFile(filepath.Join(sysctls, key), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl net.%s to %s: %w", strings.ReplaceAll(key, "/", "."), value, err)
	}
	return nil
}
