package rtnl

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sysctls is where they are.
const sysctls = "/proc/sys/net"

// Sysctl reads a key of /proc/sys/net.
func Sysctl(key string) (string, error) {
	value, err := os.ReadFile(filepath.Join(sysctls, key))
	if err != nil {
		return "", fmt.Errorf("read sysctl net.%s: %w", strings.ReplaceAll(key, "/", "."), err)
	}
	return strings.TrimSpace(string(value)), nil
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
