package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// kernel is an unpacked linux-image package.
type kernel struct {
	dir     string // holds boot/ and lib/modules/
	version string // as uname -r says it
}

// vmlinux is the uncompressed kernel: QEMU starts it at its PVH entry point,
// which saves the emulated CPU some 3 s of unpacking.
func (k kernel) vmlinux() string { return filepath.Join(k.dir, "boot", "vmlinux-"+k.version) }

// modules is the folder that belongs at /lib/modules/VERSION.
func (k kernel) modules() string { return filepath.Join(k.dir, "lib", "modules", k.version) }

// findKernel prepares the package in dir, or the newest one in the cache, or
// fetches it.
func findKernel(dir string) (kernel, error) {
	if dir != "" {
		return openKernel(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return kernel{}, fmt.Errorf("find the cache folder: %w", err)
	}
	base := filepath.Join(cache, "netd", "vmrun")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return kernel{}, err
	}
	unlock, err := lock(filepath.Join(base, "lock"))
	if err != nil {
		return kernel{}, err
	}
	defer unlock()
	dir = filepath.Join(base, "linux-image-amd64")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := fetchKernel(base, dir); err != nil {
			return kernel{}, err
		}
	}
	return openKernel(dir)
}

// lock makes go test's parallel packages fetch the kernel once.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// fetchKernel unpacks the package that linux-image-amd64 depends on into dir,
// which appears whole or not at all.
func fetchKernel(base, dir string) error {
	tmp, err := os.MkdirTemp(base, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	out, err := command(tmp, "apt-cache", "depends", "--important", "linux-image-amd64")
	if err != nil {
		return err
	}
	_, name, ok := strings.Cut(string(out), "Depends: ")
	if !ok {
		return fmt.Errorf("linux-image-amd64 depends on no kernel; apt-cache says %q (run apt-get update)", out)
	}
	name, _, _ = strings.Cut(name, "\n")
	fmt.Fprintf(os.Stderr, "vmrun: fetching %s into %s\n", name, base)
	if _, err := command(tmp, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s left %d packages in %s", name, len(debs), tmp)
	}
	root := filepath.Join(tmp, "root")
	if _, err := command(tmp, "dpkg-deb", "-x", debs[0], root); err != nil {
		return err
	}
	if _, err := openKernel(root); err != nil {
		return err
	}
	return os.Rename(root, dir)
}

func command(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// openKernel adds to an unpacked package what it lacks: the uncompressed kernel
// and the modules' dependencies.
func openKernel(dir string) (kernel, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return kernel{}, err
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("%s holds %d kernels: expected one boot/vmlinuz-*", dir, len(images))
	}
	k := kernel{dir: dir, version: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}
	if _, err := os.Stat(k.vmlinux()); errors.Is(err, os.ErrNotExist) {
		if err := extractVmlinux(images[0], k.vmlinux()); err != nil {
			return kernel{}, fmt.Errorf("unpack %s: %w", images[0], err)
		}
	}
	if _, err := os.Stat(filepath.Join(k.modules(), "modules.dep.bin")); errors.Is(err, os.ErrNotExist) {
		if _, err := command(dir, "depmod", "-b", dir, k.version); err != nil {
			return kernel{}, fmt.Errorf("%w (package kmod)", err)
		}
	}
	return k, nil
}

// extractVmlinux takes the payload out of a bzImage: the offsets are in its
// setup header (Documentation/x86/boot.rst: payload_offset, payload_length).
func extractVmlinux(image, to string) error {
	b, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	if len(b) < 0x250 || string(b[0x202:0x206]) != "HdrS" {
		return errors.New("not a bzImage: no HdrS")
	}
	start := (int(b[0x1f1])+1)*512 + int(binary.LittleEndian.Uint32(b[0x248:]))
	end := start + int(binary.LittleEndian.Uint32(b[0x24c:]))
	if start > end || end > len(b) {
		return fmt.Errorf("payload %d to %d is outside of the file's %d bytes", start, end, len(b))
	}
	payload := b[start:end]
	var tool []string
	switch {
	case bytes.HasPrefix(payload, []byte("\xfd7zXZ")):
		tool = []string{"xz", "-dc", "--single-stream"}
	case bytes.HasPrefix(payload, []byte("\x28\xb5\x2f\xfd")):
		tool = []string{"zstd", "-dcq"}
		payload = payload[:len(payload)-4] // the kernel's build appends the size
	default:
		return fmt.Errorf("payload starts with %x: expected xz or zstd", payload[:min(6, len(payload))])
	}
	cmd := exec.Command(tool[0], tool[1:]...)
	cmd.Stdin = bytes.NewReader(payload)
	vmlinux, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(tool, " "), err)
	}
	if _, err := elf.NewFile(bytes.NewReader(vmlinux)); err != nil {
		return err
	}
	tmp := to + ".tmp"
	if err := os.WriteFile(tmp, vmlinux, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, to)
}

// moduleFiles lists the files of the named modules and of what they need, in
// the order in which they can be inserted, from modules.dep.
func (k kernel) moduleFiles(names ...string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(k.modules(), "modules.dep"))
	if err != nil {
		return nil, err
	}
	deps := make(map[string][]string)
	byName := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		file, needs, _ := strings.Cut(line, ":")
		deps[file] = strings.Fields(needs)
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		byName[strings.ReplaceAll(name, "-", "_")] = file
	}
	var order []string
	seen := make(map[string]bool)
	var add func(string)
	add = func(file string) {
		if seen[file] {
			return
		}
		seen[file] = true
		for _, d := range deps[file] {
			add(d)
		}
		order = append(order, filepath.Join(k.modules(), file))
	}
	for _, n := range names {
		file, ok := byName[n]
		if !ok {
			return nil, fmt.Errorf("%s has no module %s", k.modules(), n)
		}
		add(file)
	}
	return order, nil
}
