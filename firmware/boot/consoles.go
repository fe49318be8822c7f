package boot

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"netd/netd/outlet"
)

// A console is where the kernel and PID 1 speak, and somebody may log in. A box may have
// several: each console= of the kernel's command line is one. The last one is
// /dev/console, which this process has from the start.
type console struct {
	tty  string // in /dev
	baud int
	kind string // the terminal's
}

const (
	// screen is the first of the virtual terminals, for which console=tty0 stands.
	screen = "tty1"
	// graphics is where the kernel shows the screens that it has found.
	graphics = "/sys/class/graphics"
)

// consolesOf reads the kernel's command line. A screen counts where the kernel has found
// one: with none behind it, nobody logs in there.
func consolesOf(cmdline, graphics string) []console {
	var all []console
	for _, word := range strings.Fields(cmdline) {
		value, isConsole := strings.CutPrefix(word, "console=")
		if !isConsole {
			continue
		}
		name, options, _ := strings.Cut(value, ",")
		if name == "tty0" {
			if found, err := filepath.Glob(filepath.Join(graphics, "fb[0-9]*")); err == nil && len(found) > 0 {
				all = append(all, console{screen, 38400, "linux"})
			}
			continue
		}
		digits := strings.IndexFunc(options+"n", func(r rune) bool { return r < '0' || r > '9' })
		rate, err := strconv.Atoi(options[:digits])
		if err != nil {
			rate = 115200
		}
		if name != "" {
			all = append(all, console{name, rate, "vt100"})
		}
	}
	return all
}

// Screen opens the screen to write to it; it is nil if there is none.
func Screen(cmdline string) *os.File {
	for _, c := range consolesOf(cmdline, graphics) {
		if c.tty == screen {
			return c.open()
		}
	}
	return nil
}

// open is nil for a console that can not be written to.
func (c console) open() *os.File {
	f, err := os.OpenFile("/dev/"+c.tty, os.O_WRONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	return f
}

// consoleRoom is what is kept for a console that takes nothing, in octets.
const consoleRoom = 64 << 10

// speech is the way to all consoles, none of which waits for another: a serial line that
// XOFF has stopped takes nothing from the screen.
type speech []*outlet.Outlet

func (s speech) Write(b []byte) (int, error) {
	for _, o := range s {
		_, _ = o.Write(b) // It never fails.
	}
	return len(b), nil
}

func (s speech) flush(ctx context.Context) {
	for _, o := range s {
		o.Flush(ctx)
	}
}

// with adds consoles to the one that this process has.
func (s speech) with(all []console) speech {
	for _, c := range all[:max(0, len(all)-1)] {
		if f := c.open(); f != nil {
			s = append(s, outlet.New(f, consoleRoom))
		}
	}
	return s
}
