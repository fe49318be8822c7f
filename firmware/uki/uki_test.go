package uki

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/pe"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netd/firmware/debian"
)

// stubs fetches systemd's stub for an architecture.
func stubs(t *testing.T, arch, name string) []byte {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	a, err := debian.Open(ctx, filepath.Join(cache, "netd", "debian"), arch, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	ps, err := a.Fetch(ctx, "systemd-boot-efi")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(ps[0].Dir, "usr/lib/systemd/boot/efi", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The stub itself is a 64-bit EFI program for the right machine, so it stands
// for the kernel here.
func TestBuild(t *testing.T) {
	for arch, name := range map[string]string{"amd64": "linuxx64.efi.stub", "arm64": "linuxaa64.efi.stub"} {
		t.Run(arch, func(t *testing.T) {
			stub := stubs(t, arch, name)
			kernel, err := parse("kernel", stub)
			if err != nil {
				t.Fatal(err)
			}
			im := Image{Stub: stub, OSRelease: "ID=netd\n", Cmdline: "quiet console=ttyS0\n", Initrd: []byte("070701"), Linux: stub}
			out, err := im.Build()
			if err != nil {
				t.Fatal(err)
			}
			again, err := im.Build()
			if err != nil || !bytes.Equal(out, again) {
				t.Errorf("the second build differs (%v)", err)
			}
			p, err := pe.NewFile(bytes.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			checkLayout(t, p, len(out))
			for name, want := range map[string]string{".osrel": im.OSRelease, ".cmdline": "quiet console=ttyS0", ".initrd": "070701", ".linux": string(stub)} {
				s := p.Section(name)
				if s == nil {
					t.Fatalf("no section %s", name)
				}
				data, err := s.Data()
				if err != nil || !strings.HasPrefix(string(data), want) {
					t.Errorf("section %s (%v): %d octets, expected %d", name, err, len(data), len(want))
				}
				virtual := uint32(len(want))
				if name == ".linux" {
					virtual = max(virtual, kernel.sizeOfImage)
				}
				if s.VirtualSize != virtual {
					t.Errorf("section %s: virtual size %d, expected %d", name, s.VirtualSize, virtual)
				}
			}
			im.Linux = gzipped(t, stub)
			if out2, err := im.Build(); err != nil || !bytes.Equal(out, out2) {
				t.Errorf("a kernel under gzip gives another image (%v)", err)
			}
		})
	}
}

// checkLayout holds the sections to what UEFI's loader wants: in order, apart,
// aligned, inside the image and the file.
func checkLayout(t *testing.T, p *pe.File, size int) {
	t.Helper()
	opt := p.OptionalHeader.(*pe.OptionalHeader64)
	var end uint32
	for _, s := range p.Sections {
		if s.VirtualAddress < end || s.VirtualAddress%opt.SectionAlignment != 0 && s.Name != ".sdmagic" {
			t.Errorf("section %s is at %#x, behind %#x", s.Name, s.VirtualAddress, end)
		}
		if s.Offset%opt.FileAlignment != 0 || int(s.Offset+s.Size) > size {
			t.Errorf("section %s is at %#x to %#x of %#x in the file", s.Name, s.Offset, s.Offset+s.Size, size)
		}
		end = s.VirtualAddress + s.VirtualSize
	}
	if opt.SizeOfImage < end || opt.CheckSum != 0 || p.TimeDateStamp != 0 || p.NumberOfSymbols != 0 {
		t.Errorf("size of image %#x, sections end at %#x; checksum %#x, time %d, %d symbols",
			opt.SizeOfImage, end, opt.CheckSum, p.TimeDateStamp, p.NumberOfSymbols)
	}
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBuildErrors(t *testing.T) {
	amd64, arm64 := stubs(t, "amd64", "linuxx64.efi.stub"), stubs(t, "arm64", "linuxaa64.efi.stub")
	full := amd64
	for range 2 { // a second time, there is no room left for the sections
		out, err := Image{Stub: full, Linux: amd64}.Build()
		if err != nil {
			if !strings.Contains(err.Error(), "its headers have room for 15, needed are 16") {
				t.Error(err)
			}
			break
		}
		full = out
	}
	tests := []struct {
		name string
		im   Image
		want string
	}{
		{"other architecture", Image{Stub: amd64, Linux: arm64}, "the kernel is for PE machine 0xaa64, the EFI stub for 0x8664"},
		{"no kernel", Image{Stub: amd64}, "read kernel: "},
		{"text for a kernel", Image{Stub: amd64, Linux: []byte(strings.Repeat("x", 1000))}, "read kernel: "},
		{"torn kernel", Image{Stub: amd64, Linux: amd64[:2000]}, "read kernel: "},
		{"torn gzip", Image{Stub: amd64, Linux: gzipped(t, amd64)[:100]}, "unpack the kernel: "},
		{"torn stub", Image{Stub: amd64[:100], Linux: amd64}, "read EFI stub: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := tt.im.Build(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, expected %s…", err, tt.want)
			}
		})
	}
}
