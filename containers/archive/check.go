package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// maxJSON bounds what is kept in memory of one blob: indexes, manifests and
// configs are a few KiB.
const maxJSON = 4 << 20

// Info is what an archive holds for one architecture.
type Info struct {
	// ID is the digest of index.json, which names all content by digest: two
	// archives with one ID hold the same image.
	ID string
	// Manifest is the image's among those that the archive may hold; Config and its
	// MediaType and Size are what else identifies them.
	Manifest     string
	ManifestType string
	ManifestSize int64
	Config       string
	// Layers is the number of layers; Size is theirs in octets, as stored.
	Layers int
	Size   int64
	// Entrypoint and Cmd are the image's; each may be empty.
	Entrypoint, Cmd []string
}

// Args is what runs of the image under a workload's command and args: the one replaces
// both of the image's, the other the second. Nil leaves the image's; args that are
// empty and not nil are none.
func (i Info) Args(command, args []string) []string {
	switch {
	case len(command) > 0:
		return slices.Concat(command, args)
	case args != nil:
		return slices.Concat(i.Entrypoint, args)
	}
	return slices.Concat(i.Entrypoint, i.Cmd)
}

// ID reads as much of the named archive as it takes to tell Info.ID.
func ID(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", openError(err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return "", folderError(name)
	}
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if err != nil {
			return "", tarError(err, f, "index.json")
		}
		if path.Clean(h.Name) != "index.json" {
			continue
		}
		b, err := readJSON(tr, h)
		if err != nil {
			return "", err
		}
		return digestOf(b), nil
	}
}

// CheckArchive reads the whole OCI archive, layers too: an archive that passes can be
// imported, unpacked and started on linux/arch ("amd64", "arm64"). Its errors are one
// line, say what is wrong and what would be right, and leave out the file name:
// "no such file", "truncated: …", "is for arm64, expected amd64".
func CheckArchive(name, arch string) (Info, error) {
	return checkFile(name, func(f file) (Info, error) { return check(f, arch) })
}

// CheckBlobs is CheckArchive without a look into the layers, which containerd takes
// when it unpacks them: every blob must have the digest that it is named by, and there
// must be a complete image for linux/arch.
func CheckBlobs(name, arch string) (Info, error) {
	return checkFile(name, func(f file) (Info, error) {
		_, p, err := checkBlobs(f, arch)
		return p.info, err
	})
}

func checkFile(name string, check func(file) (Info, error)) (Info, error) {
	f, err := os.Open(name)
	if err != nil {
		return Info{}, openError(err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return Info{}, folderError(name)
	}
	return check(f)
}

// file is what an archive is read from.
type file interface {
	io.ReadSeeker
	io.ReaderAt
}

func check(f file, arch string) (Info, error) {
	l, p, err := checkBlobs(f, arch)
	if err != nil {
		return Info{}, err
	}
	return p.info, l.unpack(f, p)
}

func checkBlobs(f file, arch string) (*layout, picked, error) {
	l, err := readLayout(f)
	if err != nil {
		return nil, picked{}, err
	}
	p, err := l.pick(arch)
	return l, p, err
}

func openError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("no such file")
	}
	return err
}

// layout is an archive's content: where all blobs are, and the bytes of the small ones.
type layout struct {
	index  []byte
	marker bool
	blobs  map[string]blob
	json   map[string][]byte
	seen   contents
}

// blob is a place in the archive.
type blob struct{ at, size int64 }

func readLayout(f file) (*layout, error) {
	l := &layout{blobs: map[string]blob{}, json: map[string][]byte{}}
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, tarError(err, f, "")
		}
		if err := l.entry(f, tr, h); err != nil {
			return nil, err
		}
	}
	if l.index == nil || !l.marker { // also if the tar ends between two entries
		return nil, l.seen.explain(tarError(io.EOF, f, l.missing()))
	}
	return l, nil
}

func (l *layout) missing() string {
	switch {
	case l.marker:
		return "index.json"
	case l.index != nil:
		return "oci-layout"
	}
	return "oci-layout and index.json"
}

// entry takes one of the tar's. containerd finds a blob by its content, under whatever
// name a file has it, so a link in place of a blob is as good as the blob.
func (l *layout) entry(f file, tr *tar.Reader, h *tar.Header) (err error) {
	name := path.Clean(h.Name)
	l.seen.note(name)
	switch {
	case h.Typeflag == tar.TypeLink || h.Typeflag == tar.TypeSymlink:
		if name == "oci-layout" || name == "index.json" {
			return fmt.Errorf("%s is a link to %s, expected a file: tar --dereference --hard-dereference -C FOLDER -cf NEW.tar oci-layout index.json blobs", name, h.Linkname)
		}
	case h.Typeflag != tar.TypeReg:
	case strings.HasPrefix(path.Base(name), "._"): // macOS keeps a file's attributes so
	case name == "oci-layout":
		l.marker = true
		return readMarker(tr, h)
	case name == "index.json":
		l.index, err = readJSON(tr, h)
		return err
	default:
		return l.readBlob(f, tr, h, name)
	}
	return nil
}

// readMarker refuses versions of the layout that containerd does not know.
func readMarker(r io.Reader, h *tar.Header) error {
	b, err := readJSON(r, h)
	if err != nil {
		return err
	}
	var marker struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := decodeJSON(b, &marker); err != nil {
		return fmt.Errorf("parse oci-layout: %w", err)
	}
	if marker.Version != layoutVersion {
		return fmt.Errorf("oci-layout: version %q of the image layout, expected %s", marker.Version, layoutVersion)
	}
	return nil
}

// readBlob notes a file by its content; one called blobs/sha256/HEX must have that digest.
func (l *layout) readBlob(f io.Seeker, r io.Reader, h *tar.Header, name string) error {
	hash := ""
	if rest, ok := strings.CutPrefix(name, "blobs/"); ok {
		var algorithm string
		if algorithm, hash = path.Split(rest); algorithm != "sha256/" {
			return fmt.Errorf("blob %s: digest algorithm is not supported, expected sha256", name)
		}
	}
	at, err := f.Seek(0, io.SeekCurrent) // tar reads no further than what it has told
	if err != nil {
		return err
	}
	sum := sha256.New()
	var keep bytes.Buffer
	w := io.Writer(sum)
	if h.Size <= maxJSON {
		w = io.MultiWriter(sum, &keep)
	}
	n, err := io.Copy(w, r)
	if err != nil {
		if hash == "" {
			return fmt.Errorf("truncated: %s ends after %d of %d octets", name, n, h.Size)
		}
		return fmt.Errorf("truncated: blob %s ends after %d of %d octets", short("sha256:"+hash), n, h.Size)
	}
	got := hex.EncodeToString(sum.Sum(nil))
	if hash != "" && got != hash {
		return fmt.Errorf("corrupt: blob %s has digest %s", short("sha256:"+hash), short("sha256:"+got))
	}
	l.blobs["sha256:"+got] = blob{at, n}
	if bytes.HasPrefix(bytes.TrimSpace(keep.Bytes()), []byte("{")) {
		l.json["sha256:"+got] = keep.Bytes()
	}
	return nil
}

// has checks that a blob is there with the size that is claimed.
func (l *layout) has(d descriptor, what string) error {
	b, ok := l.blobs[d.Digest]
	if !ok {
		if algorithm, _, _ := strings.Cut(d.Digest, ":"); algorithm != "sha256" {
			return fmt.Errorf("%s %s: digest algorithm is not supported, expected sha256", what, short(d.Digest))
		}
		return fmt.Errorf("%s %s is missing", what, short(d.Digest))
	}
	if b.size != d.Size {
		return fmt.Errorf("%s %s has %d octets, expected %d", what, short(d.Digest), b.size, d.Size)
	}
	return nil
}

func (l *layout) decode(d descriptor, what string, v any) error {
	if err := l.has(d, what); err != nil {
		return err
	}
	if d.Size > maxJSON {
		return fmt.Errorf("%s %s has %d octets, expected at most %d", what, short(d.Digest), d.Size, maxJSON)
	}
	if err := decodeJSON(l.json[d.Digest], v); err != nil {
		return fmt.Errorf("parse %s %s: %w", what, short(d.Digest), err)
	}
	return nil
}

func readJSON(r io.Reader, h *tar.Header) ([]byte, error) {
	if h.Size > maxJSON {
		return nil, fmt.Errorf("%s has %d octets, expected at most %d", h.Name, h.Size, maxJSON)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("truncated: %s ends after %d of %d octets", h.Name, len(b), h.Size)
	}
	return b, nil
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// short is the digest as people compare it.
func short(digest string) string {
	if len(digest) > 19 {
		return digest[:19]
	}
	return digest
}
