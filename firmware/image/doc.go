// Package image builds a disk image for a board from a configuration.
//
// The image is a GUID partition table with the selector (a GRUB EFI program),
// its state, two boot slots, two root slots and a data partition; slot A is
// filled. A boot slot holds one unified kernel image (package uki), the factory
// configuration and a manifest. Sizes and their reasons are in disk.go.
//
// It needs no loop device, no mount and no root. The same inputs (programs,
// configuration, archives, Debian packages, SOURCE_DATE_EPOCH) give the same
// octets: every UUID and serial number is derived from the inputs' SHA-256.
// Only a complete image gets its name.
//
// It runs the configuration through the same check as the gateway does, and
// reads every workload's archive whole, so that neither can be bad on a box.
package image
