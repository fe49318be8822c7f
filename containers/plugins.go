package containers

import (
	// What a pod needs of containerd, and nothing else: no CRI, no NRI, no
	// transfer and streaming, no sandboxes, no tracing, no metrics, no other
	// snapshotters. The content store comes with services/server.
	_ "github.com/containerd/containerd/diff/walking/plugin"
	_ "github.com/containerd/containerd/events/plugin"
	_ "github.com/containerd/containerd/gc/scheduler"
	_ "github.com/containerd/containerd/leases/plugin"
	_ "github.com/containerd/containerd/metadata/plugin"
	_ "github.com/containerd/containerd/runtime/v1/linux" // the task service refuses to start without a v1 runtime
	_ "github.com/containerd/containerd/runtime/v2"
	_ "github.com/containerd/containerd/services/containers"
	_ "github.com/containerd/containerd/services/content"
	_ "github.com/containerd/containerd/services/diff"
	_ "github.com/containerd/containerd/services/events"
	_ "github.com/containerd/containerd/services/healthcheck"
	_ "github.com/containerd/containerd/services/images"
	_ "github.com/containerd/containerd/services/introspection"
	_ "github.com/containerd/containerd/services/leases"
	_ "github.com/containerd/containerd/services/namespaces"
	_ "github.com/containerd/containerd/services/snapshots"
	_ "github.com/containerd/containerd/services/tasks"
	_ "github.com/containerd/containerd/services/version"
	_ "github.com/containerd/containerd/services/warning"
	_ "github.com/containerd/containerd/snapshots/overlay/plugin"
)

// requiredPlugins makes containerd's start fail, with the reason, when one of
// them does. It would otherwise log that and serve the rest.
func requiredPlugins() []string {
	return []string{
		"io.containerd.content.v1.content",
		"io.containerd.snapshotter.v1.overlayfs",
		"io.containerd.metadata.v1.bolt",
		"io.containerd.differ.v1.walking",
		"io.containerd.gc.v1.scheduler",
		"io.containerd.runtime.v2.task",
		"io.containerd.service.v1.tasks-service",
		"io.containerd.grpc.v1.tasks",
		"io.containerd.grpc.v1.containers",
		"io.containerd.grpc.v1.images",
		"io.containerd.grpc.v1.content",
		"io.containerd.grpc.v1.snapshots",
		"io.containerd.grpc.v1.diff",
		"io.containerd.grpc.v1.leases",
		"io.containerd.grpc.v1.namespaces",
		"io.containerd.grpc.v1.healthcheck",
		"io.containerd.grpc.v1.version",
	}
}
