package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"netd/netd/config"
	"netd/netd/internal/bgp"
	"netd/netd/internal/link"
	"netd/netd/internal/route"
)

// reconcile makes the box what it should be, once, and tells whether it changed
// any route. What goes wrong is a problem in the status, logged when it begins
// and when it is over; the next round tries again.
func (d *Daemon) reconcile(ctx context.Context) bool {
	begin := time.Now()
	defer func() { d.metrics.Round(time.Since(begin)) }()
	d.work.Rounds++
	counted := since(&d.work.Seconds)
	var errs []error
	errs = append(errs, d.forward())
	errs = append(errs, d.followGuard())
	errs = append(errs, d.applyLinks())
	d.followLeases()
	errs = append(errs, d.followMetrics())
	errs = append(errs, d.fitPods())
	d.findRouters()
	errs = append(errs, d.watchPaths())
	errs = append(errs, d.followAnnounces())
	errs = append(errs, d.converse())
	d.fib.Distrust()
	res, err := d.program()
	if err == nil {
		err = d.sweepTunnels()
	}
	errs = append(errs, err)
	if errors.Join(errs...) == nil && !d.kept {
		err := d.opts.keepAsLastGood(d.loaded)
		d.kept = err == nil
		errs = append(errs, err)
	}
	d.report(errs)
	counted()
	d.publish()
	return res.Changed()
}

// since adds the seconds between its call and that of the function that it returns.
func since(sum *float64) func() {
	begin := time.Now()
	return func() { *sum += time.Since(begin).Seconds() }
}

// report logs problems that are new and those that are gone.
func (d *Daemon) report(errs []error) {
	var now []string
	for _, err := range errs {
		if err != nil {
			now = append(now, err.Error())
		}
	}
	for _, p := range now {
		if !slices.Contains(d.problems, p) {
			d.opts.Log.Error("problem", "err", p)
		}
	}
	for _, p := range d.problems {
		if !slices.Contains(now, p) {
			d.opts.Log.Info("problem is over", "was", p)
		}
	}
	d.problems = now
}

// applyLinks makes uplinks and tunnel so. An uplink without its link or lease is
// in its State; the error is for what stops everything.
func (d *Daemon) applyLinks() error {
	states, err := link.Apply(d.kernel, d.wantedUplinks(), d.leases, d.config.Gateway.Addresses)
	if err != nil {
		return err
	}
	d.noteCarriers(states)
	d.uplinks = states
	d.source, d.source6 = d.ownAddress(netip.Addr.Is4), d.ownAddress(netip.Addr.Is6)
	return d.applyTunnels()
}

// podMTU leaves room for the tunnels where one may be used.
func (d *Daemon) podMTU() int { return d.tunnelNeed().PodMTU() }

// speak starts the speaker once this gateway has an address, and tells it what
// we originate.
func (d *Daemon) speak() error {
	if d.config.BGP.AS == 0 || !d.source.IsValid() && !d.source6.IsValid() {
		return nil
	}
	if d.speaker == nil && d.awaitRouters() {
		return nil
	}
	if d.speaker == nil {
		if err := d.startSpeaker(); err != nil {
			return err
		}
	}
	c, err := d.speakerConfig() // another address came by DHCP, say
	d.speaker.Set(bgp.Wanted{Config: c, Origins: d.origins()})
	return err
}

func (d *Daemon) startSpeaker() error {
	// Routes of ours in the kernel are those of an earlier life: they carried
	// on, and the peers may be told so (RFC 4724, the F bit).
	kept, err := d.kernel.Routes(route.Protocol)
	if err != nil {
		return err
	}
	s, err := d.newSpeaker(len(kept) > 0)
	if err != nil {
		return err
	}
	d.speaker = s
	d.start(s.Run)
	return nil
}

// listen takes in what the speaker knows. While it is away the last stays in use.
func (d *Daemon) listen() error {
	if d.speaker == nil {
		return nil
	}
	read := since(&d.work.Read)
	news := d.speaker.Take()
	read()
	if news.Away || news.Started != d.snapshot.Started {
		d.settled = false
	}
	if news.Away {
		return news.Problem
	}
	if news.Peers != nil {
		d.logPeers(d.snapshot.Peers, news.Peers)
		d.countFlaps(d.snapshot.Peers, news.Peers)
	}
	d.snapshot.take(news)
	d.table.Learn(news.Paths)
	switch {
	case !d.snapshot.Settled || len(d.unheard()) > 0:
		d.toldAll = time.Time{}
	case d.toldAll.IsZero():
		d.toldAll = time.Now()
	}
	all := !d.toldAll.IsZero() && time.Since(d.toldAll) > settlePause
	if !d.settled && (all || time.Since(d.snapshot.Started) > settleDeadline) {
		d.settled = true
		d.opts.Log.Info("peers have told what they know", "all", all)
	}
	return news.Problem
}

func (d *Daemon) logPeers(before, now []bgp.PeerState) {
	for _, p := range now {
		i := slices.IndexFunc(before, func(b bgp.PeerState) bool { return b.Name == p.Name })
		was := i >= 0 && before[i].Established()
		switch {
		case p.Established() && !was:
			d.opts.Log.Info("peer established", "peer", p.Name, "address", p.Address, "as", p.AS)
		case !p.Established() && was:
			d.opts.Log.Warn("peer lost", "peer", p.Name, "address", p.Address, "reason", p.Reason)
		}
		if p.Warning != "" && (i < 0 || before[i].Warning == "") {
			d.opts.Log.Warn("peer", "peer", p.Name, "address", p.Address, "warning", p.Warning)
		}
	}
}

// program plans the routes from what is known now and puts them into the kernel.
func (d *Daemon) program() (route.Result, error) {
	facts, err := d.facts()
	if err != nil {
		return route.Result{}, err
	}
	planned := since(&d.work.Plan)
	delta := d.table.Plan(facts)
	planned()
	defer since(&d.work.Apply)()
	res, err := d.fib.Apply(delta, route.Options{Hold: d.holding(), Lost: d.lostHops(facts.Down)})
	d.countRoutes(res)
	if res.Changed() {
		d.opts.Log.Info("routes", "added", res.Added, "replaced", res.Replaced, "moved", res.Moved, "deleted", res.Deleted, "held", res.Held, "refused", res.Refused)
	}
	return res, err
}

// facts gathers what the plan looks at.
func (d *Daemon) facts() (route.Facts, error) {
	f := route.Facts{
		Blocks: d.blocks(), Announced: d.announced.rest, Gateways: map[netip.Addr]string{}, Hops: map[netip.Addr]route.Hop{},
		Source: d.source, Source6: d.source6, Tunnels: d.routeTunnels(),
	}
	for _, p := range d.config.Pools {
		mode, ok := map[config.Encapsulation]route.Mode{
			config.EncapsulateNever: route.Never, config.EncapsulateCrossSubnet: route.CrossSubnet, config.EncapsulateAlways: route.Always,
		}[p.Encapsulation]
		if !ok {
			return f, fmt.Errorf("pool %s: no routes are known for encapsulation %q", p.Name, p.Encapsulation)
		}
		f.Pools = append(f.Pools, route.Pool{Prefix: p.Prefix, Mode: mode})
	}
	f.Down = d.lost()
	for _, p := range d.podNets {
		for _, a := range p.Addresses {
			f.Pods = append(f.Pods, route.LocalPod{Name: p.Name, Address: a, Link: p.Link})
		}
	}
	for _, g := range d.config.BGP.GatewayPeers {
		f.Gateways[g.Address], f.Gateways[g.Other] = g.Name, g.Name
	}
	delete(f.Gateways, netip.Addr{})
	f.Peers = d.knownGateways()
	for _, p := range d.peers() {
		f.Peers = append(f.Peers, p.Address)
	}
	for _, r := range d.gatewayRanges() {
		f.Ranges = append(f.Ranges, route.Range{Name: r.Name, Prefix: r.Prefix})
	}
	for _, u := range d.uplinks {
		for _, r := range []netip.Addr{u.Router, u.Router6} {
			if r.IsValid() {
				f.Routers = append(f.Routers, route.Router{Uplink: u.Name, Address: r})
			}
		}
	}
	return f, d.lookUpHops(&f)
}
