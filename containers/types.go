package containers

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// Spec is one pod that should run.
type Spec struct {
	// Name is the workload's; Pod is the pod's own name, its host name and its
	// container's: an RFC 1123 label, unique on the gateway.
	Name, Pod string
	// Image is the file name of an OCI archive in Options.ImageDir.
	Image string
	// Command replaces the image's entrypoint and with it the image's command;
	// Args replaces only the command. Nil keeps the image's.
	Command, Args []string
	// Env is set over the image's environment.
	Env map[string]string
	// Restart says after which ends of its process the pod is started again; empty means
	// always.
	Restart Restart
	// StopTimeout is between the image's stop signal and SIGKILL.
	StopTimeout time.Duration
}

// Restart says when a pod is started again.
type Restart string

// The kinds of restart.
const (
	RestartAlways    Restart = "always"
	RestartOnFailure Restart = "on-failure"
	RestartNever     Restart = "never"
)

// after tells whether a pod is started again that has ended with this code.
func (r Restart) after(code uint32) bool {
	return r != RestartNever && (r != RestartOnFailure || code != 0)
}

// Sandbox is what a pod runs in.
type Sandbox struct {
	// NetnsPath is the network namespace, e.g. /run/netns/web-0.
	NetnsPath string
	// Addresses are the pod's, IPv4 first.
	Addresses []netip.Addr
}

// Network gives pods their network; the daemon implements it. Calls for
// different pods come at the same time, calls for one pod one after another.
type Network interface {
	// Setup makes the pod's namespace and address, or finds them again; its
	// return means that routes are in force. Called before every start of the
	// pod and when a running pod is adopted.
	Setup(ctx context.Context, pod string) (Sandbox, error)
	// Teardown gives both back. A pod that has neither is no error.
	Teardown(ctx context.Context, pod string) error
}

// Options of a Runtime. Network and Log are needed; for the rest, the zero value
// is the default.
type Options struct {
	// Socket is containerd's, default layout.ContainerdSocket.
	Socket string
	// Namespace is containerd's namespace, default "netd". Everything in it
	// belongs to the Runtime.
	Namespace string
	// ImageDir holds the OCI archives, default /usr/lib/netd/images.
	ImageDir string
	// LogDir gets POD.log (and one older POD.log.1), default /run/netd/log: in
	// memory, because flash would wear out.
	LogDir string
	// FilesDir gets what pods find in /etc, default /run/netd/files.
	FilesDir string
	// LogBytes is for all logs together, in octets, default 32 MiB: a file is turned at
	// 1 MiB, or earlier if there are more than 16 pods (logLimit).
	LogBytes int64
	// Shim and Runc are the programs, defaults /usr/bin/containerd-shim-runc-v2
	// and /usr/bin/runc.
	Shim, Runc string

	Network Network
	Log     *slog.Logger
}

// State is what a pod is doing.
type State string

// The states of a pod.
const (
	// StateWaiting: not begun; for containerd or for an earlier pod of this name.
	StateWaiting State = "waiting"
	// StateImporting: its image is read from the archive.
	StateImporting State = "importing"
	// StateCreating: network and container are made.
	StateCreating State = "creating"
	// StateRunning: its process runs.
	StateRunning State = "running"
	// StateBackOff: it failed or could not start; Reason says why, and it is
	// tried again.
	StateBackOff State = "back-off"
	// StateRestarting: it ended with code 0, and is started again.
	StateRestarting State = "restarting"
	// StateCompleted: it ended with code 0, and that was all.
	StateCompleted State = "completed"
	// StateFailed: it ended otherwise, and is not started again.
	StateFailed State = "failed"
	// StateStopped: no longer wanted, and being removed.
	StateStopped State = "stopped"
)

// Status of one pod.
type Status struct {
	Pod, Workload, Image string

	State State
	// Addresses are the pod's, IPv4 first; none until its network is set up.
	Addresses []netip.Addr
	// PID of its first process, 0 if it does not run.
	PID uint32
	// Restarts counts the times that the pod was started again since the agent
	// has started.
	Restarts int
	// Since is when State was entered.
	Since time.Time
	// Reason is the last error or exit, e.g.
	// "image web.tar: is for arm64, expected amd64" or "exited with code 1".
	Reason string

	whole string // of Reason, if it is the telling part of a longer error
}

func (s Status) equal(o Status) bool {
	return s.Pod == o.Pod && s.Workload == o.Workload && s.Image == o.Image && s.State == o.State &&
		slices.Equal(s.Addresses, o.Addresses) && s.PID == o.PID && s.Restarts == o.Restarts &&
		s.Since.Equal(o.Since) && s.Reason == o.Reason
}
