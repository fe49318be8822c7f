package uki

import (
	"bytes"
	"compress/gzip"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// Image is what a unified kernel image is made of.
type Image struct {
	// Stub is systemd's, linuxx64.efi.stub or linuxaa64.efi.stub.
	Stub []byte
	// OSRelease is the text of an os-release file.
	OSRelease string
	// Cmdline is the kernel's command line.
	Cmdline string
	// Initrd is a cpio archive, which may be compressed.
	Initrd []byte
	// Linux is the kernel: a bzImage or arm64 Image with an EFI stub of its own,
	// or such an Image under gzip.
	Linux []byte
}

const (
	sectionHeaderSize = 40
	// pageSize is where added sections start: the stub runs the kernel in place
	// and the kernel wants whole pages.
	pageSize = 4096
	// initialized data, readable
	sectionFlags = pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ
)

// Offsets in the PE header, the same in PE32 and PE32+ (PE format, "Optional
// header"), from the start of the COFF header or of the optional header.
const (
	coffSections    = 2
	coffTimestamp   = 4
	coffSymbols     = 8
	coffSymbolCount = 12
	coffHeaderSize  = 20
	optSizeOfImage  = 56
	optCheckSum     = 64
	optSecurityDir  = 112 + 4*8 // PE32+: data directory 4, signatures
)

type section struct {
	name        string
	data        []byte
	virtualSize uint32
}

// Build returns the image.
func (im Image) Build() ([]byte, error) {
	linux, err := gunzip(im.Linux)
	if err != nil {
		return nil, fmt.Errorf("unpack the kernel: %w", err)
	}
	stub, err := parse("EFI stub", im.Stub)
	if err != nil {
		return nil, err
	}
	kernel, err := parse("kernel", linux)
	if err != nil {
		return nil, err
	}
	if stub.machine != kernel.machine {
		return nil, fmt.Errorf("the kernel is for PE machine %#x, the EFI stub for %#x", kernel.machine, stub.machine)
	}
	return stub.add([]section{
		{".osrel", []byte(im.OSRelease), 0},
		{".cmdline", []byte(strings.TrimRight(im.Cmdline, "\n")), 0},
		{".initrd", im.Initrd, 0},
		// Last, with room for the kernel's own uninitialised data.
		{".linux", linux, kernel.sizeOfImage},
	})
}

// gunzip unpacks data if it is compressed.
func gunzip(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// file is a PE file whose headers were found sound.
type file struct {
	data        []byte
	machine     uint16
	coff, opt   int // offsets of the two headers
	table       int // offset of the section table
	sections    int
	headers     int    // size of all headers with their padding
	align       uint32 // of sections in the file
	sizeOfImage uint32
	end         int    // of the last section in the file
	virtualEnd  uint32 // of the last section in memory
}

func parse(what string, data []byte) (*file, error) {
	p, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	opt, ok := p.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		return nil, fmt.Errorf("read %s: not a 64-bit EFI program", what)
	}
	f := &file{
		data: data, machine: p.Machine, sections: len(p.Sections),
		coff:    int(binary.LittleEndian.Uint32(data[0x3c:])) + 4,
		headers: int(opt.SizeOfHeaders), align: opt.FileAlignment, sizeOfImage: opt.SizeOfImage,
	}
	f.opt = f.coff + coffHeaderSize
	f.table = f.opt + int(p.SizeOfOptionalHeader)
	f.end = f.headers
	for _, s := range p.Sections {
		end := int(s.Offset) + int(s.Size)
		if end > len(data) {
			return nil, fmt.Errorf("read %s: section %s ends at %d in a file of %d octets", what, s.Name, end, len(data))
		}
		f.end = max(f.end, end)
		f.virtualEnd = max(f.virtualEnd, s.VirtualAddress+max(s.VirtualSize, s.Size))
	}
	if f.align == 0 || f.align&(f.align-1) != 0 || f.headers > len(data) {
		return nil, fmt.Errorf("read %s: alignment %d, headers of %d octets", what, f.align, f.headers)
	}
	return f, nil
}

func roundUp[T int | uint32](n, to T) T { return (n + to - 1) / to * to }

// add appends sections behind the last one, in the file and in memory.
func (f *file) add(sections []section) ([]byte, error) {
	if room := f.headers - f.table; (f.sections+len(sections))*sectionHeaderSize > room {
		return nil, fmt.Errorf("add sections to the EFI stub: its headers have room for %d, needed are %d",
			room/sectionHeaderSize, f.sections+len(sections))
	}
	out := bytes.Clone(f.data[:f.end]) // without the symbols, which follow the sections
	le := binary.LittleEndian
	address := roundUp(f.virtualEnd, pageSize)
	for i, s := range sections {
		size := uint32(len(s.data))
		offset := roundUp(len(out), int(f.align))
		raw := roundUp(size, f.align)
		out = append(out, make([]byte, offset-len(out))...)
		out = append(out, s.data...)
		out = append(out, make([]byte, raw-size)...)
		h := out[f.table+(f.sections+i)*sectionHeaderSize:][:sectionHeaderSize]
		clear(h)
		copy(h, s.name)
		virtual := max(size, s.virtualSize)
		le.PutUint32(h[8:], virtual)
		le.PutUint32(h[12:], address)
		le.PutUint32(h[16:], raw)
		le.PutUint32(h[20:], uint32(offset))
		le.PutUint32(h[36:], sectionFlags)
		address = roundUp(address+max(virtual, raw), pageSize)
	}
	le.PutUint16(out[f.coff+coffSections:], uint16(f.sections+len(sections)))
	le.PutUint32(out[f.coff+coffTimestamp:], 0)
	le.PutUint32(out[f.coff+coffSymbols:], 0)
	le.PutUint32(out[f.coff+coffSymbolCount:], 0)
	le.PutUint32(out[f.opt+optSizeOfImage:], address)
	le.PutUint32(out[f.opt+optCheckSum:], 0)
	if f.table >= f.opt+optSecurityDir+8 {
		clear(out[f.opt+optSecurityDir:][:8])
	}
	return out, nil
}
