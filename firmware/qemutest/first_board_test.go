//go:build board

package qemutest

import (
	"context"
	"debug/pe"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// ownImage makes an image as the README says, with make, and returns it on a larger disk,
// with the password that make ends with.
func ownImage(t *testing.T, ctx context.Context) (disk, password string) {
	t.Helper()
	dir := t.TempDir()
	example, err := os.ReadFile(filepath.Join(root, "configs/examples/single.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "my.toml"), example, 0o644); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "my.img")
	cmd := exec.CommandContext(ctx, "make", "image", "BOARD=qemu-x86_64", "CONFIG="+filepath.Join(dir, "my.toml"), "IMAGE="+image)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make image: %v\n%s", err, out)
	}
	made := regexp.MustCompile(`log in as root with the password (\S+), which`).FindSubmatch(out)
	if made == nil {
		t.Fatalf("make image tells no password:\n%s", out)
	}
	disk = filepath.Join(dir, "disk")
	if err := CopyDisk(image, disk, diskSize); err != nil {
		t.Fatal(err)
	}
	return disk, string(made[1])
}

// TestFirstDay is what somebody meets who does what the README says: a login, and a console
// that says who the box is and what is wrong, on the serial line and on the screen; and one
// that is stopped stops nothing else.
func TestFirstDay(t *testing.T) {
	disk, password := ownImage(t, within(t, 10*time.Minute))
	o := Options{
		Board: filepath.Join(root, "board/qemu-x86_64"), Disk: disk, Dir: shortDir(t), Serial: "SN-7",
		ExtraArgs: []string{"-device", "VGA,addr=0x8", "-netdev", "user,id=port0,restrict=on", "-device", "virtio-net-pci,addr=0x2,romfile=,netdev=port0"},
	}
	m := startBoard(t, o)
	screen := []string{
		`edge-1 {3}netd \S+ {3}board qemu-x86_64 {3}serial number SN-7`, `DOWN +0 of 1 peers, \d of 2 pods`, `uplink +uplink0 192\.0\.2\.11/24`,
		`config +/run/netd/slot/netd\.toml`, `login +as root; then netd status`, `edge-1 login: `,
	}
	for _, want := range screen {
		if _, err := m.Expect(within(t, 180*time.Second), want); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(m.Console(), "Landlock") {
		t.Errorf("the console warns of what nobody can mend:\n%s", m.console.end())
	}
	if err := m.Login(within(t, 180*time.Second), "root", password); err != nil {
		t.Fatal(err)
	}
	t.Run("screen", func(t *testing.T) {
		if err := m.Type(t.Context(), "\nroot\n"); err != nil {
			t.Fatal(err)
		}
		mustRun(t, m, `for i in $(seq 500); do grep -q Password: /dev/vcs1 && exit 0; usleep 200000; done; fold -w 80 /dev/vcs1; exit 1`)
		text := mustRun(t, m, "fold -w 80 /dev/vcs1")
		for _, want := range screen {
			if !regexp.MustCompile(want).MatchString(text) {
				t.Errorf("the screen has no %q:\n%s", want, text)
			}
		}
		if err := m.Type(t.Context(), password+"\ntouch /run/typed\n"); err != nil {
			t.Fatal(err)
		}
		mustRun(t, m, `for i in $(seq 500); do test -e /run/typed && exit 0; usleep 200000; done; fold -w 80 /dev/vcs1; exit 1`)
	})
	t.Run("stopped console", func(t *testing.T) { testStoppedConsole(t, m, disk) })
	t.Run("late disk, no variables", func(t *testing.T) { testLateDisk(t, m, o) })
}

// testStoppedConsole stops the serial line while a daemon dies again and again, of which
// PID 1 has to say something: it starts it anew all the same, and the agent answers. What
// is run on the box tells by way of the empty slot, as the line stands until then.
func testStoppedConsole(t *testing.T, m *Machine, disk string) {
	const job = `mkfifo /run/go
(
	cat /run/go
	sleep 1
	dd if=/dev/zero bs=64k count=1 of=/dev/ttyS0 &
	writer=$!
	old=0
	for i in 1 2 3 4; do
		for j in $(seq 300); do new=$(pgrep -xf "/usr/bin/netd containerd") && [ "$new" != "$old" ] && break; usleep 100000; done
		old=$new
		kill -9 $old && netd status && echo "containerd $i" >&3
	done
	kill $writer && echo "the line stands" >&3
	dd if=/run/said of=/dev/vda4 conv=fsync
) >/dev/null 2>&1 3>/run/said &
echo go >/run/go`
	mustRun(t, m, job)
	if err := m.Send("\x13"); err != nil { // XOFF
		t.Fatal(err)
	}
	want := "containerd 1\ncontainerd 2\ncontainerd 3\ncontainerd 4\nthe line stands\n"
	got := make([]byte, len(want))
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for ctx := within(t, 180*time.Second); string(got) != want && ctx.Err() == nil; <-look.C {
		change(t, disk, "boot-b", func(f *os.File, at int64) error {
			_, err := f.ReadAt(got, at)
			return err
		})
	}
	if string(got) != want {
		t.Errorf("while the line stands: %q, want %q", got, want)
	}
	if err := m.Send("\x11"); err != nil { // XON
		t.Fatal(err)
	}
	if out, err := m.Run(within(t, 60*time.Second), "cat /run/said"); err != nil || out != want {
		t.Errorf("once it goes on: %q, %v", out, err)
	}
}

// testLateDisk starts the kernel without the selector and the stub, so that nothing says
// which slot it is, and without the disk, which comes once it is asked for.
func testLateDisk(t *testing.T, m *Machine, o Options) {
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	o.Late, o.Dir = true, shortDir(t)
	o.ExtraArgs = append(o.ExtraArgs, kernelOf(t, o.Disk)...)
	late := startBoard(t, o)
	if _, err := late.Expect(within(t, 180*time.Second), "netd stage1: waits for a disk with slots of netd, .* of 5m0s: the kernel shows none yet"); err != nil {
		t.Fatal(err)
	}
	if err := late.Plug(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`the firmware has not said which slot was started \(.*\): slot a of /dev/vda is of this release, and is taken`, `edge-1 login: `} {
		if _, err := late.Expect(within(t, 180*time.Second), want); err != nil {
			t.Fatal(err)
		}
	}
}

// kernelOf takes the unified kernel image of slot A apart, for QEMU.
func kernelOf(t *testing.T, disk string) []string {
	t.Helper()
	dir := t.TempDir()
	slot, efi := filepath.Join(dir, "slot"), filepath.Join(dir, "netd.efi")
	change(t, disk, "boot-a", func(f *os.File, at int64) error {
		b := make([]byte, 64<<20)
		if _, err := f.ReadAt(b, at); err != nil {
			return err
		}
		return os.WriteFile(slot, b, 0o644)
	})
	out, err := exec.Command("unsquashfs", "-cat", slot, "netd.efi").Output()
	if err != nil {
		t.Fatalf("unsquashfs: %v", err)
	}
	if err := os.WriteFile(efi, out, 0o644); err != nil {
		t.Fatal(err)
	}
	image, err := pe.Open(efi)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = image.Close() }()
	part := func(name string) []byte {
		data, err := image.Section(name).Data()
		if err != nil {
			t.Fatal(err)
		}
		return data[:min(len(data), int(image.Section(name).VirtualSize))]
	}
	var args []string
	for option, name := range map[string]string{"-kernel": ".linux", "-initrd": ".initrd"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, part(name), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, option, file)
	}
	return append(args, "-append", string(part(".cmdline")))
}
