// Package containers is the pod runtime: containerd, from both of its ends.
//
// Serve is containerd's own server with the few plugins that a pod needs. It is
// a process of its own (the role "netd containerd"), so that pods outlive the
// agent, and shims are processes of their own, so that pods outlive containerd.
//
// Runtime is the client. It is told which pods there should be (Set), imports
// their images from OCI archives, asks the daemon for each pod's network, and
// keeps one container per pod running; Status says how that goes. It never
// decides which pods there are, never touches addresses, links or routes, and
// never stops a pod because something else could not be read or reached.
//
// # What survives what
//
//	pod ends             what it has written is gone at its next start, and its log is kept
//	agent restarts       pods run on and are found again by their label (hash of the Spec)
//	containerd restarts  pods run on under their shims; status says that it is away
//	shim ends            its pod ends and is started again
//	power cut            containers are made again from what containerd has stored
//	stored image broken  it is imported again from its archive
//	database broken      containerd starts empty and everything is imported again
//	data partition full  what runs runs on; what has to start says so and is tried again
//
// # What a pod gets
//
// What images are made for, which is Docker: its own name in /etc/hosts, the gateway's
// name servers or else its image's, the image's stop signal, a PATH, 1024 open files of
// which it may ask for 524,288, ports below 1024 and ping without root, its image's own
// /run, cgroups to read. Less than Docker: no device nodes (CAP_MKNOD), no tracing
// (ptrace), no new privileges, and nothing of /proc and /sys that tells of the kernel's
// memory.
//
// # Sizes
//
// With every plugin that containerd's own program has and that builds without
// cgo, against those in plugins.go (x86-64, stripped, idle, no pod):
//
//	                          all      here
//	netd                      51.6 MB  34.0 MB
//	netd containerd, RSS      46 MB    32 MB
//	  of which anonymous      10.6 MB  8.1 MB
//	shim                      14.4 MB  8.4 MB (without its gRPC services)
//	shim of one pod, RSS      16.3 MB  11.6 MB, 4 MB of it anonymous in both
//
// runtime/v1 costs 0.5 MB of that: the task service does not start without it.
package containers
