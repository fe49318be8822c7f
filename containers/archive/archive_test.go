package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testImage(arch string) Image {
	return Image{
		Arch:       arch,
		Entrypoint: []string{"/bin/sh", "-c"},
		Cmd:        []string{"sleep 1"},
		Env:        []string{"PATH=/bin"},
		Files: []File{
			{Path: "bin/busybox", Mode: 0o755, Data: bytes.Repeat([]byte("x1y2"), 5000)},
			{Path: "bin/sh", Link: "busybox"},
			{Path: "/etc/motd", Data: []byte("hello\n")},
		},
	}
}

func write(t *testing.T, img Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := Write(&buf, img); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func save(t *testing.T, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// entries takes an archive apart; pack puts one together.
func entries(t *testing.T, data []byte) []File {
	t.Helper()
	var files []File
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			files = append(files, File{Path: h.Name, Data: b})
		}
	}
}

func pack(t *testing.T, files []File) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := writeTar(&buf, files); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestWriteThenCheck(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		data := write(t, testImage(arch))
		if !bytes.Equal(data, write(t, testImage(arch))) {
			t.Errorf("%s: two archives of one image differ", arch)
		}
		file := save(t, data)
		got, err := CheckArchive(file, arch)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"/bin/sh", "-c", "sleep 1"}, got.Args(nil, nil)); diff != "" {
			t.Errorf("command (-want +got):\n%s", diff)
		}
		if got.Layers != 1 || got.Size == 0 || got.Manifest == "" || got.Config == "" {
			t.Errorf("info: %+v", got)
		}
		id, err := ID(file)
		if err != nil || id != got.ID {
			t.Errorf("ID: got %s, %v, want %s", id, err, got.ID)
		}
	}
}

// merge makes an archive for both architectures, with an index in the index.
func merge(t *testing.T, a, b []byte) []byte {
	t.Helper()
	var idx index
	byPath := map[string]File{}
	for _, data := range [][]byte{a, b} {
		for _, f := range entries(t, data) {
			if f.Path == "index.json" {
				var one index
				if err := json.Unmarshal(f.Data, &one); err != nil {
					t.Fatal(err)
				}
				idx.Manifests = append(idx.Manifests, one.Manifests...)
				continue
			}
			byPath[f.Path] = f
		}
	}
	inner, err := json.Marshal(idx)
	if err != nil {
		t.Fatal(err)
	}
	outer, err := json.Marshal(index{Manifests: []descriptor{{MediaType: typeIndex, Digest: digestOf(inner), Size: int64(len(inner))}}})
	if err != nil {
		t.Fatal(err)
	}
	files := []File{
		{Path: "index.json", Data: outer},
		{Path: "blobs/sha256/" + strings.TrimPrefix(digestOf(inner), "sha256:"), Data: inner},
	}
	for _, f := range byPath {
		files = append(files, f)
	}
	return pack(t, files)
}

func TestCheckNestedIndexOfTwoPlatforms(t *testing.T) {
	file := save(t, merge(t, write(t, testImage("amd64")), write(t, testImage("arm64"))))
	for _, arch := range []string{"amd64", "arm64"} {
		if _, err := CheckArchive(file, arch); err != nil {
			t.Errorf("%s: %v", arch, err)
		}
	}
	_, err := CheckArchive(file, "riscv64")
	if want := "is for amd64 and arm64, expected riscv64"; err == nil || err.Error() != want {
		t.Errorf("riscv64: got %v, want %s", err, want)
	}
}

func TestCheckErrors(t *testing.T) {
	good := write(t, testImage("amd64"))
	edit := func(change func([]File) []File) []byte { return pack(t, change(entries(t, good))) }
	without := func(name string) func([]File) []File {
		return func(files []File) (kept []File) {
			for _, f := range files {
				if !strings.HasPrefix(f.Path, name) {
					kept = append(kept, f)
				}
			}
			return kept
		}
	}
	blobs := entries(t, good)[2:] // layer, config, manifest
	digest := func(i int) string { return "sha256:" + filepath.Base(blobs[i].Path)[:12] }
	replace := func(name, data string) func([]File) []File {
		return func(files []File) []File {
			for i := range files {
				if files[i].Path == name {
					files[i].Data = []byte(data)
				}
			}
			return files
		}
	}
	for _, tt := range []struct {
		name string
		data []byte
		arch string
		want string
	}{
		{"empty", nil, "amd64", "truncated: the file is empty"},
		{"text", bytes.Repeat([]byte("no tar "), 200), "amd64", "not a tar file, or damaged"},
		{"gzip", []byte("\x1f\x8b\x08\x00"), "amd64", "is compressed with gzip, expected a plain tar: gunzip < OLD > NEW.tar"},
		{"other architecture", good, "arm64", "is for amd64, expected arm64"},
		{"no marker", edit(without("oci-layout")), "amd64", "not an OCI archive or truncated: oci-layout is missing"},
		{"no index", edit(without("index.json")), "amd64", "not an OCI archive or truncated: index.json is missing"},
		{"no blobs", edit(without("blobs/")), "amd64", "manifest " + digest(2) + " is missing"},
		{"no layer", edit(without(blobs[0].Path)), "amd64", "layer " + digest(0) + " is missing"},
		{"no config", edit(without(blobs[1].Path)), "amd64", "config " + digest(1) + " is missing"},
		{"changed layer", edit(replace(blobs[0].Path, "x")), "amd64", "corrupt: blob " + digest(0) + " has digest sha256:2d711642b726"},
		{
			"other digest", edit(func(f []File) []File { return append(f, File{Path: "blobs/md5/00", Data: []byte("x")}) }), "amd64",
			"blob blobs/md5/00: digest algorithm is not supported, expected sha256",
		},
		{"index no JSON", edit(replace("index.json", "{")), "amd64", "parse index.json: unexpected end of JSON input"},
		{"index empty", edit(replace("index.json", "{}")), "amd64", "holds no image"},
		{
			"wrong size", edit(replace("index.json", `{"manifests":[{"mediaType":"`+typeManifest+`","digest":"sha256:`+filepath.Base(blobs[2].Path)+`","size":1}]}`)), "amd64",
			"manifest " + digest(2) + " has 401 octets, expected 1",
		},
		{"half", good[:len(good)/2], "amd64", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := CheckArchive(save(t, tt.data), tt.arch)
			switch {
			case err == nil:
				t.Fatal("got no error")
			case tt.want == "" && !strings.Contains(err.Error(), "truncated"):
				t.Errorf("got %q, want it to say truncated", err)
			case tt.want != "" && err.Error() != tt.want:
				t.Errorf("got  %q\nwant %q", err, tt.want)
			}
		})
	}
	if _, err := CheckArchive(filepath.Join(t.TempDir(), "none"), "amd64"); err == nil || err.Error() != "no such file" {
		t.Errorf("missing file: got %v", err)
	}
}

// An archive cut short anywhere is refused, unless only the padding at its end
// is gone.
func TestCheckTruncatedAnywhere(t *testing.T) {
	good := write(t, testImage("arm64"))
	content := len(bytes.TrimRight(good, "\x00"))
	file := filepath.Join(t.TempDir(), "x.tar")
	for n := 0; n < content; n += 37 {
		if err := os.WriteFile(file, good[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := CheckArchive(file, "arm64"); err == nil {
			t.Errorf("cut to %d of %d octets: got no error", n, len(good))
		}
	}
}

// A flipped bit in any blob is found.
func TestCheckFlippedBit(t *testing.T) {
	good := write(t, testImage("arm64"))
	start := bytes.Index(good, []byte{0x1f, 0x8b}) // the layer
	file := filepath.Join(t.TempDir(), "x.tar")
	for at := start; at < start+60; at += 7 {
		bad := bytes.Clone(good)
		bad[at] ^= 4
		if err := os.WriteFile(file, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := CheckArchive(file, "arm64"); err == nil || !strings.HasPrefix(err.Error(), "corrupt: blob sha256:") {
			t.Errorf("bit flipped at %d: got %v", at, err)
		}
	}
}

func FuzzCheckArchive(f *testing.F) {
	var buf bytes.Buffer
	if err := Write(&buf, Image{Arch: "arm64", Files: []File{{Path: "a", Data: []byte("b")}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Add(buf.Bytes()[:1000])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := check(bytes.NewReader(data), "arm64")
		if err == nil && info.ID == "" {
			t.Error("accepted without an ID")
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("error of several lines: %q", err)
		}
	})
}
