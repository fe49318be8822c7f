// Vmrun runs a program inside a QEMU guest that has this machine's file system
// and Debian's kernel, as if it had been started here:
//
//	go test -tags vm -exec "$PWD/bin/vmrun" ./...
//	bin/vmrun -memory 4096 ip -d link show type ipip
//
// The vm tier needs it because the kernel of a build machine often has no
// ipip, dummy, vrf or wireguard and takes no modules.
//
// The guest sees the host's / through 9p, read-only, under an overlay: the
// program may write everywhere and nothing of it reaches the host. /tmp, /run,
// /dev/shm, /proc, /sys (with cgroup v2 and bpf) are the guest's own. It runs
// as root in the same working directory, with PATH, HOME, GO*, NETD_* and a few
// more of the environment. Modules are loaded by the kernel when they are
// needed. There is no network but the loopback.
//
// Standard output, standard error and the exit status are the program's. What
// vmrun itself has to say goes to standard error as "vmrun: …" with exit status
// 125. Go caches no result of a test that was run with -exec.
//
// The kernel is that of the images, Debian's linux-image-amd64, which is fetched
// into ${XDG_CACHE_HOME:-~/.cache}/netd and never installed; -kernel names
// another folder that a package was unpacked into.
//
// Vmrun's own binary is the guest's /init: one that finds itself to be PID 1
// plays that part (guest.go).
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// exitVmrun is the exit status when the guest, not the program, went wrong.
const exitVmrun = 125

func main() {
	if os.Getpid() == 1 {
		guestMain()
	}
	opts, err := parseArgs(os.Args[1:])
	if err != nil {
		os.Exit(exitVmrun)
	}
	code, err := run(opts)
	if err != nil {
		fmt.Fprintf(os.Stderr, "vmrun: %v\n", err)
		os.Exit(exitVmrun)
	}
	os.Exit(code)
}

// options is the command line.
type options struct {
	memoryMiB int
	cpus      int
	timeout   time.Duration
	console   bool   // copy the guest's console to standard error
	kernel    string // folder of an unpacked linux-image package; empty: fetch it
	argv      []string
}

func parseArgs(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("vmrun", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintf(fs.Output(), "usage: vmrun [flags] PROGRAM [ARG…]\nRun PROGRAM in a QEMU guest that has this machine's file system.\n")
		fs.PrintDefaults()
	}
	fs.IntVar(&o.memoryMiB, "memory", 2048, "the guest's memory in `MiB`")
	fs.IntVar(&o.cpus, "cpus", 2, "the guest's processors")
	fs.DurationVar(&o.timeout, "timeout", 0, "end the guest after this `time` (default: -test.timeout and one minute, else 10m)")
	fs.BoolVar(&o.console, "console", false, "show the guest's console on standard error")
	fs.StringVar(&o.kernel, "kernel", "", "`folder` of an unpacked linux-image package (default: fetched with apt-get)")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.argv = fs.Args()
	if len(o.argv) == 0 {
		fs.Usage()
		return o, errors.New("no program")
	}
	if o.timeout == 0 {
		o.timeout = defaultTimeout(o.argv[1:])
	}
	return o, nil
}

// defaultTimeout leaves a test binary the time to report its own time-out first.
func defaultTimeout(args []string) time.Duration {
	if v, ok := testFlag(args, "timeout"); ok {
		if d, err := time.ParseDuration(v); err == nil && d > 0 {
			return d + time.Minute
		}
	}
	return 10 * time.Minute
}

// testFlag finds -test.NAME=VALUE.
func testFlag(args []string, name string) (string, bool) {
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, "-test."+name+"="); ok {
			return v, true
		}
	}
	return "", false
}
