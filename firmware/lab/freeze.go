package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"netd/firmware/lab/patience"
)

// freezeTimeout bounds the time until every process has stopped.
const freezeTimeout = 10 * time.Second

// Freeze stops every process in the hosts' networks, as a hypervisor's snapshot stops
// machines, until thaw is called. What their kernels do goes on: packets are forwarded,
// and kept for who does not read them. The error says which process goes on.
func Freeze(ctx context.Context, hosts ...*Host) (thaw func() error, err error) {
	var stopped []int
	thaw = sync.OnceValue(func() error {
		var errs []error
		for _, pid := range stopped {
			errs = append(errs, syscall.Kill(pid, syscall.SIGCONT))
		}
		return errors.Join(errs...)
	})
	ctx, cancel := patience.Context(ctx, freezeTimeout)
	defer cancel()
	// One that was just starting another process has stopped when the list is read again.
	err = patience.Until(ctx, time.Millisecond, "frozen processes", func(ctx context.Context) error {
		var running []int
		for _, h := range hosts {
			pids, err := h.Processes(ctx)
			if err != nil {
				return err
			}
			running = append(running, slices.DeleteFunc(pids, isStopped)...)
		}
		for _, pid := range running {
			if err := syscall.Kill(pid, syscall.SIGSTOP); err == nil && !slices.Contains(stopped, pid) {
				stopped = append(stopped, pid)
			}
		}
		if len(running) > 0 {
			return fmt.Errorf("%d go on", running)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, thaw())
	}
	return thaw, nil
}

// Processes are the processes in the host's network, but for our own, whose first
// thread may be parked there.
func (h *Host) Processes(ctx context.Context) ([]int, error) {
	pids, err := h.PIDs(ctx)
	return slices.DeleteFunc(pids, func(pid int) bool { return pid == os.Getpid() }), err
}

// isStopped tells whether a signal has stopped a process, or it is gone (proc_pid_stat(5)).
func isStopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "T") || strings.HasPrefix(state, "Z")
}
