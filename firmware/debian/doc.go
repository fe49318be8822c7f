// Package debian fetches Debian packages for any architecture and unpacks them.
//
// It uses apt with a state of its own, under the cache folder, and the
// machine's own sources and keys: mirrors, pins and signatures are as the
// machine has them, its packages and architectures are left alone. Packages are
// kept by their SHA-256 and nothing is installed: no maintainer script runs.
//
// The image builder is its caller. It chooses no packages and follows no
// dependencies: an image has what its builder names.
package debian
