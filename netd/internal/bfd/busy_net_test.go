//go:build net

package bfd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/netd/internal/ownnet"
)

// TestBusy: no false alarm with twice as many busy processes as CPUs (make soak: for
// ten minutes).
func TestBusy(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) { busy(t, 45*time.Second) })
}

// busy runs a session with BIRD at 50 ms × 3 on a machine that is busy for so long. A
// witness tells false alarms from true ones: BIRD, which has no priority, may be late
// itself, and may take what it reads late for a loss. We may do neither.
func busy(t *testing.T, during time.Duration) {
	_, tor := newToR(t)
	b := bird(t, tor, strings.Replace(birdConfig(50, "10.0.1.11"), "debug protocols all", "debug protocols { states, events }", 1))
	dir := t.TempDir()
	open755(t, dir)
	a := newAgent(t, dir, time.Minute, session(50))
	a.until("a session", func(s Status) bool { return s.State == Up && s.RemoteState == Up && s.Detect == 150*time.Millisecond })
	for range 2 * runtime.NumCPU() {
		cmd := exec.Command("sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
	w := newWitness(t)
	<-time.After(during)
	all, err := a.Statuses()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	const detection = 150 * time.Millisecond
	ours, birds := w.of("10.0.1.11", "10.0.1.1").gaps, w.of("10.0.1.1", "10.0.1.11").gaps
	alarms, itsAlarms := all[0].Flaps, strings.Count(b.Tail(1<<30), "10.0.1.11 expired")
	t.Logf("%s with %d busy processes on %d CPUs", during, 2*runtime.NumCPU(), runtime.NumCPU())
	t.Logf("netd: %s; over the detection time of %s: %d; alarms: %d", ours, detection, ours.over(detection), alarms)
	t.Logf("BIRD: %s; over the detection time of %s: %d; alarms: %d", birds, detection, birds.over(detection), itsAlarms)
	// What has a real-time priority must use little, whatever comes.
	if used := cpuTime(t, process(t)); used > during/10 {
		t.Errorf("the BFD process used %s of CPU", used)
	} else {
		t.Logf("the BFD process used %s of CPU", used)
	}
	if len(ours) < int(during/(80*time.Millisecond)) {
		t.Errorf("too few packets were seen")
	}
	if late := ours.over(detection); late > 0 {
		t.Errorf("netd was silent for longer than the detection time %d times", late)
	}
	if alarms > birds.over(detection)+itsAlarms {
		t.Errorf("%d alarms, but BIRD was silent %d times and gave %d itself: %+v", alarms, birds.over(detection), itsAlarms, all[0])
	}
}

// cpuTime is what a process has used (proc_pid_stat(5), in ticks of 10 ms).
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)           // from field 3
	user, errU := strconv.Atoi(f[14-3]) // utime
	kernel, errK := strconv.Atoi(f[15-3])
	if err := errors.Join(errU, errK); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+kernel) * 10 * time.Millisecond
}
