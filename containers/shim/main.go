// Shim is containerd's shim for runc, with logs of its own: what a pod writes is bounded
// while it is written (log.go), by the process that the pod's life hangs on. An agent that
// looked at the files' sizes would be too late, or away.
//
// It is installed under the name that containerd knows, containerd-shim-runc-v2.
package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"sync"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/containerd/pkg/shutdown"
	"github.com/containerd/containerd/plugin"
	"github.com/containerd/containerd/runtime/v2/runc/manager"
	"github.com/containerd/containerd/runtime/v2/runc/task"
	"github.com/containerd/containerd/runtime/v2/shim"
	"github.com/containerd/ttrpc"
)

func main() {
	plugin.Register(&plugin.Registration{
		Type: plugin.TTRPCPlugin, ID: "task", Requires: []plugin.Type{plugin.EventPlugin, plugin.InternalPlugin}, InitFn: newService,
	})
	shim.RunManager(context.Background(), manager.NewShimManager("io.containerd.runc.v2"))
}

// service is containerd's, but for the log of a task: a file that is asked for by URL, as
// file:///run/netd/log/web-0.log?limit=1048576.
type service struct {
	taskAPI.TaskService

	mu   sync.Mutex
	logs map[string]*log // by task
}

func newService(ic *plugin.InitContext) (any, error) {
	publisher, err := ic.GetByID(plugin.EventPlugin, "publisher")
	if err != nil {
		return nil, err
	}
	down, err := ic.GetByID(plugin.InternalPlugin, "shutdown")
	if err != nil {
		return nil, err
	}
	s, err := task.NewTaskService(ic.Context, publisher.(shim.Publisher), down.(shutdown.Service))
	return &service{TaskService: s, logs: map[string]*log{}}, err
}

// RegisterTTRPC is what the shim's server asks of a service.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error {
	taskAPI.RegisterTaskService(server, s)
	return nil
}

// Create gives the task a pipe for its output, by the name under which this process can
// open it, and writes to the file what comes out of it.
func (s *service) Create(ctx context.Context, r *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskResponse, error) {
	u, err := url.Parse(r.Stdout)
	if err != nil || u.Scheme != "file" || !u.Query().Has("limit") {
		return s.TaskService.Create(ctx, r)
	}
	limit, err := strconv.ParseInt(u.Query().Get("limit"), 10, 64)
	if err != nil || limit <= 0 {
		return nil, fmt.Errorf("log %s: expected a limit of octets", r.Stdout)
	}
	l, err := startLog(u.Path, limit)
	if err != nil {
		return nil, err
	}
	r.Stdout = fmt.Sprintf("/proc/self/fd/%d", l.in.Fd())
	r.Stderr = r.Stdout
	response, err := s.TaskService.Create(ctx, r)
	if err != nil {
		l.close()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs[r.ID] = l
	return response, nil
}

// Delete returns when all that the task has written is in its log.
func (s *service) Delete(ctx context.Context, r *taskAPI.DeleteRequest) (*taskAPI.DeleteResponse, error) {
	response, err := s.TaskService.Delete(ctx, r)
	if err != nil || r.ExecID != "" {
		return response, err
	}
	s.mu.Lock()
	l := s.logs[r.ID]
	delete(s.logs, r.ID)
	s.mu.Unlock()
	if l != nil {
		l.close()
	}
	return response, nil
}
