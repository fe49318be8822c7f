package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// What makes an OCI archive of what people have instead.
const (
	fromDocker = "skopeo copy docker-archive:OLD.tar oci-archive:NEW.tar"
	fromEngine = "docker buildx build . --output type=oci,dest=NEW.tar, skopeo copy docker-daemon:NAME:TAG oci-archive:NEW.tar, " +
		"or podman save --format oci-archive -o NEW.tar NAME"
	fromFolder = "tar -C FOLDER -cf NEW.tar oci-layout index.json blobs"
)

// contents are the names in a tar that tell what it is, if not an OCI archive.
type contents struct {
	docker bool            // manifest.json
	inside string          // the folder in which index.json is
	tops   map[string]bool // first parts of all paths
}

func (c *contents) note(name string) {
	if c.tops == nil {
		c.tops = map[string]bool{}
	}
	top, _, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	if len(c.tops) < 1000 {
		c.tops[top] = true
	}
	switch dir, base := path.Split(name); {
	case name == "manifest.json":
		c.docker = true
	case dir != "" && base == "oci-layout":
		c.inside = path.Clean(dir)
	}
}

// explain says what a tar without a layout is, or else returns err.
func (c *contents) explain(err error) error {
	roots := 0
	for _, top := range []string{"bin", "dev", "etc", "lib", "proc", "sbin", "sys", "usr", "var"} {
		if c.tops[top] {
			roots++
		}
	}
	switch {
	case c.docker:
		return errors.New("is a Docker archive (docker save before Docker 25, or podman save), expected an OCI archive: " +
			fromDocker + ", or podman save --format oci-archive")
	case c.inside != "":
		return fmt.Errorf("its files are in the folder %s, expected them at the top: tar -C %s -cf NEW.tar oci-layout index.json blobs", c.inside, c.inside)
	case roots >= 3, roots > 0 && roots == len(c.tops):
		return errors.New("is the file system of a container (docker export), expected an image: " + fromEngine)
	case c.tops["Dockerfile"], c.tops["Containerfile"]:
		return errors.New("is a folder from which an image is built, expected an image: docker buildx build . --output type=oci,dest=NEW.tar")
	case c.tops["blobs"], c.tops["oci-layout"], c.tops["index.json"], len(c.tops) == 0:
		return err
	}
	return fmt.Errorf("%w; what makes one: %s", err, fromEngine)
}

// folderError says what would make an archive of a folder.
func folderError(name string) error {
	if _, err := os.Stat(filepath.Join(name, "oci-layout")); err == nil {
		return errors.New("is a folder, expected a tar of what is in it: " + fromFolder)
	}
	return errors.New("is a folder, expected an OCI archive: " + fromEngine)
}

// tarError explains why f is not an OCI archive. A tar reader can not tell a
// file cut short from other damage, and takes an empty file for an empty archive.
func tarError(err error, f file, missing string) error {
	head := make([]byte, 32)
	n, _ := f.ReadAt(head, 0)
	head = head[:n]
	if n == 0 {
		return errors.New("truncated: the file is empty")
	}
	for _, p := range packings() {
		if bytes.HasPrefix(head, []byte(p.magic)) {
			return errors.New(p.is)
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("not an OCI archive or truncated: %s is missing", missing)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("truncated: ends in the middle of an entry")
	case errors.Is(err, tar.ErrHeader):
		return errors.New("not a tar file, or damaged")
	}
	return fmt.Errorf("read tar: %w", err)
}

// packing is a kind of file that has been seen in place of a tar.
type packing struct{ magic, is string }

func packings() []packing {
	packed := func(magic, with, by string) packing {
		return packing{magic, fmt.Sprintf("is compressed with %s, expected a plain tar: %s", with, by)}
	}
	return []packing{
		packed(gzipMagic, "gzip", "gunzip < OLD > NEW.tar"),
		packed(zstdMagic, "zstd", "zstd -d OLD -o NEW.tar"),
		packed("\xfd7zXZ\x00", "xz", "xz -dc OLD > NEW.tar"),
		packed("BZh", "bzip2", "bzip2 -dc OLD > NEW.tar"),
		packed("PK\x03\x04", "zip", "unzip OLD"),
		{"version https://git-lfs", "is a pointer of Git LFS, not the file: git lfs pull"},
		{"hsqs", "is a squashfs, expected an OCI archive: " + fromEngine},
	}
}
