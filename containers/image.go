package containers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/content"
	"github.com/containerd/containerd/diff"
	"github.com/containerd/containerd/errdefs"
	ctrimages "github.com/containerd/containerd/images"
	ctrarchive "github.com/containerd/containerd/images/archive"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"netd/containers/archive"
)

const (
	snapshotter = "overlayfs"
	// labelArchive holds archive.Info.ID. The record that has it is made last, once all
	// files are on the disk: without it an import was cut off.
	labelArchive = "netd.archive"
)

// images imports archives into containerd, each once.
type images struct {
	client *containerd.Client
	dir    string
	arch   string
	log    *slog.Logger

	mu    sync.Mutex
	files map[string]*sync.Mutex // one import of a file at a time
}

func newImages(client *containerd.Client, dir, arch string, log *slog.Logger) *images {
	return &images{client: client, dir: dir, arch: arch, log: log, files: map[string]*sync.Mutex{}}
}

func (im *images) platform() platforms.MatchComparer {
	return platforms.Only(ocispec.Platform{OS: "linux", Architecture: im.arch})
}

// path of an archive, which must be inside the folder of images.
func (im *images) path(file string) (string, error) {
	if !filepath.IsLocal(file) {
		return "", fmt.Errorf("image %s: expected a file name", file)
	}
	return filepath.Join(im.dir, file), nil
}

// ensure returns the image in the archive and its ID; it is imported if
// containerd does not hold it whole.
func (im *images) ensure(ctx context.Context, file string) (containerd.Image, string, error) {
	path, err := im.path(file)
	if err != nil {
		return nil, "", err
	}
	im.mu.Lock()
	lock := im.files[file]
	if lock == nil {
		lock = new(sync.Mutex)
		im.files[file] = lock
	}
	im.mu.Unlock()
	lock.Lock()
	defer lock.Unlock()

	id, err := archive.ID(path)
	if err != nil {
		return nil, "", fmt.Errorf("image %s: %w", file, err)
	}
	image, err := im.stored(ctx, file, id)
	if err != nil {
		return nil, "", fmt.Errorf("image %s: %w", file, err)
	}
	if image != nil {
		return image, id, nil
	}
	info, err := archive.CheckBlobs(path, im.arch)
	if err != nil {
		return nil, "", fmt.Errorf("image %s: %w", file, err)
	}
	im.log.Info("import an image", "image", file, "id", id)
	image, err = im.load(ctx, file, path, info)
	if err != nil {
		return nil, "", fmt.Errorf("import image %s: %w", file, err)
	}
	return image, id, nil
}

// changed tells that the archive holds another image than the one with this ID.
// An archive that can not be read has not changed.
func (im *images) changed(file, id string) bool {
	path, err := im.path(file)
	if err != nil {
		return false
	}
	now, err := archive.ID(path)
	return err == nil && now != id
}

// stored returns the image if containerd holds all of it that a container
// needs; nil if it is to be imported.
func (im *images) stored(ctx context.Context, name, id string) (containerd.Image, error) {
	record, err := im.client.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if record.Labels[labelArchive] != id {
		im.log.Info("an image has changed or was not imported to its end", "image", name)
		return nil, nil
	}
	image := containerd.NewImageWithPlatform(im.client, record, im.platform())
	if err := im.verify(ctx, image); err != nil {
		if isAway(err) || ctx.Err() != nil {
			return nil, err
		}
		im.log.Warn("a stored image is broken and is imported again", "image", name, "err", err)
		return nil, nil
	}
	return image, nil
}

// verify reads what containerd reads of an image to make a container: index,
// manifest, config and the record of the unpacked layers.
func (im *images) verify(ctx context.Context, image containerd.Image) error {
	store := im.client.ContentStore()
	check := withoutLayers(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		b, err := content.ReadBlob(ctx, store, d)
		if err != nil {
			return nil, err
		}
		if got := digest.FromBytes(b); got != d.Digest {
			return nil, fmt.Errorf("blob %s has digest %s", d.Digest, got)
		}
		return ctrimages.Children(ctx, store, d)
	})
	if err := ctrimages.Walk(ctx, ctrimages.FilterPlatforms(check, im.platform()), image.Target()); err != nil {
		return err
	}
	layers, err := image.RootFS(ctx)
	if err != nil {
		return err
	}
	_, err = im.client.SnapshotService(snapshotter).Stat(ctx, identity.ChainID(layers).String())
	return err
}

// load imports and unpacks. Of the images in an archive it is the one that the check has
// picked, which containerd need not choose again: its record names no index. The layers'
// archives are not kept: they are in the image archive, and the data partition may be small.
func (im *images) load(ctx context.Context, name, path string, info archive.Info) (containerd.Image, error) {
	// What an earlier import left must go, also its unpacked layers: they may
	// be older than their last write to the disk.
	if err := im.remove(ctx, name); err != nil {
		return nil, err
	}
	ctx, done, err := im.client.WithLease(ctx)
	if err != nil {
		return nil, err
	}
	// A lease that stays ends by itself.
	defer func() { _ = done(context.WithoutCancel(ctx)) }()
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	store := im.client.ContentStore()
	if _, err := ctrarchive.ImportIndex(ctx, store, f); err != nil {
		return nil, err
	}
	record := ctrimages.Image{
		Name:   name,
		Target: ocispec.Descriptor{MediaType: info.ManifestType, Digest: digest.Digest(info.Manifest), Size: info.ManifestSize},
		Labels: map[string]string{labelArchive: info.ID},
	}
	keep := ctrimages.SetChildrenMappedLabels(store, ctrimages.ChildrenHandler(store), ctrimages.ChildGCLabelsFilterLayers)
	if err := ctrimages.Walk(ctx, withoutLayers(keep), record.Target); err != nil {
		return nil, err
	}
	image := containerd.NewImageWithPlatform(im.client, record, im.platform())
	if err := image.Unpack(ctx, snapshotter, containerd.WithUnpackApplyOpts(diff.WithSyncFs(true))); err != nil {
		return nil, err
	}
	if record, err = im.client.ImageService().Create(ctx, record); err != nil {
		return nil, err
	}
	return containerd.NewImageWithPlatform(im.client, record, im.platform()), nil
}

// withoutLayers looks at nothing below a manifest but its config.
func withoutLayers(h ctrimages.HandlerFunc) ctrimages.HandlerFunc {
	return func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if ctrimages.IsLayerType(d.MediaType) {
			return nil, nil
		}
		return h(ctx, d)
	}
}

func (im *images) remove(ctx context.Context, name string) error {
	err := im.client.ImageService().Delete(ctx, name, ctrimages.SynchronousDelete())
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// prune removes images that no pod wants: the data partition would fill with
// the images of all releases.
func (im *images) prune(ctx context.Context, wanted map[string]bool) error {
	records, err := im.client.ImageService().List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range records {
		if wanted[r.Name] {
			continue
		}
		im.log.Info("remove an image that no pod wants", "image", r.Name)
		errs = append(errs, im.remove(ctx, r.Name))
	}
	return errors.Join(errs...)
}
