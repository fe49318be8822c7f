package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const (
	gzipMagic = "\x1f\x8b"
	zstdMagic = "\x28\xb5\x2f\xfd"
	// maxAccounts bounds what is kept of /etc/passwd and /etc/group.
	maxAccounts = 1 << 20
)

// unpack reads the layers as containerd will: each is a whole tar with the digest that
// the config gives it, and together they have the user that the config names.
func (l *layout) unpack(f io.ReaderAt, p picked) error {
	accounts := accounts{}
	for i, d := range p.manifest.Layers {
		at := l.blobs[d.Digest]
		got, err := readLayer(io.NewSectionReader(f, at.at, at.size), d.MediaType == typePlainLayer || d.MediaType == typePlainForeign, accounts.note)
		if err != nil {
			return fmt.Errorf("layer %s: %w", short(d.Digest), err)
		}
		if want := p.config.RootFS.DiffIDs[i]; got != want {
			return fmt.Errorf("layer %s unpacks to %s, config %s says %s", short(d.Digest), short(got), short(p.info.Config), short(want))
		}
	}
	return accounts.check(p.config.Config.User)
}

// readLayer returns the digest of a layer's tar, whose entries are shown to each. Plain
// says that the layer is said not to be packed: then containerd does not look.
func readLayer(r io.Reader, plain bool, each func(*tar.Header, io.Reader) error) (string, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return "", err
	}
	unpacked := io.Reader(in)
	switch packed := packedWith(head); {
	case packed == "":
	case plain:
		return "", fmt.Errorf("is packed with %s, and its media type says that it is not", packed)
	case packed == "gzip":
		if unpacked, err = gzip.NewReader(in); err != nil {
			return "", fmt.Errorf("unpack gzip: %w", err)
		}
	case packed == "zstd":
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return "", fmt.Errorf("unpack zstd: %w", err)
		}
		defer z.Close()
		unpacked = z
	}
	sum := sha256.New()
	unpacked = io.TeeReader(unpacked, sum)
	for tr := tar.NewReader(unpacked); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = each(h, tr)
		}
		if err != nil {
			return "", fmt.Errorf("read tar: %w", err)
		}
	}
	if _, err := io.Copy(io.Discard, unpacked); err != nil { // what pads it
		return "", fmt.Errorf("unpack: %w", err)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

func packedWith(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte(gzipMagic)):
		return "gzip"
	case bytes.HasPrefix(head, []byte(zstdMagic)):
		return "zstd"
	}
	return ""
}

// accounts are /etc/passwd and /etc/group as the layers leave them: nil if there is
// none. One that is a link, or lies behind one, is not looked at.
type accounts map[string][]byte

// linked stands in for a file that is not looked at.
var linked = []byte("*")

func (a accounts) note(h *tar.Header, r io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	dir, base := path.Split(name)
	for _, file := range []string{"etc/passwd", "etc/group"} {
		switch {
		case name == "etc" && h.Typeflag == tar.TypeSymlink:
			a[file] = linked
		case name == file && h.Typeflag == tar.TypeReg:
			b, err := io.ReadAll(io.LimitReader(r, maxAccounts))
			if err != nil {
				return err
			}
			a[file] = b
		case name == file:
			a[file] = linked
		case name == ".wh.etc", dir == "etc/" && (base == ".wh..wh..opq" || base == ".wh."+path.Base(file)):
			delete(a, file)
		}
	}
	return nil
}

// check refuses a user or group that is given by a name which the image does not have.
func (a accounts) check(user string) error {
	name, group, _ := strings.Cut(user, ":")
	for _, who := range []struct{ what, name, file string }{{"user", name, "etc/passwd"}, {"group", group, "etc/group"}} {
		if _, err := strconv.Atoi(who.name); err == nil || who.name == "" {
			continue
		}
		b, found := a[who.file]
		has := slices.ContainsFunc(strings.Split(string(b), "\n"), func(line string) bool { return strings.HasPrefix(line, who.name+":") })
		switch {
		case !found:
			return fmt.Errorf("runs as %s %q, and has no /%s: expected a number, e.g. USER 65532", who.what, who.name, who.file)
		case !has && !bytes.Equal(b, linked):
			return fmt.Errorf("runs as %s %q, which its /%s does not have: expected one of those, or a number", who.what, who.name, who.file)
		}
	}
	return nil
}
