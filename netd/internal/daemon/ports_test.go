package daemon

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netd/netd/config"
)

// fakeSys is a sysfs with three links, as on a box with two PCI ports, the
// second of which is behind a bus of its own.
func fakeSys(t *testing.T) string {
	t.Helper()
	sys := t.TempDir()
	for device, mac := range map[string]string{
		"pci0000:00/0000:00:02.0/virtio0/net/eth0":   "52:54:00:01:00:0a",
		"pci0000:00/0000:00:02.1/usb1/1-1/net/wan-x": "52:54:00:01:00:0b",
		"virtual/net/pod0":                           "02:00:00:00:00:01",
	} {
		dir := filepath.Join(sys, "devices", device)
		link := filepath.Join(sys, "class/net", filepath.Base(device))
		for _, d := range []string{dir, filepath.Dir(link)} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "address"), []byte(mac+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../devices/"+device, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(sys, "class/net/bonding_masters"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return sys
}

func TestPortMAC(t *testing.T) {
	sys := fakeSys(t)
	bonded := filepath.Join(sys, "devices/pci0000:00/0000:00:02.1/usb1/1-1/net/wan-x")
	for file, mac := range map[string]string{"bonding_slave/perm_hwaddr": "52:54:00:01:00:0b\n", "address": "52:54:00:01:00:0a\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(bonded, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bonded, file), []byte(mac), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"pci0000:00/0000:00:02.0": "52:54:00:01:00:0a",
		"pci0000:00/0000:00:02.1": "52:54:00:01:00:0b",
		"virtual/net/pod0":        "02:00:00:00:00:01",
		"pci0000:00/0000:00:02":   "",
		"pci0000:00/0000:00:03.0": "",
	} {
		mac, err := portMAC(sys, path)
		if mac.String() != want || (err == nil) != (want != "") {
			t.Errorf("link at %s: %s, %v, want %q", path, mac, err, want)
		}
	}
}

func TestLoadPorts(t *testing.T) {
	var log strings.Builder
	o := Options{Log: slog.New(slog.NewTextHandler(&log, nil)), BoardFile: filepath.Join(t.TempDir(), "absent.toml")}
	if ports := o.loadPorts(); ports != nil || log.Len() > 0 {
		t.Errorf("no board: %v, log %q", ports, log.String())
	}
	o.BoardFile = "../../../board/qemu-x86_64/board.toml"
	if ports := o.loadPorts(); len(ports) != 2 || ports[0].Label != "port0" {
		t.Errorf("ports of qemu-x86_64: %+v", ports)
	}
	o.BoardFile = filepath.Join(t.TempDir(), "board.toml")
	if err := os.WriteFile(o.BoardFile, []byte("name = 3"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ports := o.loadPorts(); ports != nil || !strings.Contains(log.String(), "board's file is bad") {
		t.Errorf("bad board: %v, log %q", ports, log.String())
	}
}

// A port without a link has no MAC address, and is no error.
func TestPortMACs(t *testing.T) {
	u := &uplinks{log: slog.New(slog.DiscardHandler), ports: []config.Port{{Label: "port0", Path: "virtual/net/lo"}, {Label: "port1", Path: "nowhere"}}}
	want := map[string]net.HardwareAddr{"port0": {0, 0, 0, 0, 0, 0}}
	if diff := cmp.Diff(want, u.portMACs()); diff != "" {
		t.Errorf("MAC addresses (-want +got):\n%s", diff)
	}
}
