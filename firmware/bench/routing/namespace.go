package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"netd/firmware/lab"
	"netd/netd/layout"
)

// inside calls f in the host's network.
func inside(h *lab.Host, f func() error) error {
	return insidePath(layout.NetnsDir+"/"+h.Netns(), f)
}

// insidePath calls f on a thread that is in the network behind path, and is no one
// else's afterwards: what f opens there stays there.
func insidePath(path string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // For good: the thread ends with the goroutine.
		done <- func() error {
			ns, err := os.Open(path)
			if err != nil {
				return err
			}
			defer func() { _ = ns.Close() }()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter the network %s: %w", path, err)
			}
			return f()
		}()
	}()
	return <-done
}
