package main

import (
	"bytes"
	"context"
	"debug/pe"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"netd/firmware/gpt"
)

// Part is something that the image holds, in octets: as the running gateway sees
// it and as the image keeps it.
type Part struct {
	Volume string `json:"volume"`
	Name   string `json:"name"`
	Raw    int64  `json:"raw"`
	Packed int64  `json:"packed"`
}

// root's groups of files, in the order of the table; the first that a path begins
// with has it.
var groups = []struct{ name, prefix string }{
	{"netd", "usr/bin/netd"},
	{"containerd's shim", "usr/bin/containerd-shim-runc-v2"},
	{"runc", "usr/bin/runc"},
	{"workloads' images", "usr/lib/netd/images/"},
	{"kernel modules", "usr/lib/modules/"},
	{"Debian's tools and libraries", ""},
}

// sizes takes the image apart again.
func (b *bench) sizes(ctx context.Context) ([]Part, error) {
	boot, err := b.bootSizes(ctx)
	if err != nil {
		return nil, err
	}
	root, err := b.rootSizes(ctx)
	if err != nil {
		return nil, err
	}
	selector := b.built["selector.efi"]
	return append(append([]Part{{"esp", "selector", selector, selector}}, boot...), root...), nil
}

// bootSizes are those of the unified kernel image's sections. The kernel unpacks
// itself and counts as it is.
func (b *bench) bootSizes(ctx context.Context) ([]Part, error) {
	sections, err := b.unified(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "zstd", "-dc")
	cmd.Stdin = bytes.NewReader(sections[".initrd"])
	initramfs, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("unpack the initramfs: %w", err)
	}
	kernel, initrd := int64(len(sections[".linux"])), int64(len(sections[".initrd"]))
	stub := b.built["netd.efi"] - kernel - initrd
	return []Part{
		{"boot", "kernel", kernel, kernel},
		{"boot", "initramfs", int64(len(initramfs)), initrd},
		{"boot", "EFI stub", stub, stub},
	}, nil
}

// unified returns the sections of the image's unified kernel image.
func (b *bench) unified(ctx context.Context) (map[string][]byte, error) {
	offset, err := b.offset("boot-a")
	if err != nil {
		return nil, err
	}
	efi, err := exec.CommandContext(ctx, "unsquashfs", "-o", fmt.Sprint(offset), "-cat", b.file("image"), "netd.efi").Output()
	if err != nil {
		return nil, fmt.Errorf("read the unified kernel image: %w", err)
	}
	file, err := pe.NewFile(bytes.NewReader(efi))
	if err != nil {
		return nil, fmt.Errorf("read the unified kernel image: %w", err)
	}
	sections := map[string][]byte{}
	for _, s := range file.Sections {
		data, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("read %s of the unified kernel image: %w", s.Name, err)
		}
		sections[s.Name] = data[:min(len(data), int(s.VirtualSize))]
	}
	return sections, nil
}

// offset of a partition in the image.
func (b *bench) offset(label string) (int64, error) {
	f, err := os.Open(b.file("image"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	table, err := gpt.Read(f, st.Size())
	if err != nil {
		return 0, err
	}
	p, ok := table.ByLabel(label)
	if !ok {
		return 0, fmt.Errorf("the image has no partition %s", label)
	}
	return p.Offset(), nil
}

// rootSizes packs each group of the root's files by itself, as the image builder
// packs all; what that does not explain are folders and tables.
func (b *bench) rootSizes(ctx context.Context) ([]Part, error) {
	offset, err := b.offset("root-a")
	if err != nil {
		return nil, err
	}
	root := b.file("root")
	defer os.RemoveAll(root)
	if err := command(ctx, "unsquashfs", "-q", "-n", "-no-xattrs", "-o", fmt.Sprint(offset), "-d", root, b.file("image")); err != nil {
		return nil, err
	}
	rest := Part{"root", "folders, links, tables", 0, b.built["root.squashfs"]}
	var parts []Part
	for _, g := range groups {
		p := Part{Volume: "root", Name: g.name}
		dir := b.file("group")
		if p.Raw, err = gather(root, g.prefix, dir); err != nil {
			return nil, err
		}
		if p.Packed, err = pack(ctx, dir, b.file("group.squashfs")); err != nil {
			return nil, err
		}
		rest.Packed -= p.Packed
		parts = append(parts, p)
	}
	rest.Packed = max(0, rest.Packed)
	return append(parts, rest), nil
}

// gather moves the files whose path in root begins with prefix to dir, and
// returns their size.
func gather(root, prefix, dir string) (int64, error) {
	var size int64
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasPrefix(path, filepath.Join(root, prefix)) {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		size += st.Size()
		to := filepath.Join(dir, strings.TrimPrefix(path, root))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.Rename(path, to)
	})
	return size, err
}

// pack returns the size of a squashfs of dir, and removes both.
func pack(ctx context.Context, dir, out string) (int64, error) {
	defer os.RemoveAll(dir)
	defer func() { _ = os.Remove(out) }()
	if err := command(ctx, "mksquashfs", dir, out, "-quiet", "-no-progress", "-no-xattrs", "-comp", "zstd", "-Xcompression-level", "9", "-b", "256K"); err != nil {
		return 0, err
	}
	st, err := os.Stat(out)
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
