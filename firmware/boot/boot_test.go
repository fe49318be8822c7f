package boot

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestConsolesOf(t *testing.T) {
	none, one := t.TempDir(), t.TempDir()
	for _, name := range []string{"fb0", "fbcon"} {
		if err := os.WriteFile(filepath.Join(one, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	onScreen := console{"tty1", 38400, "linux"}
	for _, c := range []struct {
		cmdline, graphics string
		want              []console
	}{
		{"console=ttyS0,115200 quiet", one, []console{{"ttyS0", 115200, "vt100"}}},
		{"console=ttyS0,9600n8 quiet\n", none, []console{{"ttyS0", 9600, "vt100"}}},
		{"console=tty0 console=ttyAMA0", none, []console{{"ttyAMA0", 115200, "vt100"}}},
		{"console=tty0 console=ttyAMA0", one, []console{onScreen, {"ttyAMA0", 115200, "vt100"}}},
		{"quiet netconsole=x console_loglevel= console=", one, nil},
	} {
		if diff := cmp.Diff(c.want, consolesOf(c.cmdline, c.graphics), cmp.AllowUnexported(console{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.cmdline, diff)
		}
	}
}

func TestMountsToUndo(t *testing.T) {
	const info = `1 0 254:5 / / ro,nodev - squashfs /dev/vda5 ro
20 1 0:5 / /dev rw - devtmpfs devtmpfs rw
21 1 254:3 / /run/netd/slot ro - squashfs /dev/vda3 ro
22 1 254:7 / /data rw,noatime - ext4 /dev/vda7 rw
23 1 0:30 / /run/containerd/a\040b/rootfs rw shared:1 - overlay overlay rw,lowerdir=/data/x
24 1 0:4 net:[4026532000] /run/netns/pod rw - nsfs nsfs rw
25 22 0:31 / /data/tmp rw - tmpfs tmpfs rw
`
	want := []string{"/run/containerd/a b/rootfs", "/data"}
	if diff := cmp.Diff(want, mountsToUndo(info)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRebootCommand(t *testing.T) {
	for sig, want := range map[syscall.Signal]int{
		syscall.SIGTERM: unix.LINUX_REBOOT_CMD_RESTART, syscall.SIGINT: unix.LINUX_REBOOT_CMD_RESTART,
		syscall.SIGUSR1: unix.LINUX_REBOOT_CMD_HALT, syscall.SIGUSR2: unix.LINUX_REBOOT_CMD_POWER_OFF,
	} {
		if got := rebootCommand(sig); got != want {
			t.Errorf("%v: got %#x, want %#x", sig, got, want)
		}
	}
}

func TestPowerPress(t *testing.T) {
	event := func(kind, code uint16, value int32) []byte {
		b, err := binary.Append(nil, binary.NativeEndian, inputEvent{Type: kind, Code: code, Value: value})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		event []byte
		want  bool
	}{
		"press": {event(1, 116, 1), true}, "release": {event(1, 116, 0), false},
		"another key": {event(1, 30, 1), false}, "a sync": {event(0, 116, 1), false}, "cut": {make([]byte, 8), false},
	} {
		if got := isPowerPress(c.event); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestClockFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "netd", "clock")
	if got, err := readClock(path); err != nil || !got.IsZero() {
		t.Errorf("before the first save: got %v, %v", got, err)
	}
	before := time.Now().Truncate(time.Second)
	if err := saveClock(path); err != nil {
		t.Fatal(err)
	}
	if got, err := readClock(path); err != nil || got.Before(before) || got.After(time.Now()) {
		t.Errorf("saved after %v: got %v, %v", before, got, err)
	}
	if err := os.WriteFile(path, []byte("\x00\x00"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readClock(path); err == nil {
		t.Error("a torn file: got no error")
	}
	m := filepath.Join(dir, "manifest.json")
	if err := os.WriteFile(m, []byte(`{"schema":1,"built":"2026-01-02T03:04:05Z"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if got, err := releaseTime(m); err != nil || !got.Equal(want) {
		t.Errorf("the release's time: got %v, %v, want %v", got, err, want)
	}
}

// A module list with a file that is not there says which, and goes on.
func TestLoadModulesNamesWhatIsMissing(t *testing.T) {
	list := filepath.Join(t.TempDir(), "modules")
	if err := os.WriteFile(list, []byte("/none/a.ko\n/none/b.ko\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := LoadModules(list)
	if err == nil || !strings.Contains(err.Error(), "/none/a.ko") || !strings.Contains(err.Error(), "/none/b.ko") {
		t.Errorf("got %v", err)
	}
}

func TestInitRefusesToBeAnythingElse(t *testing.T) {
	if err := Init("/bin/true", nil); err == nil {
		t.Error("got no error")
	}
}
