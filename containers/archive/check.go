package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
	// Manifest and Config are digests ("sha256:…").
	Manifest, Config string
	// Layers is the number of layers; Size is theirs in octets, as stored.
	Layers int
	Size   int64
	// Command is the image's entrypoint and command; empty if it has none.
	Command []string
}

// ID reads as much of the named archive as it takes to tell Info.ID.
func ID(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", openError(err)
	}
	defer f.Close()
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

// CheckArchive reads the whole OCI archive: every blob must have the
// digest it is named by, and there must be a complete image for linux/arch
// ("amd64", "arm64"). Its errors say what is wrong and leave out the file name:
// "no such file", "truncated: …", "is for arm64, expected amd64".
func CheckArchive(name, arch string) (Info, error) {
	f, err := os.Open(name)
	if err != nil {
		return Info{}, openError(err)
	}
	defer f.Close()
	return check(f, arch)
}

// file is what an archive is read from.
type file interface {
	io.Reader
	io.ReaderAt
}

func check(f file, arch string) (Info, error) {
	l, err := readLayout(f)
	if err != nil {
		return Info{}, err
	}
	return l.image(arch)
}

func openError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("no such file")
	}
	return err
}

// layout is an archive's content: sizes of all blobs, and the bytes of the small ones.
type layout struct {
	index []byte
	sizes map[string]int64
	json  map[string][]byte
}

func readLayout(f file) (*layout, error) {
	l := &layout{sizes: map[string]int64{}, json: map[string][]byte{}}
	marker := false
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, tarError(err, f, "")
		}
		name := path.Clean(h.Name)
		switch {
		case h.Typeflag != tar.TypeReg:
		case name == "oci-layout":
			marker = true
		case name == "index.json":
			if l.index, err = readJSON(tr, h); err != nil {
				return nil, err
			}
		case strings.HasPrefix(name, "blobs/"):
			if err := l.readBlob(tr, h, name); err != nil {
				return nil, err
			}
		}
	}
	if l.index == nil || !marker {
		return nil, tarError(io.EOF, f, "oci-layout and index.json")
	}
	return l, nil
}

// readBlob checks a blob against its name, blobs/sha256/HEX.
func (l *layout) readBlob(r io.Reader, h *tar.Header, name string) error {
	algorithm, hash := path.Split(strings.TrimPrefix(name, "blobs/"))
	if algorithm != "sha256/" {
		return fmt.Errorf("blob %s: digest algorithm is not supported, expected sha256", name)
	}
	digest := "sha256:" + hash
	sum := sha256.New()
	var keep bytes.Buffer
	w := io.Writer(sum)
	if h.Size <= maxJSON {
		w = io.MultiWriter(sum, &keep)
	}
	n, err := io.Copy(w, r)
	if err != nil {
		return fmt.Errorf("truncated: blob %s ends after %d of %d octets", short(digest), n, h.Size)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != hash {
		return fmt.Errorf("corrupt: blob %s has digest %s", short(digest), short("sha256:"+got))
	}
	l.sizes[digest] = n
	if bytes.HasPrefix(bytes.TrimSpace(keep.Bytes()), []byte("{")) {
		l.json[digest] = keep.Bytes()
	}
	return nil
}

// image finds the manifest for linux/arch and checks that all of it is there.
func (l *layout) image(arch string) (Info, error) {
	var others []string
	manifests, err := l.manifests(l.index, 0)
	if err != nil {
		return Info{}, err
	}
	for _, d := range manifests {
		var m manifest
		if err := l.decode(d, "manifest", &m); err != nil {
			return Info{}, err
		}
		var c imageConfig
		if m.Config.MediaType == "application/vnd.oci.empty.v1+json" {
			continue // an artifact, not an image
		}
		if err := l.decode(m.Config, "config", &c); err != nil {
			return Info{}, err
		}
		if c.OS != "linux" || c.Architecture != arch {
			if c.OS != "unknown" && c.OS != "" { // buildx attaches attestations so
				others = append(others, platformName(c))
			}
			continue
		}
		info := Info{
			ID: digestOf(l.index), Manifest: d.Digest, Config: m.Config.Digest, Layers: len(m.Layers),
			Command: slices.Concat(c.Config.Entrypoint, c.Config.Cmd),
		}
		if len(c.RootFS.DiffIDs) != len(m.Layers) {
			return Info{}, fmt.Errorf("config %s names %d layers, manifest %s has %d",
				short(m.Config.Digest), len(c.RootFS.DiffIDs), short(d.Digest), len(m.Layers))
		}
		for _, layer := range m.Layers {
			if err := l.has(layer, "layer"); err != nil {
				return Info{}, err
			}
			info.Size += layer.Size
		}
		return info, nil
	}
	if len(others) == 0 {
		return Info{}, errors.New("holds no image")
	}
	slices.Sort(others)
	return Info{}, fmt.Errorf("is for %s, expected %s", strings.Join(slices.Compact(others), " and "), arch)
}

func platformName(c imageConfig) string {
	if c.OS == "linux" {
		return c.Architecture
	}
	return c.OS + "/" + c.Architecture
}

// manifests lists the image manifests below an index, whose indexes may nest.
func (l *layout) manifests(raw []byte, depth int) ([]descriptor, error) {
	var idx index
	if err := json.Unmarshal(raw, &idx); err != nil {
		return nil, fmt.Errorf("parse index.json: %w", err)
	}
	if depth > 4 {
		return nil, errors.New("index.json nests too deep")
	}
	var all []descriptor
	for _, d := range idx.Manifests {
		switch d.MediaType {
		case typeManifest, dockerManifest:
			// Archives of one platform may name others without holding them.
			if _, ok := l.sizes[d.Digest]; ok || len(idx.Manifests) == 1 {
				all = append(all, d)
			}
		case typeIndex, dockerList:
			if err := l.has(d, "index"); err != nil {
				return nil, err
			}
			below, err := l.manifests(l.json[d.Digest], depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, below...)
		}
	}
	return all, nil
}

// has checks that a blob is there with the size that is claimed.
func (l *layout) has(d descriptor, what string) error {
	size, ok := l.sizes[d.Digest]
	if !ok {
		return fmt.Errorf("%s %s is missing", what, short(d.Digest))
	}
	if size != d.Size {
		return fmt.Errorf("%s %s has %d octets, expected %d", what, short(d.Digest), size, d.Size)
	}
	return nil
}

func (l *layout) decode(d descriptor, what string, v any) error {
	if err := l.has(d, what); err != nil {
		return err
	}
	if err := json.Unmarshal(l.json[d.Digest], v); err != nil {
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

// tarError explains why f is not an OCI archive. A tar reader can not tell a
// file cut short from other damage, and takes an empty file for an empty archive.
func tarError(err error, f file, missing string) error {
	var head [2]byte
	if n, _ := f.ReadAt(head[:], 0); n == 0 {
		return errors.New("truncated: the file is empty")
	}
	switch {
	case head == [2]byte{0x1f, 0x8b}:
		return errors.New("is compressed with gzip, expected a plain tar")
	case errors.Is(err, io.EOF):
		return fmt.Errorf("not an OCI archive or truncated: %s is missing", missing)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("truncated: ends in the middle of an entry")
	case errors.Is(err, tar.ErrHeader):
		return errors.New("not a tar file, or damaged")
	}
	return fmt.Errorf("read tar: %w", err)
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
