package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// largest is how much of a file is read. A gateway's is 32 KB.
	largest = 16 << 20
	// room is what a file is given from the beginning, so that a disk that has become
	// full since can still take some hundred pods.
	room = 64 << 10
	// mostAside is how many torn files are kept for a person.
	mostAside = 8
)

// file is the state on the disk: the file, and beside it the spare, which has the
// state before and is the next to be written. So a full disk has room for both.
type file struct {
	path  string
	sync  func(*os.File) error // fsync
	image []byte               // what the file held when it was last read or written
	info  os.FileInfo          // nil if there was none
}

func (f *file) spare() string { return f.path + ".spare" }

// read returns the file's content, nothing if there is no file, and what is wrong with
// it as a file. A part that the disk cannot read is zeroes. An error says that it is not
// even known whether there is a file.
func (f *file) read() (data []byte, damage []string, err error) {
	h, err := os.OpenFile(f.path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		f.image, f.info = nil, nil
		if _, err := os.Lstat(f.path); err == nil {
			return nil, []string{"it is a link to nowhere"}, nil
		}
		return nil, nil, nil
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO):
		return nil, []string{err.Error()}, nil
	case err != nil:
		return nil, nil, err
	}
	defer func() { _ = h.Close() }()
	info, err := h.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, []string{fmt.Sprintf("it is no file: %s", info.Mode())}, nil
	}
	if info.Size() > largest {
		damage = append(damage, fmt.Sprintf("%d octets are too many: the first %d are read", info.Size(), largest))
	}
	data = make([]byte, min(info.Size(), largest))
	const block = 4096
	for at, failed := 0, 0; at < len(data) && failed < 32; at += block { // Each failure can take the disk seconds.
		if _, err := h.ReadAt(data[at:min(at+block, len(data))], int64(at)); err != nil {
			damage = append(damage, fmt.Sprintf("octet %d: %v", at, err))
			failed++
		}
	}
	f.image, f.info = data, info
	return data, damage, nil
}

// strange returns what has become of the file since it was read or written, or "".
func (f *file) strange() string {
	info, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if f.info == nil {
			return ""
		}
		return "it is gone"
	case err != nil:
		return err.Error()
	case f.info == nil:
		return "there is one that nobody here has written"
	case os.SameFile(info, f.info) && info.Size() == f.info.Size() && info.ModTime().Equal(f.info.ModTime()):
		return ""
	}
	image, was := f.image, f.info
	data, damage, err := f.read()
	if err == nil && len(damage) == 0 && info.Mode().IsRegular() && len(data) >= len(image) && bytes.Equal(data[:len(image)], image) {
		f.image = image
		return "" // It was touched, or copied back.
	}
	f.image, f.info = image, was
	return "somebody has changed it"
}

// accept takes the file for what it is now, so that it is strange once.
func (f *file) accept() {
	f.image, f.info = nil, nil
	if info, err := os.Lstat(f.path); err == nil {
		f.info = info
	}
}

// putAside keeps the file as it is for a person, under the name that it returns. It
// stays where it is, too, until the next write: a power cut before takes nothing.
func (f *file) putAside() (string, error) {
	old, err := filepath.Glob(f.path + ".torn-*")
	if err != nil {
		return "", fmt.Errorf("look for what was put aside: %w", err)
	}
	info, err := os.Lstat(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("put torn state aside: %w", err)
	}
	for _, o := range old {
		if i, err := os.Lstat(o); err == nil && os.SameFile(i, info) {
			return o, nil
		}
	}
	slices.Sort(old)
	for len(old) >= mostAside {
		_ = os.RemoveAll(old[0])
		old = old[1:]
	}
	aside := fmt.Sprintf("%s.torn-%d", f.path, time.Now().Unix())
	for slices.Contains(old, aside) {
		aside += "+"
	}
	if info.Mode().IsRegular() && os.Link(f.path, aside) == nil {
		return aside, nil
	}
	if err := os.Rename(f.path, aside); err != nil {
		return "", fmt.Errorf("put torn state aside: %w", err)
	}
	return aside, nil
}

// write makes image the content of the file, at once or not at all, and durable. What
// fails in one place of the disk may go well in another.
func (f *file) write(image []byte) (err error) {
	for range 3 {
		if err = f.try(image); err == nil || errors.Is(err, unix.ENOSPC) {
			return err
		}
		_ = os.RemoveAll(f.spare())
	}
	return err
}

func (f *file) try(image []byte) error {
	info, err := f.fillSpare(image)
	if err != nil {
		return err
	}
	// The file becomes the spare. Where it cannot, or there is none, it is replaced.
	if unix.Renameat2(unix.AT_FDCWD, f.spare(), unix.AT_FDCWD, f.path, unix.RENAME_EXCHANGE) != nil {
		if err := os.Rename(f.spare(), f.path); err != nil {
			return err
		}
	}
	f.image, f.info = image, info
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if err := f.sync(dir); err != nil {
		return fmt.Errorf("sync %s: %w", dir.Name(), err)
	}
	return nil
}

// fillSpare writes the spare and syncs it. It returns what it is then.
func (f *file) fillSpare(image []byte) (os.FileInfo, error) {
	// One that a torn file was put aside as is left to the person.
	if info, err := os.Lstat(f.spare()); err == nil && (!info.Mode().IsRegular() || links(info) != 1) {
		if err := os.RemoveAll(f.spare()); err != nil {
			return nil, err
		}
	}
	h, err := os.OpenFile(f.spare(), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = h.Close() }()
	info, err := h.Stat()
	if err != nil {
		return nil, err
	}
	switch size := (int64(len(image)) + room - 1) / room * room; {
	case info.Size() > size: // Somebody made it that large.
		if err := h.Truncate(size); err != nil {
			return nil, err
		}
	case info.Size() < size:
		_ = unix.Fallocate(int(h.Fd()), 0, 0, size) // What cannot have more gets by with less.
	}
	if _, err := h.WriteAt(image, 0); err != nil {
		return nil, err
	}
	if err := f.sync(h); err != nil {
		return nil, fmt.Errorf("sync %s: %w", h.Name(), err)
	}
	if info, err = h.Stat(); err != nil {
		return nil, err
	}
	return info, h.Close()
}

// links is how many names a file has.
func links(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 0
}
