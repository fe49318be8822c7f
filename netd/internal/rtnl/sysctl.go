package rtnl

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SetSysctl sets a key of /proc/sys/net (such as "ipv4/ip_forward") in the
// namespace of the process, if it has another value.
func SetSysctl(key, value string) error {
	path := filepath.Join("/proc/sys/net", key)
	have, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(have)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl net.%s to %s: %w", strings.ReplaceAll(key, "/", "."), value, err)
	}
	return nil
}
