// Package archive reads and writes OCI archives: tar files that hold an OCI
// image layout (oci-layout, index.json and blobs), as made by "docker buildx
// build --output type=oci", "skopeo copy … oci-archive:" or "podman save
// --format oci-archive".
//
// CheckArchive reads one whole and says in a few words what is wrong with it, and what
// makes a right one of it; the image builder asks it before an image is built. The pod
// runtime asks CheckBlobs before an import: the same, but for what is in the layers,
// which containerd looks at. Both pick the image of an archive that runs, so that what
// has passed the one starts under the other. Write makes an archive from a few files, the
// same bytes for the same files.
//
// It does without containerd, as the image builder does.
package archive
