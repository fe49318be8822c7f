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
	err = abroad(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount(currentNetns, path, "", unix.MS_BIND, "")
	})
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("create namespace %s: %w", path, err)
	}
	return nil
}

// AtNetns calls f in the namespace behind path, where it can set sysctls. f may not
// start goroutines: only its own thread is there.
func AtNetns(path string, f func() error) error {
	return abroad(func() error {
		ns, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("enter namespace: %w", err)
		}
		defer func() { _ = ns.Close() }()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace %s: %w", path, err)
		}
		return f()
	})
}

const currentNetns = "/proc/thread-self/ns/net"

// abroad calls f on a thread of its own, which may go into another namespace, and
// brings that back. It does not leave the thread to die in there: were it the
// process' first one, Go would park it instead, and it would hold the namespace
// for ever.
func abroad(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := os.Open(currentNetns)
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		defer func() { _ = own.Close() }()
		err = f()
		if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
			done <- errors.Join(err, fmt.Errorf("go back: %w", back)) // The thread stays locked: nobody else may run on it.
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
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
