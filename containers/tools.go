//go:build tools

package containers

// Not linked into netd: build.sh builds it for the image (see runc/tools.go for
// the other one).
import _ "github.com/containerd/containerd/cmd/containerd-shim-runc-v2"
