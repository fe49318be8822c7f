package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// shape is an archive as some tool makes it, or breaks it: what differs from the plain
// one is given.
type shape struct {
	arch, variant string    // of the config
	platform      *platform // of the descriptor
	media         string    // of layers
	configType    string    //
	layers        [][]byte  // tars
	pack          func(string, []byte) []byte
	config        string       // JSON of config.config
	diffIDs       []string     //
	withoutLayers bool         // blobs that are named and not there
	index         func(*box)   // what is in index.json, if not this image alone
	edit          func(*box)   // the last word
	entries       []tar.Header // beside the files
	prefix        string       // of all names
	format        tar.Format   //
	raw           func([]byte) []byte
}

// box is an archive in the making.
type box struct {
	files []File
	links []tar.Header
	last  descriptor // of the image
}

func (b *box) blob(data []byte) descriptor {
	d := digestOf(data)
	b.files = append(b.files, File{Path: "blobs/sha256/" + strings.TrimPrefix(d, "sha256:"), Data: data})
	return descriptor{Digest: d, Size: int64(len(data))}
}

func (b *box) json(mediaType string, v any) descriptor {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // of a test's own
	}
	d := b.blob(data)
	d.MediaType = mediaType
	return d
}

func (b *box) setIndex(all ...descriptor) {
	data, err := json.Marshal(index{SchemaVersion: 2, MediaType: typeIndex, Manifests: all})
	if err != nil {
		panic(err)
	}
	b.set("index.json", data)
}

func (b *box) set(name string, data []byte) {
	b.drop(name)
	if data != nil {
		b.files = append(b.files, File{Path: name, Data: data})
	}
}

func (b *box) drop(prefix string) {
	var kept []File
	for _, f := range b.files {
		if !strings.HasPrefix(f.Path, prefix) {
			kept = append(kept, f)
		}
	}
	b.files = kept
}

// layerWith is a layer's tar.
func layerWith(files ...File) []byte {
	var buf bytes.Buffer
	if err := writeTar(&buf, files); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func app() []byte { return layerWith(File{Path: "bin/app", Mode: 0o755, Data: []byte("#!\n")}) }

func packAs(media string, data []byte) []byte {
	var buf bytes.Buffer
	switch {
	case strings.HasSuffix(media, "gzip"), strings.HasSuffix(media, "encrypted"):
		z := gzip.NewWriter(&buf)
		if _, err := z.Write(data); err != nil {
			panic(err)
		}
		if err := z.Close(); err != nil {
			panic(err)
		}
	case strings.HasSuffix(media, "zstd"):
		z, err := zstd.NewWriter(&buf)
		if err != nil {
			panic(err)
		}
		if _, err := z.Write(data); err != nil {
			panic(err)
		}
		if err := z.Close(); err != nil {
			panic(err)
		}
	default:
		return data
	}
	return buf.Bytes()
}

// add puts the image's blobs in the box.
func (s shape) add(b *box) descriptor {
	or := func(a, b string) string {
		if a == "" {
			return b
		}
		return a
	}
	if s.layers == nil {
		s.layers = [][]byte{app()}
	}
	if s.pack == nil {
		s.pack = packAs
	}
	m := manifest{SchemaVersion: 2, MediaType: typeManifest, Layers: []descriptor{}}
	diffIDs := []string{}
	for _, l := range s.layers {
		d := b.blob(s.pack(or(s.media, typeLayer), l))
		d.MediaType = or(s.media, typeLayer)
		if s.withoutLayers {
			b.files = b.files[:len(b.files)-1]
		}
		m.Layers, diffIDs = append(m.Layers, d), append(diffIDs, digestOf(l))
	}
	if s.diffIDs != nil {
		diffIDs = s.diffIDs
	}
	is := platform{Architecture: or(s.arch, "amd64"), OS: "linux", Variant: s.variant}
	m.Config = b.json(or(s.configType, typeConfig), map[string]any{
		"architecture": is.Architecture, "os": is.OS, "variant": is.Variant,
		"config": json.RawMessage(or(s.config, `{"Entrypoint":["/bin/app"]}`)),
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	d := b.json(typeManifest, m)
	d.Platform = &is
	if s.platform != nil {
		d.Platform = s.platform
	}
	return d
}

func (s shape) bytes() []byte {
	b := &box{}
	b.last = s.add(b)
	b.set("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	b.setIndex(b.last)
	if s.index != nil {
		s.index(b)
	}
	if s.edit != nil {
		s.edit(b)
	}
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, f := range b.files {
		format := s.format
		if format == tar.FormatUnknown {
			format = tar.FormatPAX
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: s.prefix + f.Path, Size: int64(len(f.Data)), Mode: 0o644, Format: format}); err != nil {
			panic(err)
		}
		if _, err := tw.Write(f.Data); err != nil {
			panic(err)
		}
	}
	for _, h := range append(b.links, s.entries...) {
		if err := tw.WriteHeader(&h); err != nil {
			panic(err)
		}
	}
	if err := tw.Close(); err != nil {
		panic(err)
	}
	if s.raw != nil {
		return s.raw(buf.Bytes())
	}
	return buf.Bytes()
}

// linkLayer puts a link in the place of the layer's blob.
func linkLayer(kind byte) func(*box) {
	return func(b *box) {
		name := b.files[0].Path
		b.files[0].Path = "layer-0.tar.gz"
		target := "layer-0.tar.gz"
		if kind == tar.TypeSymlink {
			target = "../../" + target
		}
		b.links = append(b.links, tar.Header{Typeflag: kind, Name: name, Linkname: target})
	}
}

func named(arch string) descriptor {
	return descriptor{MediaType: typeManifest, Digest: digestOf([]byte(arch)), Size: 5, Platform: &platform{Architecture: arch, OS: "linux"}}
}

// What image tools are known to write, each once: an archive is taken, or refused with a
// word that says what would be right.
func TestShapes(t *testing.T) {
	for name, tt := range map[string]struct {
		shape shape
		want  string // the error, from its beginning to its end, or to "…"
	}{
		"plain":       {},
		"amd64 v1":    {shape{variant: "v1"}, ""},
		"amd64 v2":    {shape{variant: "v2"}, "is for amd64/v2, expected amd64, which any CPU can run: build it with --platform linux/amd64"},
		"amd64 v3":    {shape{variant: "v3"}, "is for amd64/v3, expected amd64, which any CPU can run: …"},
		"v3 by index": {shape{platform: &platform{Architecture: "amd64", OS: "linux", Variant: "v3"}}, "is for amd64/v3, expected amd64, …"},
		"386":         {shape{arch: "386"}, "is for 386, expected amd64"},
		"index and config differ": {
			shape{platform: &platform{Architecture: "arm64", OS: "linux"}},
			"manifest sha256:…",
		},
		"v3 and v1": {shape{variant: "v3", index: func(b *box) { b.setIndex(b.last, shape{}.add(b)) }}, ""},

		"uncompressed":     {shape{media: typePlainLayer}, ""},
		"zstd":             {shape{media: "application/vnd.oci.image.layer.v1.tar+zstd"}, ""},
		"docker types":     {shape{media: "application/vnd.docker.image.rootfs.diff.tar.gzip", configType: dockerConfig}, ""},
		"docker, zstd":     {shape{media: "application/vnd.docker.image.rootfs.diff.tar.gzip", pack: func(_ string, b []byte) []byte { return packAs("zstd", b) }}, ""},
		"nondistributable": {shape{media: typePlainForeign + "+gzip"}, ""},
		"foreign, missing": {shape{media: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", withoutLayers: true}, "layer sha256:… is missing"},
		"said to be plain": {shape{media: typePlainLayer, pack: func(_ string, b []byte) []byte { return packAs("gzip", b) }}, "layer sha256:…: is packed with gzip, and its media type says that it is not"},
		"encrypted": {
			shape{media: typeLayer + "+encrypted"},
			"layer sha256:… is encrypted, and the box has no key: expected a plain one: skopeo copy --decryption-key KEY oci-archive:OLD.tar oci-archive:NEW.tar",
		},
		"unknown layer type": {shape{media: "application/vnd.oci.image.layer.v2.squashfs"}, `layer sha256:… is of type "application/vnd.oci.image.layer.v2.squashfs", expected a tar, plain or packed by gzip or zstd`},
		"128 layers": {shape{layers: func() (all [][]byte) {
			for i := range 128 {
				all = append(all, layerWith(File{Path: fmt.Sprintf("f%d", i), Data: []byte("x")}))
			}
			return all
		}()}, ""},
		"no layers":        {shape{layers: [][]byte{}}, "holds an image without layers: there is nothing to run"},
		"half a layer":     {shape{pack: func(_ string, b []byte) []byte { p := packAs("gzip", b); return p[:len(p)/2] }}, "layer sha256:…: read tar: unexpected EOF"},
		"no tar":           {shape{layers: [][]byte{bytes.Repeat([]byte("no tar "), 200)}}, "layer sha256:…: read tar: archive/tar: invalid tar header"},
		"wrong diff id":    {shape{diffIDs: []string{digestOf(nil)}}, "layer sha256:… unpacks to sha256:…, config sha256:… says sha256:e3b0c44298fc"},
		"diff ids missing": {shape{diffIDs: []string{}}, "config sha256:… names 0 layers, manifest sha256:… has 1"},

		"entrypoint a string": {shape{config: `{"Entrypoint":"/bin/app"}`}, `parse config sha256:…: config.Entrypoint: is a JSON string, expected an array, e.g. ["/bin/app"]`},
		"env without =":       {shape{config: `{"Entrypoint":["/bin/app"],"Env":["PATH=/bin","FOO"]}`}, `config sha256:…: Env "FOO": expected NAME=VALUE`},
		"user name": {
			shape{config: `{"User":"app"}`},
			`runs as user "app", and has no /etc/passwd: expected a number, e.g. USER 65532`,
		},
		"user name that is there": {shape{config: `{"User":"app:web"}`, layers: [][]byte{app(), layerWith(
			File{Path: "etc/group", Data: []byte("web:x:8:\n")}, File{Path: "etc/passwd", Data: []byte("root:x:0:0::/:\napp:x:7:7::/:\n")},
		)}}, ""},
		"another user name": {
			shape{config: `{"User":"app"}`, layers: [][]byte{layerWith(File{Path: "etc/passwd", Data: []byte("root:x:0:0::/:\n")})}},
			`runs as user "app", which its /etc/passwd does not have: expected one of those, or a number`,
		},
		"passwd taken away": {shape{config: `{"User":"app"}`, layers: [][]byte{
			layerWith(File{Path: "etc/passwd", Data: []byte("app:x:7:7::/:\n")}), layerWith(File{Path: "etc/.wh.passwd"}),
		}}, `runs as user "app", and has no /etc/passwd: …`},
		"passwd a link": {shape{config: `{"User":"app"}`, layers: [][]byte{layerWith(File{Path: "etc/passwd", Link: "../nix/passwd"})}}, ""},
		"group name":    {shape{config: `{"User":"7:web"}`}, `runs as group "web", and has no /etc/group: …`},
		"user beyond":   {shape{config: `{"User":"4294967296"}`}, `config sha256:…: User "4294967296": number 4294967296: expected 0 to 2147483647`},
		"user of runc":  {shape{config: `{"User":"4294967294"}`}, `config sha256:…: User "4294967294": number 4294967294: expected 0 to 2147483647`},
		"group beyond":  {shape{config: `{"User":"7:99999999999999999999"}`}, `config sha256:…: User "7:99999999999999999999": number 99999999999999999999: …`},
		"user of three": {shape{config: `{"User":"a:b:c"}`}, `config sha256:…: User "a:b:c": expected USER or USER:GROUP, by name or number`},
		"relative folder, bad signal": {
			shape{config: `{"WorkingDir":"srv","StopSignal":"SIGNOPE"}`},
			`config sha256:…: WorkingDir "srv": expected a path from the root, e.g. "/srv"; StopSignal "SIGNOPE": expected a signal, e.g. SIGTERM or 15`,
		},
		"stop signal":        {shape{config: `{"StopSignal":"SIGRTMIN+3"}`}, ""},
		"stop signal number": {shape{config: `{"StopSignal":"37"}`}, ""},

		"./ names":    {shape{prefix: "./"}, ""},
		"GNU tar":     {shape{format: tar.FormatGNU}, ""},
		"in a folder": {shape{prefix: "image/"}, "its files are in the folder image, expected them at the top: tar -C image -cf NEW.tar oci-layout index.json blobs"},
		"hard link":   {shape{edit: linkLayer(tar.TypeLink)}, ""},
		"symbolic":    {shape{edit: linkLayer(tar.TypeSymlink)}, ""},
		"index a link": {
			shape{edit: func(b *box) {
				b.drop("index.json")
				b.links = append(b.links, tar.Header{Typeflag: tar.TypeSymlink, Name: "index.json", Linkname: "x"})
			}},
			"index.json is a link to x, expected a file: tar --dereference --hard-dereference -C FOLDER -cf NEW.tar oci-layout index.json blobs",
		},
		"macOS": {shape{edit: func(b *box) {
			b.set("._index.json", []byte("\x00\x05\x16\x07"))
			b.set("blobs/sha256/._00", []byte("\x00\x05\x16\x07"))
			b.set(".DS_Store", []byte("\x00"))
		}}, ""},
		"layout of later": {
			shape{edit: func(b *box) { b.set("oci-layout", []byte(`{"imageLayoutVersion":"2.0.0"}`)) }},
			`oci-layout: version "2.0.0" of the image layout, expected 1.0.0`,
		},
		"sha512": {shape{edit: func(b *box) { b.set("blobs/sha512/00", []byte("x")) }}, "blob blobs/sha512/00: digest algorithm is not supported, expected sha256"},

		"partial index": {shape{index: func(b *box) {
			b.setIndex(b.json(typeIndex, index{Manifests: []descriptor{named("arm64"), b.last}}))
		}}, ""},
		"ours not there": {shape{arch: "arm64", index: func(b *box) {
			b.setIndex(b.json(typeIndex, index{Manifests: []descriptor{b.last, named("amd64")}}))
		}}, "manifest sha256:… is missing"},
		"attestation": {shape{index: func(b *box) {
			b.setIndex(shape{arch: "unknown", platform: &platform{Architecture: "unknown", OS: "unknown"}}.add(b), b.last)
		}}, ""},
		"one config, two manifests": {shape{index: func(b *box) {
			b.setIndex(shape{media: "application/vnd.oci.image.layer.v1.tar+zstd"}.add(b), b.last)
		}}, ""},
		"the first of two is cut": {shape{index: func(b *box) {
			b.setIndex(shape{layers: [][]byte{layerWith(File{Path: "y"})}, withoutLayers: true}.add(b), b.last)
		}}, ""},
		"manifests null": {shape{edit: func(b *box) { b.set("index.json", []byte(`{"schemaVersion":2,"manifests":null}`)) }}, "holds no image"},
		"docker 25 without layers": {
			shape{layers: [][]byte{}, diffIDs: []string{digestOf(nil)}},
			"config sha256:… names 1 layers, manifest sha256:… has 0",
		},
		"artifact": {shape{index: func(b *box) {
			b.setIndex(b.json(typeManifest, manifest{ArtifactType: "application/example", Config: descriptor{MediaType: typeEmpty}}))
		}}, "holds no image, but an artifact of type application/example"},
		"helm chart": {shape{configType: "application/vnd.cncf.helm.config.v1+json"}, "holds no image, but an artifact with a config of type application/vnd.cncf.helm.config.v1+json"},
		"an index for a manifest": {shape{index: func(b *box) {
			d := b.json(typeManifest, index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{b.last}})
			b.setIndex(d)
		}}, "manifest sha256:…: is an index, expected a manifest"},
		"schema 1": {shape{index: func(b *box) { b.setIndex(b.json(typeManifest, map[string]any{"fsLayers": []int{1}})) }}, "manifest sha256:…: is of Docker's schema 1, expected schema 2 or OCI"},

		"docker save before 25": {
			shape{edit: func(b *box) {
				b.files = []File{{Path: "manifest.json", Data: []byte(`[{"Config":"c.json"}]`)}, {Path: "c.json"}, {Path: "l/layer.tar"}, {Path: "repositories"}}
			}},
			"is a Docker archive (docker save before Docker 25, or podman save), expected an OCI archive: " +
				"skopeo copy docker-archive:OLD.tar oci-archive:NEW.tar, or podman save --format oci-archive",
		},
		"docker export": {shape{raw: func([]byte) []byte { return app() }}, "is the file system of a container (docker export), expected an image: docker buildx build . …"},
		"build context": {shape{raw: func([]byte) []byte { return layerWith(File{Path: "Dockerfile"}, File{Path: "src/x"}) }}, "is a folder from which an image is built, expected an image: docker buildx build . --output type=oci,dest=NEW.tar"},
		"some tar":      {shape{raw: func([]byte) []byte { return layerWith(File{Path: "x"}) }}, "not an OCI archive or truncated: oci-layout and index.json is missing; what makes one: docker buildx build …"},
		"gzip":          {shape{raw: func(b []byte) []byte { return packAs("gzip", b) }}, "is compressed with gzip, expected a plain tar: gunzip < OLD > NEW.tar"},
		"zstd around":   {shape{raw: func(b []byte) []byte { return packAs("zstd", b) }}, "is compressed with zstd, expected a plain tar: zstd -d OLD -o NEW.tar"},
		"Git LFS": {shape{raw: func([]byte) []byte {
			return []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
		}}, "is a pointer of Git LFS, not the file: git lfs pull"},
		"cut at half": {shape{raw: func(b []byte) []byte { return b[:len(b)/2+100] }}, "truncated: …"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := CheckArchive(save(t, tt.shape.bytes()), "amd64")
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v", err)
			case tt.want != "" && (err == nil || !matches(err.Error(), tt.want)):
				t.Errorf("got  %v\nwant %s", err, tt.want)
			case err != nil && strings.ContainsAny(err.Error(), "\n"):
				t.Errorf("several lines: %q", err)
			}
		})
	}
}

// matches compares with a text in which "…" is anything.
func matches(got, want string) bool {
	for i, part := range strings.Split(want, "…") {
		at := strings.Index(got, part)
		if at < 0 || i == 0 && at > 0 {
			return false
		}
		got = got[at+len(part):]
	}
	return got == "" || strings.HasSuffix(want, "…")
}

func TestVariantsOfArm64(t *testing.T) {
	for variant, good := range map[string]bool{"": true, "v8": true, "8": true, "v8.2": false, "v9": false} {
		_, err := CheckArchive(save(t, shape{arch: "arm64", variant: variant}.bytes()), "arm64")
		if (err == nil) != good {
			t.Errorf("variant %q: got %v", variant, err)
		}
	}
}

// Of several images the box takes the one that the build has checked.
func TestPickIsOneForBoth(t *testing.T) {
	b := &box{}
	v3, broken, first, second := shape{variant: "v3"}.add(b), shape{layers: [][]byte{layerWith(File{Path: "y"})}, withoutLayers: true}.add(b), shape{}.add(b), shape{media: typePlainLayer}.add(b)
	b.set("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	b.setIndex(v3, broken, first, second)
	file := save(t, pack(t, b.files))
	for name, check := range map[string]func(string, string) (Info, error){"build": CheckArchive, "box": CheckBlobs} {
		if got, err := check(file, "amd64"); err != nil || got.Manifest != first.Digest || got.ManifestSize != first.Size || got.ManifestType != typeManifest {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, first)
		}
	}
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	if _, err := CheckArchive(dir, "amd64"); err == nil || !strings.HasPrefix(err.Error(), "is a folder, expected an OCI archive: docker buildx") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckArchive(dir, "amd64"); err == nil || err.Error() != "is a folder, expected a tar of what is in it: tar -C FOLDER -cf NEW.tar oci-layout index.json blobs" {
		t.Errorf("got %v", err)
	}
	if _, err := ID(dir); err == nil || !strings.HasPrefix(err.Error(), "is a folder") {
		t.Errorf("ID: got %v", err)
	}
}

func TestArgs(t *testing.T) {
	both := Info{Entrypoint: []string{"/entry"}, Cmd: []string{"a", "b"}}
	for _, tt := range []struct {
		info          Info
		command, args []string
		want          string
	}{
		{both, nil, nil, "/entry a b"},
		{both, nil, []string{"x"}, "/entry x"},
		{both, nil, []string{}, "/entry"},
		{both, []string{"/c"}, nil, "/c"},
		{both, []string{"/c"}, []string{"x"}, "/c x"},
		{Info{}, nil, nil, ""},
	} {
		if got := strings.Join(tt.info.Args(tt.command, tt.args), " "); got != tt.want {
			t.Errorf("%q %q: got %q, want %q", tt.command, tt.args, got, tt.want)
		}
	}
}
