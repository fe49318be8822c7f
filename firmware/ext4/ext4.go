package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Config is for MKE2FS_CONFIG: a machine's own defaults must not show.
const Config = "[fs_types]\n\text4 = {\nfeatures = has_journal\n}\n"

const (
	blockSize = 4096
	// reserved is the size up to which there is room for the descriptors of more blocks.
	// Beyond it the kernel changes to meta_bg by itself while it lengthens.
	reserved = 1 << 40
	features = "has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
)

// MakeArgs are mke2fs' for an empty file system on a device of so many octets, with
// more of what -E takes.
func MakeArgs(label string, size int64, extended ...string) []string {
	e := append([]string{"root_owner=0:0", "nodiscard"}, extended...)
	if size < reserved {
		e = append(e, fmt.Sprintf("resize=%d", int64(reserved/blockSize)))
	}
	return []string{
		"-q", "-t", "ext4", "-b", fmt.Sprint(blockSize), "-i", "16384", "-I", "256", "-m", "1", "-J", "size=8",
		"-O", features, "-E", strings.Join(e, ","), "-L", label,
	}
}

// Super is what a superblock says (Documentation/filesystems/ext4/super.rst).
type Super struct {
	// Blocks is the length, in blocks of BlockSize octets.
	Blocks, BlockSize uint64
	// InUse: nobody has unmounted it. Errors: the kernel has met damage in it.
	InUse, Errors bool
}

// SuperOffset is where the superblock is, and SuperSize how long.
const (
	SuperOffset = 1024
	SuperSize   = 1024
)

// Parse reads a superblock.
func Parse(super []byte) (Super, error) {
	if len(super) < SuperSize || binary.LittleEndian.Uint16(super[0x38:]) != 0xef53 {
		return Super{}, errors.New("superblock has no ext4 magic")
	}
	shift := binary.LittleEndian.Uint32(super[0x18:])
	if shift > 6 {
		return Super{}, fmt.Errorf("superblock says blocks of 2^%d KiB", shift)
	}
	const (
		stateClean, stateErrors = 1, 2
		recover, wide           = 0x4, 0x80 // incompatible features: a journal to replay, 64bit
	)
	state, incompat := binary.LittleEndian.Uint16(super[0x3a:]), binary.LittleEndian.Uint32(super[0x60:])
	s := Super{
		Blocks: uint64(binary.LittleEndian.Uint32(super[0x4:])), BlockSize: 1024 << shift,
		InUse: state&stateClean == 0 || incompat&recover != 0, Errors: state&stateErrors != 0,
	}
	if incompat&wide != 0 {
		s.Blocks |= uint64(binary.LittleEndian.Uint32(super[0x150:])) << 32
	}
	return s, nil
}
