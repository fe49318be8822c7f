#!/bin/sh
# Builds what containerd runs a pod with, both static: containerd-shim-runc-v2, which is
# shim/, of the containerd pinned in ../go.mod, and runc, pinned in runc/go.mod.
#
#   containers/build.sh amd64|arm64 OUTDIR
#
# Needs, from Debian: gcc-x86-64-linux-gnu or gcc (for amd64),
# gcc-aarch64-linux-gnu and libc6-dev-arm64-cross (for arm64), pkg-config.
# libseccomp's static library is fetched for the architecture and unpacked into
# the cache; the machine's own packages and architectures are left alone.
set -eu

usage="usage: $0 amd64|arm64 OUTDIR"
arch=${1:?$usage} out=${2:?$usage}
case $arch in
amd64) triple=x86_64-linux-gnu ;;
arm64) triple=aarch64-linux-gnu ;;
*) echo "$0: architecture $arch: expected amd64 or arm64" >&2; exit 1 ;;
esac
for tool in $triple-gcc pkg-config apt-get dpkg-deb; do
	command -v $tool >/dev/null || { echo "$0: $tool is not installed" >&2; exit 1; }
done
mkdir -p "$out"
out=$(cd "$out" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
sysroot=$(cd "$here" && go run ./debroot "$arch" libseccomp-dev)

# no_grpc leaves out containerd's gRPC services, which a shim does not serve:
# 8 MB instead of 14. runc_nocriu: no pod is checkpointed.
cd "$here"
CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -mod=readonly -buildvcs=false -trimpath -tags no_grpc \
	-ldflags '-s -w' -o "$out/containerd-shim-runc-v2" \
	./shim

cd "$here/runc"
CGO_ENABLED=1 GOOS=linux GOARCH=$arch CC=$triple-gcc \
	PKG_CONFIG_SYSROOT_DIR="$sysroot" PKG_CONFIG_LIBDIR="$sysroot/usr/lib/$triple/pkgconfig" \
	go build -mod=readonly -buildvcs=false -trimpath -tags 'seccomp netgo osusergo runc_nocriu' \
	-ldflags '-s -w -extldflags -static' -o "$out/runc" \
	github.com/opencontainers/runc
