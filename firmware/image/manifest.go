package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"netd/firmware/debian"
)

// Manifest is what a boot slot says about itself and its root, in manifest.json.
type Manifest struct {
	Schema  int       `json:"schema"`
	Version string    `json:"version"`
	Board   string    `json:"board"`
	Arch    string    `json:"arch"`
	Device  string    `json:"device,omitempty"`
	Built   time.Time `json:"built"`
	Kernel  string    `json:"kernel"`
	// Parts are files that went in: those beside the manifest, the root slot's
	// squashfs, and what is in it and not Debian's.
	Parts    []Part           `json:"parts"`
	Packages []debian.Package `json:"packages"`
}

// Part is one file, or a partition's content.
type Part struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
}

func partOf(name, path string) (Part, error) {
	f, err := os.Open(path)
	if err != nil {
		return Part{}, err
	}
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return Part{}, fmt.Errorf("read %s: %w", path, err)
	}
	return Part{name, size, hex.EncodeToString(h.Sum(nil))}, nil
}

func (m Manifest) encode() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", "  ")
	return append(text, '\n'), err
}
