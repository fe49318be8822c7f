// Command again runs a test binary (go test -exec) and, if tests of it failed while the
// machine stood still for a second or more at a time, these once more: sessions whose
// hold time had passed meanwhile were rightly lost.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"netd/firmware/lab/patience"
)

// bearable is how long the machine may stand still at a time in a run that counts.
const bearable = time.Second

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: again PROGRAM ARGS…")
		os.Exit(2)
	}
	watch := patience.Start()
	code, out, err := run(os.Args[1:])
	watch.Stop()
	if args := again(os.Args[1:], out); err == nil && code != 0 && args != nil && watch.Longest() >= bearable {
		fmt.Printf("again: the machine stood still for %s at a time: what failed is run once more\n", watch.Longest().Round(time.Millisecond))
		code, _, err = run(args)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "again: %v\n", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// run runs a program, passes signals and output on, and returns its exit status and
// what it wrote to its standard output.
func run(args []string) (int, []byte, error) {
	var out bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, io.MultiWriter(os.Stdout, &out), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // The death signal is bound to the thread that forked.
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	err := cmd.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()), out.Bytes(), nil
		}
		return exit.ExitCode(), out.Bytes(), nil
	}
	return 0, out.Bytes(), err
}

var failed = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// again is the command line for the tests that failed; nil if the output names none (a
// panic ends the others too).
func again(args []string, out []byte) []string {
	const option = "-test.run="
	var names []string
	for _, m := range failed.FindAllSubmatch(out, -1) {
		names = append(names, string(m[1]))
	}
	if len(names) == 0 || bytes.Contains(out, []byte("\npanic: ")) {
		return nil
	}
	var all []string
	for _, a := range args {
		if !strings.HasPrefix(a, option) {
			all = append(all, a)
		}
	}
	return append(all, option+"^("+strings.Join(names, "|")+")$")
}
