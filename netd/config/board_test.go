package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const boardsDir = "../../board"

// Every folder in board/ must load: this is all that a new board needs.
func TestBoards(t *testing.T) {
	dirs, err := os.ReadDir(boardsDir)
	if err != nil {
		t.Fatal(err)
	}
	arches := map[string]bool{}
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) {
			b, err := LoadBoard(filepath.Join(boardsDir, d.Name(), "board.toml"))
			if err != nil {
				t.Fatal(err)
			}
			arches[b.Arch] = true
		})
	}
	if !arches["amd64"] || !arches["arm64"] {
		t.Errorf("boards of %v, expected both architectures", arches)
	}
}

func TestBoardErrors(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(boardsDir, "qemu-arm64", "board.toml"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, old, new, want string
	}{
		{"unknown key", "\narch =", "\nleds = 3\narch =", "b.toml: leds: unknown key"},
		{"unknown key in a table", "binary =", "bios = 1\nbinary =", "b.toml: qemu.bios: unknown key"},
		{"syntax", "[kernel]", "[kernel", "b.toml:7:8: expected '.' or ']' to end table name, but got '\\n' instead"},
		{"type", `"ttyAMA0"`, "4", `b.toml: line 4 (last key "console"): incompatible types: TOML value has type int64; destination has type string`},
		{"architecture", `"arm64"`, `"aarch64"`, `b.toml: arch: "aarch64": expected "amd64" or "arm64"`},
		{"console", `"ttyAMA0"`, `"/dev/ttyAMA0"`, `b.toml: console: "/dev/ttyAMA0": expected a serial device, e.g. "ttyS0"`},
		{"module", `"virtio_rng", `, `"virtio rng", `, `b.toml: kernel modules: "virtio rng": expected a module's name, e.g. "virtio_net"`},
		{"ports", `"port1"`, `"port0"`, `b.toml: port: "port0 at pci0000:00/0000:00:03.0": expected labels and paths that differ`},
		{"role", `role = "uplink"`, `role = "lan"`, `b.toml: port.role: "lan": expected "uplink" or "management"`},
		{"two", "[kernel]", "baud = 3\n[kernel]\nx = 1", "b.toml: kernel.x: unknown key\nb.toml: baud: 3: expected 1200 to 4000000"},
		{"nics", `, "virtio-net-pci,addr=0x3,romfile="`, "", "b.toml: qemu.nics: 1: expected one for each of the 2 ports"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(string(text), tt.old) {
				t.Fatalf("the board has no %q", tt.old)
			}
			_, err := parseBoard("b.toml", strings.Replace(string(text), tt.old, tt.new, 1))
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
