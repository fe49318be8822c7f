package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"netd/firmware/debian"
)

// arch is what differs between architectures outside board/.
type arch struct {
	grubPackage string // GRUB's modules
	grubTarget  string // grub-mkimage -O
	bootFile    string // what UEFI starts from a disk (UEFI 2.10 section 3.5.1.1)
	stub        string // systemd's EFI stub
	libDir      string // Debian's, on the gateway
}

func archOf(name string) arch {
	if name == "arm64" {
		return arch{"grub-efi-arm64-bin", "arm64-efi", "BOOTAA64.EFI", "linuxaa64.efi.stub", "usr/lib/aarch64-linux-gnu"}
	}
	return arch{"grub-efi-amd64-bin", "x86_64-efi", "BOOTX64.EFI", "linuxx64.efi.stub", "usr/lib/x86_64-linux-gnu"}
}

// programs are the tools for a person on the console: where they are on the
// gateway, and where their package has them.
func programs() map[string]string {
	m := map[string]string{
		"usr/bin/traceroute": "usr/bin/traceroute.db",
		// Stage 1 checks the data partition with them, and at worst makes it anew.
		"usr/bin/e2fsck": "usr/bin/e2fsck", "usr/bin/mke2fs": "usr/bin/mke2fs",
	}
	for _, name := range []string{
		"bridge", "ip", "ss", "tc", "nstat", "ping", "tracepath", "tcpdump", "nft", "ethtool", "conntrack", "pgrep", "pkill", "busybox",
	} {
		m["usr/bin/"+name] = "usr/bin/" + name
	}
	return m
}

// toolPackages hold the programs and every library that they need.
func toolPackages() []string {
	return []string{
		// The static busybox would run its own applets in place of the programs of the same name.
		"busybox", "netbase", "libc6",
		"iproute2", "libbpf1", "libelf1", "zlib1g", "libmnl0", "libcap2", "libselinux1", "libpcre2-8-0", "libtirpc3", "libtirpc-common",
		"libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0", "libcom-err2", "libkeyutils1", "libssl3",
		"iputils-ping", "iputils-tracepath", "libidn2-0", "libunistring2", "traceroute",
		"tcpdump", "libpcap0.8", "libdbus-1-3", "libsystemd0", "libgcrypt20", "libgpg-error0", "liblz4-1", "liblzma5", "libzstd1",
		"nftables", "libnftables1", "libnftnl11", "libxtables12", "libjansson4", "libgmp10", "libedit2", "libbsd0", "libmd0", "libtinfo6",
		"e2fsprogs", "libext2fs2", "libblkid1", "libuuid1",
		"procps", "libproc2-0", "ethtool", "conntrack", "libnetfilter-conntrack3", "libnfnetlink0",
	}
}

// base is what an image takes from Debian.
type base struct {
	kernel  debian.Package
	version string // of the kernel, as uname -r says it
	stub    debian.Package
	grub    debian.Package
	tools   []debian.Package
	// For the build machine:
	grubTools   debian.Package
	grubLibrary debian.Package
}

// all returns the packages that are in the image, for the manifest.
func (b base) all() []debian.Package {
	return append([]debian.Package{b.kernel, b.stub, b.grub}, b.tools...)
}

func (b base) vmlinuz() string { return filepath.Join(b.kernel.Dir, "boot", "vmlinuz-"+b.version) }

func (b base) modules() string { return filepath.Join(b.kernel.Dir, "lib/modules", b.version) }

func fetchBase(ctx context.Context, cache, archName, kernelPackage string, say func(string, ...any)) (base, error) {
	var b base
	dir := filepath.Join(cache, "debian")
	target, err := debian.Open(ctx, dir, archName, say)
	if err != nil {
		return b, err
	}
	host := target
	if archName != runtime.GOARCH {
		if host, err = debian.Open(ctx, dir, runtime.GOARCH, say); err != nil {
			return b, err
		}
	}
	kernel, err := kernelOf(ctx, target, kernelPackage)
	if err != nil {
		return b, err
	}
	grub := archOf(archName).grubPackage
	of, err := target.Fetch(ctx, append(toolPackages(), kernel, "systemd-boot-efi", grub)...)
	if err != nil {
		return b, err
	}
	for _, p := range of {
		switch p.Name {
		case kernel:
			b.kernel = p
		case "systemd-boot-efi":
			b.stub = p
		case grub:
			b.grub = p
		default:
			b.tools = append(b.tools, p)
		}
	}
	of, err = host.Fetch(ctx, "grub-common", "libdevmapper1.02.1")
	if err != nil {
		return b, err
	}
	b.grubTools, b.grubLibrary = of[0], of[1]
	versions, err := os.ReadDir(filepath.Join(b.kernel.Dir, "lib/modules"))
	if err != nil || len(versions) != 1 {
		return b, fmt.Errorf("package %s has %d kernel versions, expected 1: %v", kernel, len(versions), err)
	}
	b.version = versions[0].Name()
	return b, nil
}

// kernelOf follows linux-image-ARCH to the package of its present version.
func kernelOf(ctx context.Context, a *debian.Archive, name string) (string, error) {
	deps, err := a.Depends(ctx, name)
	if err != nil {
		return "", err
	}
	for _, dep := range deps {
		if strings.HasPrefix(dep, "linux-image-") {
			return dep, nil
		}
	}
	return name, nil
}
