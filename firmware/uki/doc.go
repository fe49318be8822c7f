// Package uki puts a kernel, its command line and its initramfs into systemd's
// EFI stub: a unified kernel image, one file that UEFI firmware can start and
// that one signature covers (Unified Kernel Image specification, UAPI group).
//
// It is what objcopy --add-section does, for both architectures on any machine,
// and gives the same octets each time.
package uki
