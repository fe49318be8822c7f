package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// processes are a receiver's.
type processes []int

// withChildren adds the processes that pid has started.
func withChildren(pid int) (processes, error) {
	all := processes{pid}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	for _, t := range threads {
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		if err != nil {
			continue // The thread is gone.
		}
		for _, field := range strings.Fields(string(list)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, err
			}
			all = append(all, child)
		}
	}
	return all, nil
}

// cpu is the time that each process has had a processor, with all its threads.
func (p processes) cpu() ([]time.Duration, error) {
	all := make([]time.Duration, len(p))
	for i, pid := range p {
		// The clock of another process (clock_getcpuclockid(3); CPUCLOCK_SCHED is 2).
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
			return nil, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		all[i] = time.Duration(t.Nano())
	}
	return all, nil
}

// peak is the most that each process had in memory, in KiB.
func (p processes) peak() ([]int, error) {
	var all []int
	for _, pid := range p {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return nil, err
		}
		_, rest, _ := strings.Cut(string(text), "VmHWM:")
		var kib int
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			return nil, fmt.Errorf("peak memory of process %d: %w", pid, err)
		}
		all = append(all, kib)
	}
	return all, nil
}

// share is what each process has in memory now, in KiB, where what several processes
// have together counts in equal parts (PSS): the file of one program, say.
func (p processes) share() ([]int, error) {
	var all []int
	for _, pid := range p {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return nil, err
		}
		_, rest, _ := strings.Cut(string(text), "\nPss:")
		var kib int
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			return nil, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		all = append(all, kib)
	}
	return all, nil
}

const (
	quietWindow  = 200 * time.Millisecond
	quietShare   = 0.02 // of one processor
	quietTimeout = 30 * time.Second
)

// quiet waits until the processes do next to nothing.
func (p processes) quiet() error {
	deadline := time.Now().Add(quietTimeout)
	for {
		before, err := p.cpu()
		if err != nil {
			return err
		}
		time.Sleep(quietWindow)
		after, err := p.cpu()
		if err != nil {
			return err
		}
		var busy time.Duration
		for i := range after {
			busy += after[i] - before[i]
		}
		if busy < time.Duration(quietShare*float64(quietWindow)) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the processes %v do not come to rest within %s", p, quietTimeout)
		}
	}
}
