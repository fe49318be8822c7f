//go:build tools

// Package runc pins the runc that an image carries; build.sh builds it.
package runc

import _ "github.com/opencontainers/runc"
