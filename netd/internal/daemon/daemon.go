package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"netd/containers"
	"netd/netd/internal/api"
	"netd/netd/internal/dhcp"
	"netd/netd/internal/intent"
	"netd/netd/internal/ipam"
	"netd/netd/internal/metrics"
	"netd/netd/internal/pod"
	"netd/netd/internal/radv"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
	"netd/netd/internal/store"
	"netd/netd/wake"
)

// Daemon is the agent: its parts, which do not know one another, and what is wanted of
// them. All of it but the board belongs to the loop.
type Daemon struct {
	opts  Options
	loop  *loop
	tasks *tasks
	want  intent.Intent

	settings *settings
	uplinks  *uplinks
	tunnels  *tunnels
	policies *policies
	pods     *pods
	sessions *sessions
	routes   *routes
	runtime  *containers.Runtime // has its own lock
	exporter *exporter
	health   *health
	board    *board
}

// Run is the agent's whole life. Its error is one for a person: what was
// attempted, and what was expected.
func Run(ctx context.Context, o Options) error {
	o = o.withDefaults()
	o.madeWith = o.readMadeWith()
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
		return errors.Join(err, o.openDoor(err))
	}
	kernel, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer kernel.Close()
	podKernel, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer podKernel.Close()
	db := store.Open(store.Options{Path: filepath.Join(o.DataDir, "state.db"), Name: podName.MatchString, Log: o.Log})
	defer closeStore(db)
	d := newDaemon(o, newTasks(ctx), l, ended)
	d.uplinks.kernel, d.tunnels.kernel, d.routes.kernel, d.routes.fib = kernel, kernel, kernel, route.NewFIB(kernel)
	d.pods.manager, d.pods.store = pod.NewManager(podKernel, o.NetnsDir), db
	return d.live()
}

// closeStore gives what is not durable yet a moment.
func closeStore(db *store.DB) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = db.Close(ctx) // Nobody was told that it is durable.
}

// closeTimeout bounds the agent's end.
const closeTimeout = 2 * time.Second

// newDaemon puts the parts together; nothing has happened yet.
func newDaemon(o Options, t *tasks, l loaded, ended string) *Daemon {
	lp := newLoop(o.Log)
	d := &Daemon{
		opts: o, loop: lp, tasks: t,
		settings: newSettings(o, lp, l, ended),
		uplinks: &uplinks{
			log: o.Log, start: t.start, loop: lp, runDir: o.RunDir, ports: o.loadPorts(), radv: radv.New(o.Log),
			dark: map[string]time.Time{}, leases: map[string]dhcp.Lease{}, leasing: map[string]*leasing{}, guarding: map[string]*guarding{},
		},
		tunnels:  &tunnels{},
		policies: &policies{log: o.Log, touched: wake.New()},
		routes:   &routes{log: o.Log, table: route.NewTable()},
		sessions: newSessions(o, t, lp),
		health:   &health{log: o.Log},
		board:    newBoard(),
	}
	d.pods = &pods{
		log: o.Log, loop: lp, folder: filepath.Join(o.RunDir, "pods"), records: map[string]pod.Pod{},
		told:    d.health.repaired,
		inForce: func(p netip.Prefix) bool { return d.routes.fib.Has(p) }, busy: busy{ends: map[string]chan struct{}{}},
	}
	d.exporter = &exporter{Set: metrics.New(o.Version, gateway{d}.scrape), log: o.Log, start: t.start}
	d.routes.count = d.exporter.count
	d.runtime = containers.New(containers.Options{
		Socket: o.ContainerdSocket, ImageDir: o.ImageDir, Shim: o.Shim, Runc: o.Runc,
		LogDir: filepath.Join(o.RunDir, "log"), FilesDir: filepath.Join(o.RunDir, "files"), Network: podNetwork{d.pods}, Log: o.Log,
	})
	return d
}

// live brings the parts up, and runs them until one of them ends or all are to.
func (d *Daemon) live() error {
	if err := d.sessions.find(); err != nil {
		return err
	}
	d.compile()
	if err := d.policies.apply(d.want.Guard); err != nil {
		return err
	}
	d.pods.ipam = ipam.New(d.want.Pods.Blocks, d.pods.store)
	listener, err := api.Listen(Socket(d.opts.RunDir))
	if err != nil {
		return fmt.Errorf("open the API: %w", err)
	}
	if err := d.prepare(); err != nil {
		return errors.Join(err, listener.Close())
	}
	d.opts.Log.Info("netd is up", "gateway", d.want.Box.Name, "version", d.opts.Version, "config", d.settings.loaded.file)
	d.tasks.start(func(ctx context.Context) error {
		return api.Serve(ctx, listener, gateway{d}, d.exporter.Handler(), d.opts.Log)
	})
	for _, task := range []func(context.Context) error{
		d.watch, d.policies.watch, d.hangups, d.settings.write, d.runtime.Run, d.sessions.runBFD, d.uplinks.radv.Run, d.guard, d.run, d.screen,
	} {
		d.tasks.start(task)
	}
	err = d.tasks.group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// prepare brings up what must be there before anything else runs, and finds the pods that
// survived. A kernel that can not do what the configuration asks for ends the agent here.
func (d *Daemon) prepare() error {
	d.health.started(d.opts.RunDir)
	d.pods.byHand = d.pods.handMade()
	d.compile()
	if err := d.begin(); err != nil {
		return err
	}
	if err := d.pods.adopt(d.want.Pods.Wanted); err != nil {
		return err
	}
	d.runtime.SetNameServers(d.want.Box.NameServers)
	d.runtime.Set(d.want.Pods.Specs)
	d.publish()
	return nil
}

// begin makes links, tunnels and forwarding so. Its error is one that ends an agent at
// its start.
func (d *Daemon) begin() error {
	if err := d.policies.forward(d.uplinks.kernel, d.want); err != nil {
		return err
	}
	if err := d.applyUplinks(); err != nil {
		return err
	}
	return d.applyTunnels()
}

// screen shows on the console of an appliance what the board does.
func (d *Daemon) screen(ctx context.Context) error {
	if !d.opts.Appliance {
		return nil
	}
	return newScreen(d.opts, gateway{d}.View).run(ctx)
}

// guard ends an agent whose loop stands still.
func (d *Daemon) guard(ctx context.Context) error { return d.loop.guard(ctx, d.opts.Words, d.opts.End) }

// podNetwork is what the container runtime asks for a pod's network.
type podNetwork struct{ pods *pods }

// Setup gives the pod its addresses, link and routes; when it returns, they are in
// force.
func (n podNetwork) Setup(ctx context.Context, name string) (containers.Sandbox, error) {
	p, err := n.pods.add(ctx, name, pod.ByWorkload)
	return containers.Sandbox{NetnsPath: p.Netns, Addresses: p.Addresses}, err
}

// Teardown takes it all back.
func (n podNetwork) Teardown(ctx context.Context, name string) error {
	return n.pods.remove(ctx, name)
}
