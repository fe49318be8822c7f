package qemutest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"netd/netd/config"
)

// RunInteractive runs a board with its console on this process' terminal until
// it is off. All ports are on one network that ends in QEMU, which answers DHCP
// and lets nothing out. Dir, Netns and NICs are not used.
func RunInteractive(o Options) error {
	b, err := config.LoadBoard(filepath.Join(o.Board, "board.toml"))
	if err != nil {
		return err
	}
	if b.QEMU == nil {
		return fmt.Errorf("board %s has no [qemu]: it can not be emulated", b.Name)
	}
	if o.Dir, err = os.MkdirTemp("", b.Name+"-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.Dir)
	vars := filepath.Join(o.Dir, "vars.fd")
	if err := copyFile(b.QEMU.Vars, vars); err != nil {
		return fmt.Errorf("firmware's variables: %w (packages %s)", err, strings.Join(b.QEMU.Packages, ", "))
	}
	o.NICs = nil
	rest := []string{"-serial", "mon:stdio"}
	for i, nic := range b.QEMU.NICs {
		rest = append(rest, "-netdev", fmt.Sprintf("user,id=port%d,restrict=on", i), "-device", fmt.Sprintf("%s,netdev=port%d", nic, i))
	}
	args := commandLine(b, o, vars, rest...)
	// The firmware clears the screen: what is there, such as the password of an image that
	// was just made, goes where a person can scroll back to it.
	if size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ); err == nil {
		fmt.Print(strings.Repeat("\n", int(size.Row)))
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // see process.run
	return cmd.Run()
}
