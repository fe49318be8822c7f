// Run starts a disk image on an emulated board, with the console on this
// terminal: go run ./firmware/qemutest/run --board qemu-x86_64 --disk FILE
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"netd/firmware/qemutest"
)

func main() {
	if err := run(os.Args[1:]); errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var o qemutest.Options
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	board := f.String("board", "qemu-x86_64", "the `board`: a folder in --boards")
	boards := f.String("boards", "board", "the `folder` of boards")
	f.StringVar(&o.Disk, "disk", "", "the disk image, which is written to: a `file`")
	size := f.String("size", "2048", "lengthen the disk to this many `MiB`; it is not made shorter")
	f.StringVar(&o.Serial, "serial", "", "the box's serial `number`")
	f.IntVar(&o.MemoryMiB, "memory", 512, "`MiB` of memory")
	f.IntVar(&o.CPUs, "cpus", 2, "`number` of processors")
	if err := f.Parse(args); err != nil {
		return flag.ErrHelp
	}
	if o.Disk == "" || f.NArg() > 0 {
		return errors.New("expected --disk FILE and no other arguments; see --help")
	}
	mib, err := strconv.ParseInt(*size, 10, 32)
	if err != nil {
		return fmt.Errorf("--size %s: expected a number of MiB", *size)
	}
	st, err := os.Stat(o.Disk)
	if err != nil {
		return err
	}
	if st.Mode().IsRegular() && st.Size() < mib<<20 {
		if err := os.Truncate(o.Disk, mib<<20); err != nil {
			return err
		}
	}
	o.Board = filepath.Join(*boards, *board)
	fmt.Println("Ctrl-A X switches the machine off, Ctrl-A H lists more keys.")
	return qemutest.RunInteractive(o)
}
