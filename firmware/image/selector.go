package image

import (
	"archive/tar"
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

//go:embed grub.cfg
var grubConfig string

// grubModules are what grub.cfg and the slots need.
func grubModules() []string {
	return []string{
		"memdisk", "tar", "normal", "loadenv", "regexp", "part_gpt", "fat", "squash4", "gzio", "xzio",
		"chain", "echo", "test", "boot", "reboot",
	}
}

// selector builds the EFI program that chooses a slot.
func selector(ctx context.Context, b base, a arch, dir string, when time.Time) ([]byte, error) {
	var disk bytes.Buffer
	tw := tar.NewWriter(&disk)
	// USTAR is what GRUB's tar reads.
	h := &tar.Header{Name: "boot/grub/grub.cfg", Mode: 0o644, Size: int64(len(grubConfig)), ModTime: when, Format: tar.FormatUSTAR}
	if err := tw.WriteHeader(h); err != nil {
		return nil, err
	}
	if _, err := tw.Write([]byte(grubConfig)); err != nil {
		return nil, err
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	memdisk, out := filepath.Join(dir, "memdisk.tar"), filepath.Join(dir, "selector.efi")
	if err := os.WriteFile(memdisk, disk.Bytes(), 0o644); err != nil {
		return nil, err
	}
	libs, err := filepath.Glob(filepath.Join(b.grubLibrary.Dir, "lib/*/"))
	if err != nil || len(libs) != 1 {
		return nil, fmt.Errorf("find the library of grub-mkimage in %s: %d folders", b.grubLibrary.Dir, len(libs))
	}
	args := append([]string{
		"-O", a.grubTarget, "-d", filepath.Join(b.grub.Dir, "usr/lib/grub", a.grubTarget),
		"-p", "(memdisk)/boot/grub", "-m", memdisk, "-o", out, "--disable-shim-lock",
	}, grubModules()...)
	env := []string{"LD_LIBRARY_PATH=" + libs[0]}
	if err := run(ctx, env, nil, filepath.Join(b.grubTools.Dir, "usr/bin/grub-mkimage"), args...); err != nil {
		return nil, fmt.Errorf("make the selector: %w", err)
	}
	return os.ReadFile(out)
}

// envBlock is GRUB's environment block: a line each, filled up with #.
func envBlock(lines ...string) []byte {
	const size = 1024
	text := "# GRUB Environment Block\n" + strings.Join(lines, "\n") + "\n"
	return []byte(text + strings.Repeat("#", size-len(text)))
}
