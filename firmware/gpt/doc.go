// Package gpt reads and writes GUID partition tables (UEFI 2.10, chapter 5).
//
// It owns the format: protective MBR, primary and backup header, 128 entries,
// and their CRCs, on disks with 512-octet sectors. It does not align or choose
// partitions and never touches what is inside them.
//
// The image builder writes a table once; the gateway's first boot reads it,
// lengthens the data partition and writes it again.
package gpt
