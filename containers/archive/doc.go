// Package archive reads and writes OCI archives: tar files that hold an OCI
// image layout (oci-layout, index.json and blobs), as made by "docker buildx
// build --output type=oci", "skopeo copy … oci-archive:" or "podman save
// --format oci-archive".
//
// Check reads one whole and says in a few words what is wrong with it; the image
// builder asks it before an image is built, and the pod runtime before an
// import. Write makes one from a few files, the same bytes for the same files.
//
// It imports nothing but the standard library, because the image builder uses
// it without containerd.
package archive
