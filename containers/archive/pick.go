package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// picked is the image that runs, of those in an archive.
type picked struct {
	info     Info
	manifest manifest
	config   imageConfig
}

// pick finds the first whole image for linux/arch that every CPU of that architecture
// can run. Which one the box has is not known where its image is built, so there is one
// choice for both.
func (l *layout) pick(arch string) (picked, error) {
	found, err := l.manifests(l.index, "index.json", 0)
	if err != nil {
		return picked{}, err
	}
	var others, artifacts []string
	var broken error
	for _, d := range found {
		p, err := l.image(d)
		var artifact artifactError
		switch is := p.config.platform.name(); {
		case errors.As(err, &artifact):
			artifacts = append(artifacts, string(artifact))
		case err == nil && d.Platform != nil && d.Platform.name() != is && (d.Platform.name() == arch || is == arch):
			broken = errors.Join(broken, fmt.Errorf("manifest %s is for %s by the index, and for %s by its config: expected one of them",
				short(d.Digest), d.Platform.name(), is))
		case err == nil && is == arch:
			if err = l.whole(&p); err == nil {
				return p, nil
			}
			fallthrough
		case err != nil:
			if d.Platform == nil || d.Platform.name() == arch {
				broken = errors.Join(broken, err)
			} else {
				others = append(others, d.Platform.name())
			}
		case p.config.Architecture != "unknown" && p.config.OS != "unknown" && p.config.OS != "": // buildx attaches attestations so
			others = append(others, is)
		}
	}
	if broken != nil { // of several, the first is enough
		return picked{}, errors.New(strings.SplitN(broken.Error(), "\n", 2)[0])
	}
	return picked{}, noImage(arch, others, artifacts)
}

func noImage(arch string, others, artifacts []string) error {
	slices.Sort(others)
	others = slices.Compact(others)
	switch {
	case len(others) == 0 && len(artifacts) > 0:
		return fmt.Errorf("holds no image, but %s", artifacts[0])
	case len(others) == 0:
		return errors.New("holds no image")
	}
	hint := ""
	if slices.ContainsFunc(others, func(o string) bool { return strings.HasPrefix(o, arch+"/") }) {
		hint = fmt.Sprintf(", which any CPU can run: build it with --platform linux/%s", arch)
	}
	return fmt.Errorf("is for %s, expected %s%s", strings.Join(others, " and "), arch, hint)
}

// name is the architecture, with what it asks of the CPU beyond the least one.
func (p platform) name() string {
	name := p.Architecture
	if p.OS != "linux" {
		name = p.OS + "/" + name
	}
	least := map[string][]string{"amd64": {"", "v1"}, "arm64": {"", "8", "v8", "v8.0"}}[p.Architecture]
	if slices.Contains(least, strings.ToLower(p.Variant)) || p.Variant == "" {
		return name
	}
	return name + "/" + p.Variant
}

// artifactError says what a manifest is of, if not of an image.
type artifactError string

func (e artifactError) Error() string { return string(e) }

// image reads a manifest and its config.
func (l *layout) image(d descriptor) (p picked, err error) {
	if err := l.decode(d, "manifest", &p.manifest); err != nil {
		return p, err
	}
	if err := expectKind(l.json[d.Digest], d.MediaType); err != nil {
		return p, fmt.Errorf("manifest %s: %w", short(d.Digest), err)
	}
	c := p.manifest.Config
	switch c.MediaType {
	case typeConfig, dockerConfig:
	case typeEmpty:
		return p, artifactError("an artifact of type " + p.manifest.ArtifactType)
	default:
		return p, artifactError("an artifact with a config of type " + c.MediaType)
	}
	if err := l.decode(c, "config", &p.config); err != nil {
		return p, err
	}
	if d.Platform != nil && p.config.Variant == "" && d.Platform.Architecture == p.config.Architecture {
		p.config.Variant = d.Platform.Variant
	}
	p.info = Info{
		ID: digestOf(l.index), Manifest: d.Digest, ManifestType: d.MediaType, ManifestSize: d.Size, Config: c.Digest, Layers: len(p.manifest.Layers),
		Entrypoint: p.config.Config.Entrypoint, Cmd: p.config.Config.Cmd,
	}
	return p, nil
}

// whole checks that all layers are there in a form that can be unpacked, and that the
// config can be run.
func (l *layout) whole(p *picked) error {
	digest := short(p.info.Config)
	switch n := len(p.manifest.Layers); {
	case len(p.config.RootFS.DiffIDs) != n:
		return fmt.Errorf("config %s names %d layers, manifest %s has %d", digest, len(p.config.RootFS.DiffIDs), short(p.info.Manifest), n)
	case n == 0:
		return errors.New("holds an image without layers: there is nothing to run")
	}
	for _, layer := range p.manifest.Layers {
		if err := checkLayerType(layer); err != nil {
			return err
		}
		if err := l.has(layer, "layer"); err != nil {
			return err
		}
		p.info.Size += layer.Size
	}
	if err := p.config.Config.check(); err != nil {
		return fmt.Errorf("config %s: %w", digest, err)
	}
	return nil
}

// checkLayerType refuses what containerd can not unpack.
func checkLayerType(d descriptor) error {
	base, packing, _ := strings.Cut(d.MediaType, "+")
	if strings.HasSuffix(packing, "encrypted") {
		return fmt.Errorf("layer %s is encrypted, and the box has no key: expected a plain one: skopeo copy --decryption-key KEY oci-archive:OLD.tar oci-archive:NEW.tar",
			short(d.Digest))
	}
	switch base {
	case typePlainLayer, typePlainForeign:
		if packing == "" || packing == "gzip" || packing == "zstd" {
			return nil
		}
	case "application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":
		if packing == "" {
			return nil
		}
	}
	return fmt.Errorf("layer %s is of type %q, expected a tar, plain or packed by gzip or zstd", short(d.Digest), d.MediaType)
}

// manifests lists the image manifests below an index, whose indexes may nest. Archives
// of one platform may name others without holding them.
func (l *layout) manifests(raw []byte, what string, depth int) ([]descriptor, error) {
	var idx index
	if err := decodeJSON(raw, &idx); err != nil {
		return nil, fmt.Errorf("parse %s: %w", what, err)
	}
	if err := expectKind(raw, typeIndex); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if depth > 4 {
		return nil, errors.New("index.json nests too deep")
	}
	var all []descriptor
	for _, d := range idx.Manifests {
		switch d.MediaType {
		case typeManifest, dockerManifest:
			all = append(all, d)
		case typeIndex, dockerList:
			if err := l.has(d, "index"); err != nil {
				return nil, err
			}
			below, err := l.manifests(l.json[d.Digest], "index "+short(d.Digest), depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, below...)
		}
	}
	return all, nil
}

// expectKind refuses an index that is called a manifest, and the other way round, as
// containerd does (moby/moby advisory GHSA-xmmx-7jpf-fx42).
func expectKind(b []byte, mediaType string) error {
	var doc struct {
		MediaType                           string `json:"mediaType"`
		Config, Layers, Manifests, FSLayers json.RawMessage
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return err
	}
	isIndex := len(doc.Manifests) > 0 || doc.MediaType == typeIndex || doc.MediaType == dockerList
	isManifest := len(doc.Config) > 0 || len(doc.Layers) > 0 || doc.MediaType == typeManifest || doc.MediaType == dockerManifest
	wantsIndex := mediaType == typeIndex || mediaType == dockerList
	switch {
	case len(doc.FSLayers) > 0:
		return errors.New("is of Docker's schema 1, expected schema 2 or OCI")
	case wantsIndex && isManifest:
		return errors.New("is a manifest, expected an index")
	case !wantsIndex && isIndex:
		return errors.New("is an index, expected a manifest")
	}
	return nil
}

// decodeJSON says of a value of a wrong type what was expected, by the key's name.
func decodeJSON(b []byte, v any) error {
	err := json.Unmarshal(b, v)
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	want := "another type"
	switch wrong.Type.Kind() {
	case reflect.Slice:
		want = `an array, e.g. ["/bin/app"]`
		if wrong.Type.Elem().Kind() != reflect.String {
			want = "an array"
		}
	case reflect.String:
		want = "a string"
	case reflect.Struct, reflect.Map:
		want = "an object"
	case reflect.Int, reflect.Int64:
		want = "a whole number"
	}
	return fmt.Errorf("%s: is a JSON %s, expected %s", wrong.Field, wrong.Value, want)
}
