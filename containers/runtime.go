package containers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/defaults"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/leases"
	"github.com/containerd/containerd/namespaces"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"netd/netd/layout"
	"netd/netd/retry"
	"netd/netd/wake"
)

const (
	// pollAway is how often containerd is asked whether it is back.
	pollAway = 500 * time.Millisecond
	// pruneEvery is how often images that nobody wants are looked for.
	pruneEvery = time.Minute
)

// Runtime keeps the wanted pods running. Its methods may be called at any time
// and from any goroutine.
//
// There is one goroutine for each pod, which alone touches its container. It
// reads what is wanted, compares and acts; Set only wakes it. So a pod that can
// not start, or can not be removed, holds up no other.
type Runtime struct {
	opts    Options
	log     *slog.Logger
	client  *containerd.Client
	images  *images
	files   podFiles
	wake    wake.Signal // pods have to be started
	resolve wake.Signal // the name servers are others
	changed wake.Signal

	mu      sync.Mutex
	known   bool // Set was called: before, an absent pod means nothing
	wanted  map[string]Spec
	found   []string // pods that containerd held at the start
	pods    map[string]*pod
	servers []netip.Addr
	away    string // why containerd can not be asked yet
}

// New makes a Runtime; nothing happens before Run.
func New(opts Options) *Runtime {
	opts.Socket = or(opts.Socket, layout.ContainerdSocket)
	opts.Namespace = or(opts.Namespace, "netd")
	opts.ImageDir = or(opts.ImageDir, layout.ImageDir)
	opts.LogDir = or(opts.LogDir, layout.LogDir)
	opts.FilesDir = or(opts.FilesDir, layout.FilesDir)
	opts.Shim = or(opts.Shim, layout.Shim)
	opts.Runc = or(opts.Runc, layout.Runc)
	if opts.LogBytes == 0 {
		opts.LogBytes = 32 << 20
	}
	return &Runtime{
		opts:    opts,
		log:     opts.Log,
		files:   podFiles{opts.FilesDir},
		wake:    wake.New(),
		resolve: wake.New(),
		changed: wake.New(),
		wanted:  map[string]Spec{},
		pods:    map[string]*pod{},
	}
}

// Set says which pods there should be: all of them. The difference is applied.
// Until the first call nothing is started and nothing is removed.
func (r *Runtime) Set(pods []Spec) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.wanted
	r.known = true
	r.wanted = make(map[string]Spec, len(pods))
	for _, s := range pods {
		r.wanted[s.Pod] = s
	}
	for name, p := range r.pods {
		if was, now := before[name], r.wanted[name]; !reflect.DeepEqual(was, now) {
			p.wake.Send()
		}
	}
	r.wake.Send()
	r.changed.Send()
}

// SetNameServers says whom pods ask for names, running ones too.
func (r *Runtime) SetNameServers(servers []netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.servers, servers) {
		r.servers = slices.Clone(servers)
		r.resolve.Send()
	}
}

func (r *Runtime) nameServers() []netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.servers
}

// Status of every pod, in order of name.
func (r *Runtime) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Status
	for name, s := range r.wanted {
		if r.pods[name] == nil {
			all = append(all, Status{Pod: name, Workload: s.Name, Image: s.Image, State: StateWaiting, Reason: r.away})
		}
	}
	for _, p := range r.pods {
		all = append(all, p.status)
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Pod, b.Pod) })
	return all
}

// Changed is ready (once) after any change of Status.
func (r *Runtime) Changed() <-chan struct{} { return r.changed }

// Run supervises the pods until ctx ends, and leaves them running. It waits for
// containerd as long as it takes. It may be called once.
func (r *Runtime) Run(ctx context.Context) error {
	if err := os.MkdirAll(r.opts.LogDir, 0o750); err != nil {
		return fmt.Errorf("make the folder of logs: %w", err)
	}
	conn, err := grpc.NewClient("unix://"+r.opts.Socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: grpcbackoff.Config{
			BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second,
		}}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
			grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize)))
	if err != nil {
		return fmt.Errorf("use containerd at %s: %w", r.opts.Socket, err)
	}
	defer conn.Close()
	r.client, err = containerd.NewWithConn(conn, containerd.WithDefaultRuntime(r.opts.Shim))
	if err != nil {
		return fmt.Errorf("use containerd at %s: %w", r.opts.Socket, err)
	}
	r.images = newImages(r.client, r.opts.ImageDir, runtime.GOARCH, r.log)
	ctx = namespaces.WithNamespace(ctx, r.opts.Namespace)
	if err := r.awaitSettled(ctx); err != nil {
		return nil // ctx has ended
	}

	var pods sync.WaitGroup
	defer pods.Wait()
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
			for _, p := range r.missing() {
				pods.Go(func() { p.run(ctx) })
			}
		case <-r.resolve:
			if err := r.files.follow(r.nameServers()); err != nil {
				r.log.Warn("pods do not learn of the name servers", "err", err)
			}
		case <-prune.C:
			r.prune(ctx)
		}
	}
}

// awaitSettled waits for containerd and reads what it holds.
func (r *Runtime) awaitSettled(ctx context.Context) error {
	for {
		err := r.settle(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.mu.Lock()
		first := r.away == "" && err != nil
		r.away = ""
		if err != nil {
			r.away = r.reason(err)
		}
		r.mu.Unlock()
		if err == nil {
			r.wake.Send()
			return nil
		}
		if first {
			r.log.Info("pods wait for containerd", "err", err)
			r.changed.Send()
		}
		if !retry.Sleep(ctx, pollAway) {
			return ctx.Err()
		}
	}
}

// settle lists the pods of an earlier agent and ends its leases: those of an
// import that was cut off would keep half an image for a day.
func (r *Runtime) settle(ctx context.Context) error {
	list, err := r.client.Containers(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	old, err := r.client.LeasesService().List(ctx)
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	for _, l := range old {
		if err := r.client.LeasesService().Delete(ctx, l, leases.SynchronousDelete); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("delete lease %s: %w", l.ID, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range list {
		r.found = append(r.found, c.ID())
	}
	return nil
}

// missing makes the pods that have no goroutine yet.
func (r *Runtime) missing() []*pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known {
		return nil
	}
	var made []*pod
	names := append(slices.Collect(maps.Keys(r.wanted)), r.found...)
	r.found = nil
	for _, name := range names {
		if r.pods[name] != nil {
			continue
		}
		p := newPod(r, name)
		r.pods[name] = p
		made = append(made, p)
	}
	return made
}

func (r *Runtime) want(pod string) (Spec, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.wanted[pod]
	return s, ok
}

// release forgets a pod that was removed, unless it is wanted again.
func (r *Runtime) release(p *pod) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.wanted[p.name]; ok {
		return false
	}
	delete(r.pods, p.name)
	r.changed.Send()
	return true
}

// logLimit is how long a log may get that is begun now.
func (r *Runtime) logLimit() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return logLimit(r.opts.LogBytes, max(len(r.wanted), len(r.pods)))
}

func (r *Runtime) prune(ctx context.Context) {
	r.mu.Lock()
	known, wanted := r.known, map[string]bool{}
	for _, s := range r.wanted {
		wanted[s.Image] = true
	}
	r.mu.Unlock()
	if !known {
		return
	}
	if err := r.images.prune(ctx, wanted); err != nil && !isAway(err) && ctx.Err() == nil {
		r.log.Warn("images that no pod wants stay", "err", err)
	}
}

// answers tells whether containerd does.
func (r *Runtime) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := r.client.Version(ctx)
	return err == nil
}

// reason is an error as an operator reads it: the part that tells something.
func (r *Runtime) reason(err error) string {
	if isAway(err) {
		return "containerd does not answer on " + r.opts.Socket
	}
	return telling(err)
}

// telling leaves out of an error of containerd's and runc's who has handed it on.
func telling(err error) string {
	text := oneLine(err)
	for _, by := range []string{
		"failed to create shim task: ", "OCI runtime create failed: ", "OCI runtime start failed: ", "runc create failed: ", "runc start failed: ",
		"unable to start container process: ", "error during container init: ",
	} {
		if _, rest, ok := strings.Cut(text, by); ok {
			text = rest
		}
	}
	return text
}

// oneLine is a whole error; what containerd can not name it calls unknown.
func oneLine(err error) string {
	return strings.TrimSuffix(strings.ReplaceAll(err.Error(), "\n", " "), ": unknown")
}

// isAway tells that containerd, or a shim behind it, could not be reached.
func isAway(err error) bool {
	return errdefs.IsUnavailable(err) || status.Code(rootCause(err)) == codes.Unavailable
}

func rootCause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
