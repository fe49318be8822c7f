package rtnl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func openNetns(path string) (netns.NsHandle, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return ns, fmt.Errorf("open namespace %s: %w", path, err)
	}
	return ns, nil
}

// CreateNetns makes a network namespace and binds it to path, where ip-netns(8)
// finds it if that is under /run/netns. The caller's own namespace is unchanged.
func CreateNetns(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create namespace %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("create namespace %s: %w", path, err)
	}
	_ = f.Close()
	done := make(chan error, 1)
	go func() { done <- bindNewNetns(path) }()
	if err := <-done; err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("create namespace %s: %w", path, err)
	}
	return nil
}

// bindNewNetns takes its thread into a new namespace, binds that to path and
// goes back. It does not leave the thread to die in there: were it the process'
// first one, Go would park it instead, and it would hold the namespace for ever.
func bindNewNetns(path string) error {
	const current = "/proc/thread-self/ns/net"
	runtime.LockOSThread()
	own, err := os.Open(current)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { _ = own.Close() }()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	bound := unix.Mount(current, path, "", unix.MS_BIND, "")
	if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
		return errors.Join(bound, fmt.Errorf("go back: %w", err)) // The thread stays locked: nobody else may run on it.
	}
	runtime.UnlockOSThread()
	return bound
}

// DeleteNetns unbinds and removes the namespace; it is no error if there is
// none, or only the empty file that a power cut leaves.
func DeleteNetns(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil &&
		!errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete namespace %s: %w", path, err)
	}
	return nil
}

// NetnsExists tells whether a namespace (not just a file) is at path.
func NetnsExists(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}
