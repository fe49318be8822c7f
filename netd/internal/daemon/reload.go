package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"netd/netd/config"
	"netd/netd/internal/api"
	"netd/netd/internal/link"
)

// The configuration changes while everything runs: the loop swaps what it is, and
// the next round makes the box so, by difference, as every round does. Sessions,
// pods and links that a change does not concern do not notice it.

// take makes l the configuration. Every round compares the box with it; what does not
// is up to follow.
func (d *Daemon) take(l loaded) {
	d.loaded, d.config, d.kept = l, l.config, l.passing
}

// change makes l the configuration while everything runs. What would end the agent
// at its start (a kernel that lacks the tunnel, say) is refused, and undone.
func (d *Daemon) change(ctx context.Context, l loaded) error {
	before := d.loaded
	d.take(l)
	if err := d.applyLinks(); err != nil {
		d.take(before)
		return errors.Join(fmt.Errorf("%w; nothing was changed", err), d.applyLinks())
	}
	d.follow(ctx)
	return nil
}

// follow brings everything to the configuration that was just taken.
func (d *Daemon) follow(ctx context.Context) {
	d.runtime.Set(d.specs())
	if d.opts.Appliance {
		d.becomeBox()
	}
	if d.reconcile(ctx) {
		d.poke()
	}
}

// leasing is the task that keeps one uplink's lease.
type leasing struct {
	match string // which link it is
	stop  context.CancelFunc
}

// followLeases starts and stops the tasks that ask for leases.
func (d *Daemon) followLeases() {
	wanted := map[string]string{}
	for _, u := range d.config.Uplinks {
		if u.DHCP {
			wanted[u.Name] = fmt.Sprint(u.Match)
		}
	}
	for name, l := range d.leasing {
		if match, ok := wanted[name]; !ok || match != l.match {
			l.stop()
			delete(d.leasing, name)
			delete(d.leases, name)
			d.writeResolvConf()
		}
	}
	for name, match := range wanted {
		if _, runs := d.leasing[name]; !runs {
			stop := d.start(func(ctx context.Context) error { return d.lease(ctx, name) })
			d.leasing[name] = leasing{match, stop}
		}
	}
}

func (d *Daemon) lease(ctx context.Context, uplink string) error {
	return link.RunDHCP(ctx, uplink, d.opts.Log, func(l link.Lease) {
		_ = d.do(ctx, func() error { // Only the end of ctx is an error here.
			if ctx.Err() == nil {
				d.leases[uplink] = l
				d.writeResolvConf()
			}
			return nil
		})
		d.poke()
	})
}

// hangups reloads at each SIGHUP.
func (d *Daemon) hangups(ctx context.Context) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-signals:
			if _, err := (gateway{d}).Configure(ctx, api.Change{Do: api.Reload}); err != nil && ctx.Err() == nil {
				d.opts.Log.Error("reload", "err", err)
			}
		}
	}
}

// Configure does what a person asks for about the configuration. It is done to its
// end also when that person's connection breaks meanwhile.
func (g gateway) Configure(ctx context.Context, c api.Change) (api.Changed, error) {
	var done api.Changed
	err := g.d.do(ctx, func() (err error) {
		done, err = g.d.configure(context.WithoutCancel(ctx), c)
		return err
	})
	return done, err
}

func (d *Daemon) configure(ctx context.Context, c api.Change) (api.Changed, error) {
	before := d.config
	var warnings []config.Warning
	var err error
	switch c.Do {
	case api.Confirm:
		err = d.confirm(ctx)
	case api.Rollback:
		err = d.rollBack(ctx, "by netd rollback")
	case api.Reload, api.Apply:
		var l loaded
		if l, warnings, err = d.read(c); err != nil || c.DryRun {
			return changed(before, l, warnings), err
		}
		if d.trial.same(c) {
			before = d.trial.former.config // Asked for again, after a broken connection say.
			break
		}
		err = d.replace(ctx, c, l)
	default:
		err = fmt.Errorf("do %q: expected reload, apply, confirm or rollback", c.Do)
	}
	if err != nil {
		return api.Changed{}, err
	}
	done := changed(before, d.loaded, warnings)
	done.Trial, done.Problems = d.trial.api(), d.allProblems()
	d.opts.Log.Info("configuration", "do", string(c.Do), "file", done.File, "changes", strings.Join(done.Changes, "; "))
	return done, nil
}

func changed(before *config.Config, l loaded, warnings []config.Warning) api.Changed {
	if l.config == nil {
		return api.Changed{}
	}
	done := api.Changed{File: l.file, Changes: config.Diff(before, l.config)}
	for _, w := range warnings {
		done.Warnings = append(done.Warnings, w.String())
	}
	return done
}

// read reads the file that is to be reloaded or applied.
func (d *Daemon) read(c api.Change) (loaded, []config.Warning, error) {
	l := loaded{file: c.File, data: []byte(c.Text), passing: true}
	var err error
	if c.Do == api.Reload && c.Text == "" {
		l.file, l.passing = d.opts.files()[0], false
		if l.data, err = config.ReadFile(l.file); err != nil {
			return l, nil, fmt.Errorf("read the configuration: %w", err)
		}
	}
	var warnings []config.Warning
	if l.config, warnings, err = config.Parse(l.file, l.data, Identity(d.opts.Device)); err != nil {
		return l, nil, api.BadFile{Text: err.Error()}
	}
	return l, warnings, nil
}

// replace changes to a file that was found good, and makes it the active one if it is
// applied for good. The change comes first: what is refused is not written.
func (d *Daemon) replace(ctx context.Context, c api.Change, l loaded) error {
	switch {
	case d.trial != nil:
		return d.trial.busy()
	case c.Do == api.Reload:
		return d.change(ctx, l)
	case c.Confirm != 0:
		return d.try(ctx, l, c.Confirm)
	}
	former := d.loaded
	l.file, l.passing = d.opts.activeFile(), false
	if err := d.change(ctx, l); err != nil {
		return err
	}
	d.trialEnded = ""
	if err := replaceFile(l.file, l.data, 0o600); err != nil {
		d.take(former)
		d.follow(ctx)
		return fmt.Errorf("write the active configuration: %w; the former one is in use", err)
	}
	return nil
}
