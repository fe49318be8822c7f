package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/layout"
)

// bootTimes are moments of this boot.
type bootTimes struct {
	RunStarts   float64 // the process netd run
	RunUp       float64 // it says so: links, tunnel, guard and API are there
	Established float64 // the first session
}

// clockTicks a second are what /proc counts in (proc_pid_stat(5)): 100 on every
// architecture that Linux has.
const clockTicks = 100

func boot() (bootTimes, error) {
	var t bootTimes
	processes, err := readProcesses()
	if err != nil {
		return t, err
	}
	for _, p := range processes {
		if p.role == "netd run" {
			t.RunStarts = p.started
		}
	}
	log, err := os.ReadFile(layout.LogDir + "/run.log")
	if err != nil {
		return t, err
	}
	// Log lines have the time of day, which netd init sets before it starts netd
	// run and nobody changes after that.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return t, err
	}
	begin := time.Now().Add(-time.Duration(now.Nano()))
	for message, at := range map[string]*float64{`msg="netd is up"`: &t.RunUp, `msg="peer established"`: &t.Established} {
		when, err := firstLine(string(log), message)
		if err != nil {
			return t, err
		}
		*at = when.Sub(begin).Seconds()
	}
	return t, nil
}

// firstLine returns the time of the first line with the words, as slog wrote it.
func firstLine(log, words string) (time.Time, error) {
	for line := range strings.Lines(log) {
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		if strings.Contains(line, words) {
			return time.Parse(time.RFC3339, stamp)
		}
	}
	return time.Time{}, fmt.Errorf("netd run has not logged %s", words)
}

// startOf reads field 22 of /proc/PID/stat.
func startOf(stat string) (float64, error) {
	// Field 2, the name, may have spaces and parentheses.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("/proc/PID/stat: %q", stat)
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	return float64(ticks) / clockTicks, err
}
