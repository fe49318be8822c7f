package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Image is an image of one layer.
type Image struct {
	// Arch is GOARCH's word for it.
	Arch string
	// Entrypoint and Cmd are what a pod runs; a workload's command replaces
	// both, its args only Cmd.
	Entrypoint, Cmd []string
	// Env is NAME=VALUE.
	Env []string
	// User and StopSignal are as in a Dockerfile; empty means root and SIGTERM.
	User, StopSignal string

	Files []File
}

// File is one file of an image. Parents are made, owned by root, mode 0755.
type File struct {
	// Path is relative to the root, e.g. "bin/sh".
	Path string
	// Mode has the permission bits; 0 means 0644.
	Mode int64
	Data []byte
	// Link makes the file a symbolic link to this.
	Link string
}

// Write writes img as an OCI archive. The same image gives the same octets.
func Write(w io.Writer, img Image) error {
	layerTar, err := layerOf(img.Files)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	zw, err := gzip.NewWriterLevel(&layer, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := zw.Write(layerTar); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	b := blobs{}
	layerDesc := b.add(typeLayer, layer.Bytes())
	configDesc, err := b.addJSON(typeConfig, imageConfig{
		platform: platform{Architecture: img.Arch, OS: "linux"},
		Config:   processConfig{Env: img.Env, Entrypoint: img.Entrypoint, Cmd: img.Cmd, WorkingDir: "/", User: img.User, StopSignal: img.StopSignal},
		RootFS:   rootFS{Type: "layers", DiffIDs: []string{digestOf(layerTar)}},
	})
	if err != nil {
		return err
	}
	manifestDesc, err := b.addJSON(typeManifest, manifest{
		SchemaVersion: 2, MediaType: typeManifest, Config: configDesc, Layers: []descriptor{layerDesc},
	})
	if err != nil {
		return err
	}
	manifestDesc.Platform = &platform{Architecture: img.Arch, OS: "linux"}
	top, err := json.Marshal(index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{manifestDesc}})
	if err != nil {
		return err
	}
	// The index comes first: ID then reads one kilobyte.
	files := []File{
		{Path: "oci-layout", Data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{Path: "index.json", Data: top},
	}
	for _, blob := range b {
		files = append(files, File{Path: "blobs/sha256/" + strings.TrimPrefix(digestOf(blob), "sha256:"), Data: blob})
	}
	return writeTar(w, files)
}

// blobs are kept in the order in which they were added.
type blobs [][]byte

func (b *blobs) add(mediaType string, data []byte) descriptor {
	*b = append(*b, data)
	return descriptor{MediaType: mediaType, Digest: digestOf(data), Size: int64(len(data))}
}

func (b *blobs) addJSON(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, fmt.Errorf("encode %s: %w", mediaType, err)
	}
	return b.add(mediaType, data), nil
}

// layerOf makes the tar of a layer, sorted, with all parents.
func layerOf(files []File) ([]byte, error) {
	seen := map[string]bool{}
	all := slices.Clone(files)
	for i, f := range all {
		f.Path = strings.TrimPrefix(path.Clean("/"+f.Path), "/")
		if f.Path == "" || seen[f.Path] {
			return nil, fmt.Errorf("file %q: expected a path that is not yet taken, e.g. bin/sh", files[i].Path)
		}
		seen[f.Path] = true
		all[i] = f
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	var buf bytes.Buffer
	if err := writeTar(&buf, all); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func writeTar(w io.Writer, files []File) error {
	tw := tar.NewWriter(w)
	made := map[string]bool{".": true}
	for _, f := range files {
		if err := writeParents(tw, path.Dir(f.Path), made); err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: f.Mode, Size: int64(len(f.Data)), Format: tar.FormatPAX}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if f.Link != "" {
			h.Typeflag, h.Linkname, h.Mode, h.Size = tar.TypeSymlink, f.Link, 0o777, 0
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
		if h.Size == 0 {
			continue
		}
		if _, err := tw.Write(f.Data); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
	}
	return tw.Close()
}

func writeParents(tw *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	made[dir] = true
	if err := writeParents(tw, path.Dir(dir), made); err != nil {
		return err
	}
	return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, Format: tar.FormatPAX})
}
