package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// tree is a file system that will be. Paths have no leading slash. Everything
// belongs to root.
type tree map[string]node

// node is a folder (no field set but mode), a link, a file's text or the file
// on the build machine that it is a copy of.
type node struct {
	mode   fs.FileMode
	link   string
	text   []byte
	source string
}

func (t tree) dir(name string, mode fs.FileMode) { t[name] = node{mode: fs.ModeDir | mode} }

func (t tree) link(name, target string) { t[name] = node{mode: fs.ModeSymlink | 0o777, link: target} }

func (t tree) text(name string, text string) { t[name] = node{mode: 0o644, text: []byte(text)} }

// secret is a text for root alone.
func (t tree) secret(name string, text string) { t[name] = node{mode: 0o600, text: []byte(text)} }

func (t tree) copy(name, source string, mode fs.FileMode) { t[name] = node{mode: mode, source: source} }

// paths returns all names in order, with the folders that they imply.
func (t tree) paths() []string {
	for _, name := range slices.Collect(maps.Keys(t)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := t[dir]; !ok {
				t.dir(dir, 0o755)
			}
		}
	}
	return slices.Sorted(maps.Keys(t))
}

// content opens a file and says its size.
func (n node) content() (io.ReadCloser, int64, error) {
	if n.source == "" {
		return io.NopCloser(bytes.NewReader(n.text)), int64(len(n.text)), nil
	}
	f, err := os.Open(n.source)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// writeTar writes the tree as a tar archive, with one time for all.
func (t tree) writeTar(w io.Writer, when time.Time) error {
	tw := tar.NewWriter(w)
	for _, name := range t.paths() {
		n := t[name]
		h := &tar.Header{Name: name, Mode: int64(n.mode.Perm()), ModTime: when, Format: tar.FormatGNU}
		if n.mode&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
		var err error
		switch {
		case n.mode.IsDir():
			h.Typeflag, h.Name = tar.TypeDir, name+"/"
			err = tw.WriteHeader(h)
		case n.mode&fs.ModeSymlink != 0:
			h.Typeflag, h.Linkname = tar.TypeSymlink, n.link
			err = tw.WriteHeader(h)
		default:
			h.Typeflag = tar.TypeReg
			err = writeFile(tw, h, n)
		}
		if err != nil {
			return fmt.Errorf("archive /%s: %w", name, err)
		}
	}
	return tw.Close()
}

func writeFile(tw *tar.Writer, h *tar.Header, n node) error {
	r, size, err := n.content()
	if err != nil {
		return err
	}
	defer r.Close()
	h.Size = size
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(tw, r)
	return err
}

// writeCPIO writes the tree as the kernel wants its initramfs: "newc" (the
// kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
func (t tree) writeCPIO(w io.Writer, when time.Time) error {
	for i, name := range append(t.paths(), "TRAILER!!!") {
		n := t[name]
		r, size, err := n.content()
		if err != nil {
			return fmt.Errorf("archive /%s: %w", name, err)
		}
		mode := uint32(n.mode.Perm())
		switch {
		case name == "TRAILER!!!":
			i = 0
		case n.mode.IsDir():
			mode |= 0o040000
		case n.mode&fs.ModeSymlink != 0:
			mode |= 0o120000
			r, size = io.NopCloser(strings.NewReader(n.link)), int64(len(n.link))
		default:
			mode |= 0o100000
		}
		// Magic, inode, mode, uid, gid, links, time, size, four device numbers,
		// length of the name, checksum.
		h := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
			i, mode, 0, 0, 1, when.Unix(), size, 0, 0, 0, 0, len(name)+1, 0, name)
		_, err = io.WriteString(w, h+padding(int64(len(h))))
		if err == nil {
			_, err = io.Copy(w, r)
		}
		if err == nil {
			_, err = io.WriteString(w, padding(size))
		}
		r.Close()
		if err != nil {
			return fmt.Errorf("archive /%s: %w", name, err)
		}
	}
	return nil
}

// padding fills up to a multiple of 4.
func padding(n int64) string { return "\x00\x00\x00"[:(4-n%4)%4] }

// inTree is a path of the gateway as the tree has it.
func inTree(path string) string { return strings.TrimPrefix(path, "/") }
