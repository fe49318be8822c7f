package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a process with its memory, in KiB.
type process struct {
	pid, parent int
	role        string
	started     float64
	rss, anon   int // resident; of that anonymous
	pss         int // resident, shared pages divided among those that share them
}

// usage is what all processes of a role keep.
type usage struct {
	Role      string `json:"role"`
	Processes int    `json:"processes"`
	RSS       int    `json:"rss"`
	Anon      int    `json:"anonymous"`
	PSS       int    `json:"pss"`
}

// memory is the whole box, in KiB.
type memory struct {
	Roles []usage `json:"roles"`
	// Total is what the kernel manages, Available what it could still give out.
	Total     int `json:"total"`
	Available int `json:"available"`
}

// roles in the order of the table.
func roles() []string {
	return []string{"netd init", "netd run", "netd bgp", "netd containerd", "shim", "pod", "console", "other"}
}

// settledMemory waits until the processes neither grow nor shrink.
func settledMemory(ctx context.Context) (memory, error) {
	const (
		pause    = 2 * time.Second
		deadline = time.Minute
		steady   = 0.005
	)
	before, err := readMemory()
	for begin := time.Now(); err == nil && time.Since(begin) < deadline; {
		select {
		case <-ctx.Done():
			return before, ctx.Err()
		case <-time.After(pause):
		}
		var now memory
		if now, err = readMemory(); err == nil {
			was, is := float64(before.rss()), float64(now.rss())
			if is > was*(1-steady) && is < was*(1+steady) {
				return now, nil
			}
		}
		before = now
	}
	return before, errors.Join(err, errors.New("the processes' memory does not settle"))
}

func (m memory) rss() int {
	sum := 0
	for _, u := range m.Roles {
		sum += u.RSS
	}
	return sum
}

func readMemory() (memory, error) {
	var m memory
	processes, err := readProcesses()
	if err != nil {
		return m, err
	}
	for _, role := range roles() {
		u := usage{Role: role}
		for _, p := range processes {
			if p.role == role {
				u.Processes++
				u.RSS, u.Anon, u.PSS = u.RSS+p.rss, u.Anon+p.anon, u.PSS+p.pss
			}
		}
		m.Roles = append(m.Roles, u)
	}
	info, err := kilobytes("/proc/meminfo")
	m.Total, m.Available = info["MemTotal"], info["MemAvailable"]
	return m, err
}

// readProcesses reads all but the kernel's own and those of whoever is logged in.
func readProcesses() (map[int]*process, error) {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	all := map[int]*process{}
	for _, dir := range folders {
		p, err := readProcess(dir)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) || errors.Is(err, errKernelThread) {
			continue // The first two have just ended.
		}
		if err != nil {
			return nil, err
		}
		all[p.pid] = p
	}
	for _, p := range all {
		if p.role == "" {
			p.role = below(all, p)
		}
	}
	return all, nil
}

// below names a process by the one that it comes from: a shim's are a pod's.
func below(all map[int]*process, p *process) string {
	for up := all[p.parent]; up != nil; up = all[up.parent] {
		switch up.role {
		case "shim":
			return "pod"
		case "console":
			return "of whoever is logged in"
		}
	}
	return "other"
}

var errKernelThread = errors.New("a kernel thread")

func readProcess(dir string) (*process, error) {
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return nil, err
	}
	if len(line) == 0 {
		return nil, errKernelThread
	}
	status, err := kilobytes(filepath.Join(dir, "status"))
	if err != nil {
		return nil, err
	}
	// VmRSS in status lags behind by up to 64 pages a thread.
	rollup, err := kilobytes(filepath.Join(dir, "smaps_rollup"))
	if err != nil {
		return nil, err
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(filepath.Base(dir))
	if err != nil {
		return nil, err
	}
	p := &process{
		pid: pid, parent: status["PPid"], role: roleOf(pid, strings.Split(string(line), "\x00")),
		rss: rollup["Rss"], anon: rollup["Anonymous"], pss: rollup["Pss"],
	}
	p.started, err = startOf(string(stat))
	return p, err
}

// roleOf knows a process by its arguments; "" is one that is known by its parents.
func roleOf(pid int, argv []string) string {
	switch program := filepath.Base(argv[0]); {
	case pid == 1:
		return "netd init"
	case program == "netd" && len(argv) > 1:
		return "netd " + argv[1]
	case program == "containerd-shim-runc-v2":
		return "shim"
	case program == "getty", program == "login", program == "-sh":
		return "console"
	}
	return ""
}

// kilobytes reads "Name: number" lines, whatever the unit.
func kilobytes(file string) (map[string]int, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	values := map[string]int{}
	in := bufio.NewScanner(f)
	for in.Scan() {
		name, rest, _ := strings.Cut(in.Text(), ":")
		var n int
		if _, err := fmt.Sscan(rest, &n); err == nil {
			values[name] = n
		}
	}
	return values, in.Err()
}
