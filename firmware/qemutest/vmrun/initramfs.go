package main

import (
	"fmt"
	"io"
)

// cpio writes an archive in the kernel's "newc" format
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	w     io.Writer
	inode int
	err   error
}

const (
	cpioDir  = 0o040755
	cpioFile = 0o100755
)

// add writes one entry; after an error, which close returns, it does nothing.
func (c *cpio) add(name string, mode int, data []byte) {
	if c.err != nil {
		return
	}
	c.inode++
	var zero [4]byte
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	for _, part := range [][]byte{
		[]byte(header), zero[:-len(header)&3], data, zero[:-len(data)&3],
	} {
		if _, err := c.w.Write(part); err != nil {
			c.err = err
			return
		}
	}
}

func (c *cpio) close() error {
	c.add("TRAILER!!!", 0, nil)
	return c.err
}
