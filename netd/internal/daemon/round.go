package daemon

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"netd/netd/internal/intent"
	"netd/netd/internal/route"
	"netd/netd/internal/rtnl"
)

// compile makes the intent anew from what was said and what was found.
func (d *Daemon) compile() {
	s := d.settings
	d.want = intent.Compile(intent.Sources{
		Config: s.loaded.config, Passwords: s.loaded.passwords, Orders: s.orders, Leases: d.uplinks.leases, ByHand: d.pods.byHand,
	}, intent.Facts{
		Uplinks: d.uplinks.states, Ports: d.uplinks.portMACs(), Routers: d.uplinks.routers, LinkLocals: d.uplinks.linkLocals, Ways: d.uplinks.ways,
		Peers: d.sessions.peers, NextHops: d.routes.table.NextHops(nil), BFD: d.sessions.paths, Returning: d.sessions.returning(), Mute: d.sessions.mute(), Settled: d.sessions.settled,
	})
}

// step is one part's share of a round.
type step struct {
	name string
	do   func() error
}

// steps are a round, in order: what others stand on comes first.
func (d *Daemon) steps() []step {
	return []step{
		{"forwarding", func() error { return d.policies.forward(d.uplinks.kernel, d.want) }},
		{"policy", func() error { return d.policies.apply(d.want.Guard) }},
		{"uplinks", d.applyUplinks},
		{"tunnels", d.applyTunnels},
		{"settings", func() error { return d.settings.apply(d.want.Box) }},
		{"metrics", func() error { return d.exporter.apply(d.want.Metrics) }},
		{"pods", func() error {
			d.health.note(d.pods.store.Problem())
			d.runtime.SetNameServers(d.want.Box.NameServers)
			return d.pods.fit(d.want.Pods, d.tasks.start)
		}},
		{"sessions", d.applySessions},
		{"routes", d.applyRoutes},
	}
}

// round makes the box what it should be, once, and tells whether it changed any route.
// What goes wrong is a problem in the status; the next round tries again.
func (d *Daemon) round() bool {
	begin := time.Now()
	d.routes.work.Rounds++
	d.loop.enter("look")
	d.health.note(d.look())
	for _, s := range d.steps() {
		d.loop.enter(s.name)
		d.health.note(s.do())
	}
	if d.health.conclude() {
		d.settings.keep()
	}
	d.routes.work.Seconds += time.Since(begin).Seconds()
	d.exporter.Round(time.Since(begin))
	d.publish()
	return d.routes.changed
}

// look takes in what is new: the facts that the intent is made of. What peers have told
// is answered at once.
func (d *Daemon) look() error {
	d.sessions.listenBFD()
	read := since(&d.routes.work.Read)
	d.routes.learn(d.sessions.listen(d.want.Sessions))
	read()
	var answered error
	if !d.holding() {
		d.loop.enter("answer")
		answered = d.routes.answer()
	}
	err := d.uplinks.look(d.want, d.pods.records)
	d.compile()
	return errors.Join(answered, err)
}

// applyUplinks makes the links so; what they then are decides the rest.
func (d *Daemon) applyUplinks() error {
	d.uplinks.lease(d.want.Leases)
	changed, err := d.uplinks.apply(d.want)
	d.routes.linksChanged(d.uplinks.ownWork)
	d.health.repaired(time.Now(), slices.Concat(d.policies.mended, d.uplinks.mended)...)
	if changed {
		d.compile()
	}
	return err
}

func (d *Daemon) applyTunnels() error {
	err := d.tunnels.apply(d.want)
	d.routes.linksChanged(d.tunnels.ownWork)
	d.health.repaired(time.Now(), d.tunnels.mended...)
	return err
}

func (d *Daemon) applySessions() error {
	err := d.sessions.apply(d.want.Sessions, d.routes.retained)
	d.sessions.resetLost(d.lost())
	d.health.note(d.settings.loaded.missing)
	d.health.note(d.sessions.trouble.bfd)
	d.health.note(d.sessions.trouble.speaker)
	for _, c := range d.sessions.trouble.claims {
		d.health.note(errors.New(c.String()))
	}
	return err
}

// applyRoutes programs the routes, and removes tunnels that none leads to any more.
func (d *Daemon) applyRoutes() error {
	res, err := d.program()
	d.routes.changed = res.Changed()
	d.health.repaired(time.Now(), d.routes.mended...)
	for _, c := range d.routes.conflicting(d.want.Origin()) {
		d.health.note(errors.New(c))
	}
	if err != nil || d.holding() {
		return err
	}
	return d.tunnels.sweep(d.want)
}

// program plans the routes from what is known now and puts them into the kernel.
func (d *Daemon) program() (route.Result, error) {
	lost := d.lost()
	return d.routes.apply(d.want, surroundings{
		uplinks: d.uplinks.states, tunnels: d.tunnels.routes(), pods: d.pods.routes(),
		lost: lost, dead: d.tunnels.ends(lost), hold: d.holding(),
	})
}

// holding tells whether learned routes in the kernel are left alone for now.
func (d *Daemon) holding() bool { return !d.sessions.settled && d.want.Sessions.AS != 0 }

// lost are the peers that can not be reached.
func (d *Daemon) lost() []route.Lost {
	return d.sessions.lost(d.want.Sessions.ToRs, func(a netip.Addr) (string, time.Time) {
		i := d.want.UplinkOf(a)
		if i < 0 || i >= len(d.uplinks.states) || d.uplinks.states[i].Carrier {
			return "", time.Time{}
		}
		name := d.uplinks.states[i].Name
		return name, d.uplinks.dark[name]
	})
}

// failover answers a loss at once: the routes first, from what is known of BGP already,
// and then the sessions.
func (d *Daemon) failover(cause string) {
	d.loop.enter(cause)
	if _, err := d.program(); err != nil {
		d.opts.Log.Error("routes after "+cause, "err", err)
	}
	d.sessions.resetLost(d.lost())
}

// run is the one goroutine that decides and acts.
func (d *Daemon) run(ctx context.Context) error {
	for ctx.Err() == nil {
		begin := time.Now()
		if d.round() {
			d.loop.wake.Send() // What was done may change what can be done: look once more.
		}
		d.wait(ctx, time.Now().Add(pauseAfter(time.Since(begin))))
	}
	return ctx.Err()
}

// wait waits until there is something to look at, and at least until ready. Jobs are
// done meanwhile: they need no new look at the world. What BFD or a carrier has lost is
// answered at once.
func (d *Daemon) wait(ctx context.Context, ready time.Time) {
	var due, settle <-chan time.Time
	planned := d.routes.due()
	if !d.sessions.settled {
		settle = d.loop.settle.C
	}
	for {
		d.loop.rest()
		select {
		case <-ctx.Done():
			return
		case first := <-d.loop.jobs:
			d.serve(first)
			continue
		case <-d.sessions.bfd.Changed():
			d.loop.enter("news of BFD")
			if d.sessions.listenBFD() {
				d.failover("a loss by BFD")
			}
			return
		case <-d.loop.wake:
			if !d.events() {
				continue
			}
		case <-d.policies.touched:
			d.loop.enter("guard")
			if mended := d.policies.repair(); len(mended) > 0 {
				d.health.repaired(time.Now(), mended...)
				break
			}
			continue
		case <-d.loop.sentry.C:
			if !d.sentry() {
				continue
			}
		case <-d.uplinks.radv.Changed():
		case <-d.pods.store.Changed():
		case <-d.sessions.changed():
		case <-settle:
		case <-planned:
		case <-d.loop.repair.C:
			d.repair()
		case <-due:
			return
		}
		due = time.After(time.Until(ready))
	}
}

// serve does the jobs that wait, one after the other, and then writes the routes of all
// their pods to the kernel at once.
func (d *Daemon) serve(first *job) {
	d.loop.enter("requests")
	all := d.loop.waiting(first)
	errs := make([]error, len(all))
	routed := false
	for i, j := range all {
		errs[i] = j.do()
		routed = routed || j.settled != nil
	}
	var failed error
	if routed {
		_, failed = d.routes.applyPods(d.pods.routes())
	}
	for i, j := range all {
		if j.settled != nil && errs[i] == nil {
			errs[i] = j.settled(failed)
		}
	}
	d.publish() // Before the answer, so that who asks next sees it.
	for i, j := range all {
		j.done <- errs[i]
	}
}

// events answers what the kernel has told: a lost carrier at once, the rest is for the
// round that follows, if there is to be one, and for the sentry.
func (d *Daemon) events() (round bool) {
	d.loop.enter("events")
	seen, downs, gone := d.loop.events()
	own := func(a netip.Addr) bool { return a == d.want.Source || a == d.want.Source6 }
	// With an address go the routes that prefer it, and older kernels say no word of that.
	if seen[rtnl.WatchBegun] || seen[rtnl.OwnRoutesChanged] || slices.ContainsFunc(gone, own) {
		d.routes.distrust()
	}
	for _, what := range []rtnl.What{rtnl.WatchBegun, rtnl.LinksChanged, rtnl.AddressesChanged, rtnl.ConfChanged, rtnl.NeighboursChanged} {
		d.pods.suspect = d.pods.suspect || seen[what]
	}
	d.tunnels.suspect = d.tunnels.suspect || seen[rtnl.NeighboursChanged]
	if len(downs) > 0 { // Of a pod's link it can not wait: its addresses and neighbours are gone.
		d.pods.repair(d.tasks.start)
	}
	if len(seen) == 1 && seen[rtnl.NeighboursChanged] {
		return false // A bridge learns all the time.
	}
	if !seen[rtnl.WatchBegun] && !seen[rtnl.LinksChanged] && !seen[rtnl.NextHopsChanged] {
		return true
	}
	d.routes.fib.LinksChanged(downs...)
	if d.uplinks.carriers() {
		d.failover("a change of carrier")
	}
	return true
}

// sentry looks for what somebody else has changed and no event has told of, or one that may
// be about anything. It tells whether there is to be a round.
func (d *Daemon) sentry() (round bool) {
	d.loop.enter("sentry")
	if d.pods.suspect {
		d.pods.suspect = false
		d.pods.repair(d.tasks.start)
	}
	suspect := d.tunnels.suspect
	d.tunnels.suspect = false
	return len(d.uplinks.kernel.ChangedSysctls()) > 0 || suspect
}

// repair looks after what no event tells of.
func (d *Daemon) repair() {
	d.loop.enter("repair")
	d.health.repaired(time.Now(), d.policies.repair()...)
	d.pods.inside = true
	d.pods.repair(d.tasks.start)
	d.routes.repair()
}
