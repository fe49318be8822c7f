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
package containers
