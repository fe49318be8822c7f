package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"netd/netd/layout"
)

// Board is what a kind of box is made of: board/NAME/board.toml, read by the
// image builder, by the runner of emulated boards, and on the gateway from
// layout.BoardFile. Adding a board is adding a folder.
type Board struct {
	Name        string `toml:"name"`
	Description string `toml:"description"`
	// Arch is Debian's and Go's word for the architecture: amd64 or arm64.
	Arch string `toml:"arch"`
	// Console is the serial console's device without /dev/, e.g. ttyS0, and
	// Baud its rate (default 115200).
	Console string `toml:"console"`
	Baud    int    `toml:"baud"`
	// Screen: the box has a connector for one, which shows what the serial console does,
	// and takes a login too, if something is plugged in.
	Screen bool        `toml:"screen"`
	Kernel BoardKernel `toml:"kernel"`
	// Ports are the box's Ethernet ports, in the order of their labels.
	Ports []Port `toml:"port"`
	// QEMU is nil if the board can not be emulated.
	QEMU *QEMU `toml:"qemu"`
	// Flash says how to bring an image onto the board.
	Flash Flash `toml:"flash"`
}

// BoardKernel is the kernel and what it needs for this hardware.
type BoardKernel struct {
	// Package is Debian's, e.g. linux-image-arm64.
	Package string `toml:"package"`
	// Cmdline are words for the kernel's command line besides those that every
	// board has.
	Cmdline []string `toml:"cmdline"`
	// Initramfs are the modules that find the disk, Modules those that the
	// running system needs for this hardware (network, watchdog, buttons). What
	// they depend on is added, and so is what netd itself needs (ipip, …).
	Initramfs []string `toml:"initramfs"`
	Modules   []string `toml:"modules"`
}

// Port is an Ethernet port.
type Port struct {
	// Label is what is printed beside the socket, and a name that a
	// configuration can match: match = { name = "port0" }.
	Label string `toml:"label"`
	// Path is the port's device as a folder under /sys/devices, e.g.
	// "pci0000:00/0000:00:02.0": the same at each boot, unlike eth0. The link is
	// the one whose device is this folder or below it.
	Path string `toml:"path"`
	// Role is what the port is meant for: "uplink" or "management".
	Role string `toml:"role"`
}

// QEMU is the command line of an emulated board, except for memory, disk
// image, network back ends and console, which its runner adds.
type QEMU struct {
	Binary string   `toml:"binary"`
	Args   []string `toml:"args"`
	// Code and Vars are the UEFI firmware's two flash images; the runner gives
	// each board a copy of Vars.
	Code string `toml:"firmware-code"`
	Vars string `toml:"firmware-vars"`
	// Packages are the Debian packages that have all these files.
	Packages []string `toml:"packages"`
	// Disk is the -device that the disk image is attached as, and NICs those of
	// the ports, in their order; the runner appends drive=, netdev= and mac=.
	Disk string   `toml:"disk"`
	NICs []string `toml:"nics"`
}

// Flash is how an image is brought onto the board.
type Flash struct {
	// How is text for a person.
	How string `toml:"how"`
}

// LoadBoard reads and checks a board's file. All errors are returned at once.
// The folder's name must be the board's, except on the gateway.
func LoadBoard(path string) (*Board, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read board: %w", err)
	}
	b, err := parseBoard(path, string(text))
	if err != nil {
		return nil, err
	}
	if dir := filepath.Base(filepath.Dir(path)); path != layout.BoardFile && dir != b.Name {
		return nil, fmt.Errorf("%s: name: %q: expected the folder's name, %q", path, b.Name, dir)
	}
	return b, nil
}

func parseBoard(path, text string) (*Board, error) {
	b := Board{Baud: 115200}
	meta, err := toml.Decode(text, &b)
	if parse := (toml.ParseError{}); errors.As(err, &parse) {
		return nil, fmt.Errorf("%s:%d:%d: %s", path, parse.Position.Line, parse.Position.Col, parse.Message)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "toml: "))
	}
	var errs []error
	for _, key := range meta.Undecoded() {
		errs = append(errs, fmt.Errorf("%s: %s: unknown key", path, key))
	}
	for _, err := range b.check() {
		errs = append(errs, fmt.Errorf("%s: %w", path, err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &b, nil
}

// check returns what is wrong as "key: value: expected …".
func (b *Board) check() []error {
	var errs []error
	wrong := func(key string, value any, expected string) {
		errs = append(errs, fmt.Errorf("%s: %#v: expected %s", key, value, expected))
	}
	matches := func(key, value, pattern, expected string) {
		if !regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(value) {
			wrong(key, value, expected)
		}
	}
	matches("name", b.Name, `[a-z0-9][a-z0-9_-]*`, `lower-case letters, digits, hyphens and underscores`)
	matches("arch", b.Arch, `amd64|arm64`, `"amd64" or "arm64"`)
	matches("console", b.Console, `tty[A-Za-z]+[0-9]+`, `a serial device, e.g. "ttyS0"`)
	if b.Baud < 1200 || b.Baud > 4000000 {
		wrong("baud", b.Baud, "1200 to 4000000")
	}
	matches("kernel.package", b.Kernel.Package, `linux-image-[a-z0-9.+-]+`, `a Debian package, e.g. "linux-image-arm64"`)
	for _, m := range slices.Concat(b.Kernel.Initramfs, b.Kernel.Modules) {
		matches("kernel modules", m, `[A-Za-z0-9_-]+`, `a module's name, e.g. "virtio_net"`)
	}
	for _, w := range b.Kernel.Cmdline {
		matches("kernel.cmdline", w, `[!#-~]+`, "words without spaces and quotes")
	}
	if len(b.Ports) == 0 {
		wrong("port", len(b.Ports), "at least one [[port]]")
	}
	seen := map[string]bool{}
	for _, p := range b.Ports {
		matches("port.label", p.Label, `[a-z][a-z0-9.-]{0,14}`, "1 to 15 lower-case letters, digits, hyphens and dots, a letter first")
		matches("port.path", p.Path, `[^/]+(/[^/]+)*`, `a folder under /sys/devices, e.g. "pci0000:00/0000:00:02.0"`)
		matches("port.role", p.Role, `uplink|management`, `"uplink" or "management"`)
		if seen[p.Label] || seen[p.Path] {
			wrong("port", p.Label+" at "+p.Path, "labels and paths that differ")
		}
		seen[p.Label], seen[p.Path] = true, true
	}
	if strings.TrimSpace(b.Flash.How) == "" {
		wrong("flash.how", b.Flash.How, "how to bring an image onto the board")
	}
	return append(errs, b.QEMU.check(len(b.Ports))...)
}

func (q *QEMU) check(ports int) []error {
	if q == nil {
		return nil
	}
	var errs []error
	for key, value := range map[string]string{"binary": q.Binary, "disk": q.Disk, "firmware-code": q.Code, "firmware-vars": q.Vars} {
		if value == "" {
			errs = append(errs, fmt.Errorf("qemu.%s: missing", key))
		}
	}
	if len(q.NICs) != ports {
		errs = append(errs, fmt.Errorf("qemu.nics: %d: expected one for each of the %d ports", len(q.NICs), ports))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}
