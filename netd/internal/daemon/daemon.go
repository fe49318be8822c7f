package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"netd/containers"
	"netd/netd/config"
	"netd/netd/internal/api"
	"netd/netd/internal/bfd"
	"netd/netd/internal/bgp"
	"netd/netd/internal/ipam"
	"netd/netd/internal/link"
	"netd/netd/internal/metrics"
	"netd/netd/internal/pod"
	"netd/netd/internal/policy"
	"netd/netd/internal/radv"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
	"netd/netd/internal/store"
)

const (
	// repairInterval is how often everything is compared again without an event.
	repairInterval = 30 * time.Second
	// settleDeadline bounds the wait for peers after a start of the speaker,
	// during which learned routes that are in the kernel are not touched.
	settleDeadline = 15 * time.Second
	// settlePause is how long after the last End-of-RIB to wait for what it was the end
	// of: FRR sends it a second before the routes (its coalesce-time).
	settlePause = 2 * time.Second
	// The pause between two rounds is as long as a round, and from gatherPause to
	// longestPause.
	gatherPause  = 10 * time.Millisecond
	longestPause = time.Second
	// closeDeadline is how long the end waits for what the store has yet to write.
	closeDeadline = 3 * time.Second
)

// Daemon is the agent. Its fields belong to the loop, but for those that say otherwise.
type Daemon struct {
	opts    Options
	loaded  loaded
	config  *config.Config
	ports   []config.Port // of the board
	started time.Time

	kernel  *rtnl.Conn
	store   *store.DB // any goroutine
	ipam    *ipam.Allocator
	pods    *pod.Manager
	runtime *containers.Runtime // has its own lock

	speaker *bgp.Speaker // nil until this gateway has an address
	bfd     *bfd.Client
	wake    chan struct{}
	jobs    chan func() // work for the loop
	// start runs a task beside the loop until it is stopped, or all ends.
	start func(task func(context.Context) error) context.CancelFunc

	podNets  map[string]pod.Pod
	netsMTU  int // that podNets are known to have
	leases   map[string]link.Lease
	leasing  map[string]leasing
	uplinks  []link.State
	source   netip.Addr // the gateway's own, of IPv4
	source6  netip.Addr
	tunnels  []link.Tunnel
	snapshot heard
	paths    []bfd.Status         // to the peers that have BFD
	reset    map[string]time.Time // by peer: the failure for which its session was reset
	dark     map[string]time.Time // by uplink without carrier: since when
	excused  map[string]time.Time // by peer: the failure that is its restart's
	toldAll  time.Time            // when the last peer sent its End-of-RIB; zero if one has not
	settled  bool
	guard    policy.Rules
	flaps    map[string]uint64 // by peer: how often its session was lost
	table    *route.Table
	fib      *route.FIB
	problems []string
	work     api.Work
	kept     bool // the configuration is the last good one

	trial      *trial // nil: the configuration in use is the active file
	trialEnded string // why the last one was not confirmed
	orders     orders

	metrics *metrics.Set // any goroutine
	told    telling
	secrets secrets

	announced announced
	// By uplink: the link-local addresses of the router there, and of our own.
	routers, linkLocals map[string]netip.Addr
	radv                *radv.Monitor

	view atomic.Pointer[view] // what the API shows; any goroutine
}

// Run is the agent's whole life. Its error is one for a person: what was
// attempted, and what was expected.
func Run(ctx context.Context, o Options) error {
	o = o.withDefaults()
	if os.Geteuid() != 0 {
		return errors.New("needs root: it sets addresses, routes and nftables, and makes namespaces")
	}
	if err := os.MkdirAll(o.RunDir, 0o755); err != nil {
		return fmt.Errorf("make run folder: %w", err)
	}
	lockFile, err := lock(o.RunDir)
	if err != nil {
		return err
	}
	defer func() { _ = lockFile.Close() }()
	ended := o.tidy()
	l, err := o.load(Identity(o.Device))
	if err != nil {
		return err
	}
	d, err := open(o, l)
	if err != nil {
		return err
	}
	d.trialEnded, d.orders = ended, o.loadOrders()
	defer d.close()
	return d.run(ctx)
}

// open reads what there is; it changes nothing but the guard.
func open(o Options, l loaded) (*Daemon, error) {
	d := &Daemon{
		opts: o, loaded: l, config: l.config, ports: o.loadPorts(), started: time.Now(),
		wake: make(chan struct{}, 1), jobs: make(chan func()),
		podNets: map[string]pod.Pod{}, leases: map[string]link.Lease{}, leasing: map[string]leasing{},
		table: route.NewTable(), reset: map[string]time.Time{}, dark: map[string]time.Time{}, excused: map[string]time.Time{},
	}
	d.metrics = metrics.New(o.Version, gateway{d}.scrape)
	var err error
	if d.kernel, err = rtnl.Open(); err != nil {
		return nil, err
	}
	d.fib = route.NewFIB(d.kernel)
	d.radv = radv.New(o.Log)
	if err := d.findPaths(); err != nil {
		return nil, err
	}
	if err := d.applyGuard(); err != nil {
		return nil, err
	}
	d.openStore()
	d.pods = pod.NewManager(d.kernel, o.NetnsDir)
	d.runtime = containers.New(containers.Options{
		Socket: o.ContainerdSocket, ImageDir: o.ImageDir, Shim: o.Shim, Runc: o.Runc,
		LogDir: filepath.Join(o.RunDir, "log"), Network: podNetwork{d}, Log: o.Log,
	})
	return d, nil
}

// openStore reads the assignments. A data partition that can not be read or written
// (it is full, or gone) must not take the network away: the gateway routes on, what
// runs keeps its address, and only new pods wait until the store can write.
func (d *Daemon) openStore() {
	d.store = store.Open(store.Options{
		Path: filepath.Join(d.opts.DataDir, "state.db"), Name: podName.MatchString, Log: d.opts.Log,
	})
	d.ipam = ipam.New(d.blocks(), d.store)
}

func (d *Daemon) close() {
	d.kernel.Close()
	ctx, stop := context.WithTimeout(context.Background(), closeDeadline)
	defer stop()
	if err := d.store.Close(ctx); err != nil {
		d.opts.Log.Error("the end of the store", "err", err)
	}
}

func (d *Daemon) run(ctx context.Context) error {
	listener, err := api.Listen(Socket(d.opts.RunDir))
	if err != nil {
		return fmt.Errorf("open the API: %w", err)
	}
	if d.opts.Appliance {
		d.becomeBox()
	}
	if err := d.begin(); err != nil {
		return errors.Join(err, listener.Close())
	}
	d.opts.Log.Info("netd is up", "gateway", d.config.Gateway.Name, "version", d.opts.Version, "config", d.loaded.file)
	tasks, ctx := errgroup.WithContext(ctx)
	d.start = func(task func(context.Context) error) context.CancelFunc {
		own, stop := context.WithCancel(ctx)
		tasks.Go(func() error {
			if err := task(own); own.Err() == nil || ctx.Err() != nil {
				return err
			}
			return nil // It was stopped.
		})
		return stop
	}
	d.start(func(ctx context.Context) error {
		return api.Serve(ctx, listener, gateway{d}, d.metrics.Handler(), d.opts.Log)
	})
	for _, task := range []func(context.Context) error{d.watch, d.hangups, d.runtime.Run, d.runPaths, d.radv.Run, d.loop} {
		d.start(task)
	}
	err = tasks.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// begin brings up links, tunnel and forwarding and finds the pods that survived,
// before anything else runs. A kernel that can not do what the configuration
// asks for ends the agent here.
func (d *Daemon) begin() error {
	if err := d.forward(); err != nil {
		return err
	}
	if err := d.applyLinks(); err != nil {
		return err
	}
	if err := d.adopt(); err != nil {
		return err
	}
	d.runtime.Set(d.specs())
	d.publish()
	return nil
}

// watch passes rtnetlink's events on to the loop. When events were lost, the
// loop looks at everything anyway.
func (d *Daemon) watch(ctx context.Context) error {
	for {
		err := d.kernel.Watch(ctx, route.Protocol, func(rtnl.Event) { d.poke() })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.opts.Log.Warn("rtnetlink events lost; reading everything again", "err", err)
		d.poke()
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// poke wakes the loop.
func (d *Daemon) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// do runs f on the loop and returns its error.
func (d *Daemon) do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	select {
	case d.jobs <- func() { done <- f() }:
		return <-done
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loop is the one goroutine that decides and acts.
func (d *Daemon) loop(ctx context.Context) error {
	repair := time.NewTicker(repairInterval)
	defer repair.Stop()
	for ctx.Err() == nil {
		begin := time.Now()
		if d.reconcile(ctx) {
			d.poke() // What was done may change what can be done: look once more.
		}
		d.wait(ctx, repair.C, time.Now().Add(pauseAfter(time.Since(begin))))
	}
	return ctx.Err()
}

// pauseAfter is what passes between two rounds: events that come in a burst are
// answered together, and half of the time is the speaker's. The first event after
// a rest is answered at once.
func pauseAfter(round time.Duration) time.Duration {
	return min(max(round, gatherPause), longestPause)
}

// wait waits until there is something to look at, but not before ready, and does
// jobs meanwhile: these need no new look at the world. What BFD has lost is not for
// waiting.
func (d *Daemon) wait(ctx context.Context, repair <-chan time.Time, ready time.Time) {
	var speaker <-chan struct{}
	var settle, due <-chan time.Time
	if d.speaker != nil {
		speaker = d.speaker.Changed()
		if !d.settled {
			settle = time.After(time.Second)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-d.jobs:
			job()
			d.publish()
			continue
		case <-d.bfd.Changed():
			d.pathsChanged()
			return
		case <-d.wake:
			d.linksChanged()
		case <-d.radv.Changed():
		case <-speaker:
		case <-settle:
		case <-d.trial.ends():
			if err := d.rollBack(ctx, "nobody confirmed it in time"); err != nil {
				d.opts.Log.Error("configuration", "err", err)
			}
		case <-repair:
			d.repair()
		case <-due:
			return
		}
		due = time.After(time.Until(ready))
	}
}

// repair looks after what no event tells of.
func (d *Daemon) repair() {
	d.repairGuard()
	d.mendPods()
}

// blocks are this gateway's shares of the pools.
func (d *Daemon) blocks() []netip.Prefix {
	blocks := make([]netip.Prefix, 0, len(d.config.Pools))
	for _, p := range d.config.Pools {
		if p.Block.IsValid() {
			blocks = append(blocks, p.Block)
		}
	}
	return blocks
}

// specs are the pods that the configuration asks for.
func (d *Daemon) specs() []containers.Spec {
	var specs []containers.Spec
	for _, w := range d.config.Workloads {
		for i := range w.Replicas {
			specs = append(specs, containers.Spec{
				Name: w.Name, Pod: fmt.Sprintf("%s-%d", w.Name, i), Image: w.Image,
				Command: w.Command, Args: w.Args, Env: w.Env,
			})
		}
	}
	return specs
}

// wantedPods are the names of the pods that the configuration asks for, and of
// those that were made by hand (netd pod add), which are files in handMade.
func (d *Daemon) wantedPods() map[string]bool {
	wanted := map[string]bool{}
	for _, s := range d.specs() {
		wanted[s.Pod] = true
	}
	byHand, _ := filepath.Glob(filepath.Join(d.handMade(), "*"))
	for _, file := range byHand {
		wanted[filepath.Base(file)] = true
	}
	return wanted
}

// handMade is the folder that remembers pods made by hand, until a reboot.
func (d *Daemon) handMade() string { return filepath.Join(d.opts.RunDir, "pods") }

// adopt finds the pods of an earlier life, which keep what they have, also if the
// store knows nothing of them. An address whose pod is neither there nor wanted
// is given back.
func (d *Daemon) adopt() error {
	alive, err := d.pods.List()
	if err != nil {
		return err
	}
	wanted := d.wantedPods()
	for _, p := range alive {
		switch {
		case !wanted[p.Name]:
			// Its container, if there is one, is on its way out too.
			d.opts.Log.Info("removing the network of a pod that is not wanted any more", "pod", p.Name)
			if err := d.pods.Remove(p.Name); err != nil {
				d.opts.Log.Error("a pod's network stays", "pod", p.Name, "err", err)
			}
			continue
		case len(p.Addresses) == 0:
			continue // Half made: its workload makes it whole.
		}
		if err := d.ipam.Claim(p.Name, p.Addresses); err != nil {
			d.opts.Log.Error("a pod was found with an address that is not recorded", "pod", p.Name, "err", err)
		}
		d.podNets[p.Name] = p
	}
	for _, name := range d.ipam.Pods() {
		if _, found := d.podNets[name]; found || wanted[name] {
			continue
		}
		d.ipam.Release(name)
	}
	if n := len(d.podNets); n > 0 {
		d.opts.Log.Info("found the pods of before", "pods", n)
	}
	return nil
}
