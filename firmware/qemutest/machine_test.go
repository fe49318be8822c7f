package qemutest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netd/netd/config"
)

func TestCommandLine(t *testing.T) {
	b := &config.Board{QEMU: &config.QEMU{
		Binary: "qemu", Args: []string{"-machine", "m"}, Code: "/code", Disk: "blk,addr=4", NICs: []string{"nic,addr=2", "nic,addr=3"},
	}}
	o := Options{
		Disk: "/a,b", Dir: "/run/gw-a", Serial: "SN", MemoryMiB: 256, CPUs: 1, ExtraArgs: []string{"-S"},
		NICs: []NIC{{MAC: "02:00:00:00:00:01", Tap: "tap0"}},
	}
	want := strings.Fields(`qemu -machine m -accel tcg -smp 1 -m 256 -name gw-a -nodefaults -no-user-config -display none
		-drive if=pflash,unit=0,format=raw,readonly=on,file=/code -drive if=pflash,unit=1,format=raw,file=/vars
		-drive if=none,id=disk,format=raw,discard=unmap,file=/a,,b -device blk,addr=4,drive=disk
		-netdev tap,id=port0,ifname=tap0,script=no,downscript=no -device nic,addr=2,netdev=port0,mac=02:00:00:00:00:01
		-smbios type=1,serial=SN -serial x -S`)
	if diff := cmp.Diff(want, commandLine(b, o, "/vars", "-serial", "x")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOutputIsTheCommandsOwn(t *testing.T) {
	got := cleanOutput("a\r\n[   12.345678] veth0: link\r\nnetd init: run ended\r\nrun: time=x level=WARN msg=y\r\nrun: mine\r\n[12] b\r\n")
	if want := "a\nrun: mine\n[12] b\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestExpectGoesOnBehindTheLastMatch(t *testing.T) {
	m := &Machine{console: &console{changed: make(chan struct{})}, process: &process{ended: make(chan struct{})}}
	fmt.Fprint(m.console, "one two on")
	if got, err := m.Expect(t.Context(), "one"); err != nil || got != "one" {
		t.Fatalf("got %q, %v", got, err)
	}
	go fmt.Fprint(m.console, "e")
	if got, err := m.Expect(t.Context(), "one"); err != nil || got != "one" {
		t.Fatalf("the second, in two pieces: got %q, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Expect(ctx, "two"); err == nil || !strings.Contains(err.Error(), "one two one") {
		t.Errorf("what is behind: got %v", err)
	}
}

func TestCopyDiskKeepsHolesAndGrows(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	data := bytes.Repeat([]byte("x"), 1<<20)
	f, err := os.Create(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(32 << 20); err != nil {
		t.Fatal(err)
	}
	if err := CopyDisk(from, to, 64<<20); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != 64<<20 || !bytes.Equal(b[8<<20:9<<20], data) || bytes.Count(b, []byte{0}) != 63<<20 {
		t.Errorf("got %d octets, %d of them 0", len(b), bytes.Count(b, []byte{0}))
	}
	var st syscall.Stat_t
	if err := syscall.Stat(to, &st); err != nil {
		t.Fatal(err)
	}
	if st.Blocks*512 > 4<<20 {
		t.Errorf("the copy takes %d octets", st.Blocks*512)
	}
}
