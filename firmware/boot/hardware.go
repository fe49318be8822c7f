package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"netd/netd/wake"
)

// The watchdog resets the box when PID 1's loop has not come round for
// watchdogTimeout. It says nothing about the daemons: those have their
// restarts.
const (
	watchdogTimeout = 30 * time.Second
	watchdogFeed    = 5 * time.Second
)

// watchdog is a hardware watchdog, or none (f is nil). A write that fails has no
// remedy: the box is reset, or is not.
type watchdog struct {
	f   *os.File
	err error
}

// openWatchdog arms it: from now on it has to be fed.
func openWatchdog(path string) *watchdog {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return &watchdog{}
	}
	if err != nil {
		return &watchdog{err: fmt.Errorf("open the watchdog: %w", err)}
	}
	w := &watchdog{f: f}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, int(watchdogTimeout/time.Second)); err != nil {
		w.err = fmt.Errorf("set the watchdog to %v: %w", watchdogTimeout, err)
	}
	return w
}

func (w *watchdog) feed() {
	if w.f != nil {
		_, _ = w.f.Write([]byte{0})
	}
}

// disarm is the "magic close" (Documentation/watchdog/watchdog-api.rst): a box
// that is powered off must not come back by its watchdog.
func (w *watchdog) disarm() {
	if w.f != nil {
		_, _ = w.f.Write([]byte{'V'})
		w.f.Close()
	}
}

// inputEvent is struct input_event of a 64-bit kernel (<linux/input.h>).
type inputEvent struct {
	Sec, Usec int64
	Type      uint16
	Code      uint16
	Value     int32
}

const (
	evKey    = 1
	keyPower = 116
)

// powerButtons reports presses of the power button on any input device in dir.
func powerButtons(dir string) <-chan struct{} {
	pressed := wake.New()
	devices, err := filepath.Glob(filepath.Join(dir, "event*"))
	if err != nil {
		return pressed
	}
	for _, path := range devices {
		f, err := os.Open(path)
		if err != nil {
			continue // a device that went away
		}
		go func() {
			defer f.Close()
			buf := make([]byte, unsafe.Sizeof(inputEvent{}))
			for {
				if n, err := f.Read(buf); err != nil || n != len(buf) {
					return
				}
				if isPowerPress(buf) {
					pressed.Send()
				}
			}
		}()
	}
	return pressed
}

func isPowerPress(b []byte) bool {
	var e inputEvent
	if _, err := binary.Decode(b, binary.NativeEndian, &e); err != nil {
		return false
	}
	return e.Type == evKey && e.Code == keyPower && e.Value == 1
}
