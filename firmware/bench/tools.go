//go:build tools

package main

// Not linked into anything: the Makefile builds it, the peer of a pod's start.
import _ "github.com/containerd/containerd/cmd/ctr"
