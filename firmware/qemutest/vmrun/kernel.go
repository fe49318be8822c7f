package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"netd/firmware/debian"
)

// kernel is a linux-image package, made ready for a guest.
type kernel struct {
	vmlinux string
	// modules is the folder that belongs at /lib/modules/VERSION.
	modules string
}

// kernelAge is how long a kernel is taken without asking for a newer one: apt
// needs a second to answer.
const kernelAge = 24 * time.Hour

// findKernel prepares the unpacked package in dir, or the one that images are
// built with.
func findKernel(dir string) (kernel, error) {
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
	if dir == "" {
		if dir, err = fetchKernel(filepath.Join(cache, "netd", "debian"), filepath.Join(base, "package")); err != nil {
			return kernel{}, err
		}
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return kernel{}, err
	}
	return prepareKernel(dir, base)
}

// lock makes go test's parallel packages prepare the kernel once.
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

// fetchKernel returns the folder of the package that linux-image-amd64 depends
// on; note is a file that remembers it.
func fetchKernel(cache, note string) (string, error) {
	if st, err := os.Stat(note); err == nil && time.Since(st.ModTime()) < kernelAge {
		dir, err := os.ReadFile(note)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(string(dir)); err == nil {
			return string(dir), nil
		}
	}
	ctx := context.Background()
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, "vmrun: "+format+"\n", args...) }
	archive, err := debian.Open(ctx, cache, "amd64", say)
	if err != nil {
		return "", err
	}
	names, err := archive.Depends(ctx, "linux-image-amd64")
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", errors.New("package linux-image-amd64 depends on no kernel")
	}
	packages, err := archive.Fetch(ctx, names[0])
	if err != nil {
		return "", err
	}
	dir := packages[0].Dir
	return dir, os.WriteFile(note, []byte(dir), 0o644)
}

// prepareKernel makes what an unpacked package lacks, in a folder of its own
// below base: the kernel without its compression, which QEMU starts at its PVH
// entry point (the emulated CPU would need 3 s to unpack it), and the modules'
// index.
func prepareKernel(dir, base string) (kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("%s holds %d kernels: expected one boot/vmlinuz-*", dir, len(images))
	}
	version := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	st, err := os.Stat(images[0])
	if err != nil {
		return kernel{}, err
	}
	ready := filepath.Join(base, fmt.Sprintf("%s-%x", version, st.ModTime().Unix()))
	k := kernel{vmlinux: filepath.Join(ready, "vmlinux"), modules: filepath.Join(ready, "lib/modules", version)}
	if _, err := os.Stat(ready); err == nil {
		return k, nil
	}
	tmp, err := os.MkdirTemp(base, "prepare-")
	if err != nil {
		return kernel{}, err
	}
	defer os.RemoveAll(tmp)
	if err := extractVmlinux(images[0], filepath.Join(tmp, "vmlinux")); err != nil {
		return kernel{}, fmt.Errorf("unpack %s: %w", images[0], err)
	}
	modules := filepath.Join(tmp, "lib/modules")
	for _, args := range [][]string{
		{"mkdir", "-p", modules},
		{"cp", "-al", filepath.Join(dir, "lib/modules", version), modules},
		{"depmod", "-b", tmp, version},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return kernel{}, fmt.Errorf("%s: %w: %s (package kmod)", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
	}
	return k, os.Rename(tmp, ready)
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
	return os.WriteFile(to, vmlinux, 0o644)
}

// moduleFiles lists the files of the named modules and of what they need, in
// the order in which they can be inserted, from modules.dep.
func (k kernel) moduleFiles(names ...string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(k.modules, "modules.dep"))
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
		order = append(order, filepath.Join(k.modules, file))
	}
	for _, n := range names {
		file, ok := byName[n]
		if !ok {
			return nil, fmt.Errorf("%s has no module %s", k.modules, n)
		}
		add(file)
	}
	return order, nil
}
