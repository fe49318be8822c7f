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
)

// The configuration changes while everything runs: the loop swaps what it is, and
// the next round makes the box so, by difference, as every round does. Sessions,
// pods and links that a change does not concern do not notice it. Files are read and
// written by whoever asks, before and after.

// change makes l the configuration while everything runs. What would end the agent
// at its start (a kernel that lacks the tunnel, say) is refused, and undone. It runs on
// the loop.
func (d *Daemon) change(l loaded) error {
	before := d.settings.loaded
	d.settings.take(l)
	d.compile()
	if err := d.begin(); err != nil {
		d.settings.take(before)
		d.compile()
		return errors.Join(fmt.Errorf("%w; nothing was changed", err), d.begin())
	}
	d.follow()
	return nil
}

// follow brings everything to the configuration that was just taken.
func (d *Daemon) follow() {
	d.compile()
	d.runtime.Set(d.want.Pods.Specs)
	if d.round() {
		d.loop.wake.Send()
	}
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
func (g gateway) Configure(_ context.Context, c api.Change) (api.Changed, error) {
	s := g.d.settings
	s.changing.Lock()
	defer s.changing.Unlock()
	return g.d.configure(g.d.tasks.ctx, c)
}

// now is what the loop has of the settings.
func (d *Daemon) now(ctx context.Context) (l loaded, t *trial, err error) {
	err = d.loop.do(ctx, func() error {
		l, t = d.settings.loaded, d.settings.trial
		return nil
	})
	return l, t, err
}

func (d *Daemon) configure(ctx context.Context, c api.Change) (api.Changed, error) {
	former, t, err := d.now(ctx)
	if err != nil {
		return api.Changed{}, err
	}
	before := former.config
	var warnings []config.Warning
	switch c.Do {
	case api.Confirm:
		err = d.confirm(ctx, t)
	case api.Rollback:
		err = d.rollBack(ctx, t, "by netd rollback")
	case api.Reload, api.Apply:
		var l loaded
		if l, warnings, err = d.settings.read(c); err != nil || c.DryRun {
			return changed(before, l, warnings), err
		}
		if t.same(c) {
			before = t.former.config // Asked for again, after a broken connection say.
			break
		}
		if t != nil {
			return api.Changed{}, t.busy()
		}
		err = d.replace(ctx, c, former, l)
	default:
		err = fmt.Errorf("do %q: expected reload, apply, confirm or rollback", c.Do)
	}
	if err != nil {
		return api.Changed{}, err
	}
	var done api.Changed
	err = d.loop.do(ctx, func() error {
		done = changed(before, d.settings.loaded, warnings)
		done.Trial, done.Problems = d.settings.trial.api(), d.problems()
		return nil
	})
	d.opts.Log.Info("configuration", "do", string(c.Do), "file", done.File, "changes", strings.Join(done.Changes, "; "))
	return done, err
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
func (s *settings) read(c api.Change) (loaded, []config.Warning, error) {
	l := loaded{file: c.File, data: []byte(c.Text), passing: true}
	var err error
	if c.Do == api.Reload && c.File == "" && c.Text == "" { // An empty file is one.
		l.file, l.passing = s.opts.files()[0], false
		if l.data, err = config.ReadFile(l.file); err != nil {
			return l, nil, fmt.Errorf("read the configuration: %w", err)
		}
	}
	var warnings []config.Warning
	if l.config, warnings, err = config.Parse(l.file, l.data, Identity(s.opts.Device)); err != nil {
		return l, nil, api.BadFile{Text: err.Error()}
	}
	l.passwords, l.missing = s.opts.readPasswords(l.config)
	return l, warnings, nil
}

// replace changes to a file that was found good, and makes it the active one if it is
// applied for good. The change comes first: what is refused is not written.
func (d *Daemon) replace(ctx context.Context, c api.Change, former, l loaded) error {
	swap := func(l loaded) error { return d.loop.do(ctx, func() error { return d.change(l) }) }
	switch {
	case c.Do == api.Reload:
		return swap(l)
	case c.Confirm != 0:
		return d.try(ctx, former, l, c.Confirm)
	}
	l.file, l.passing = d.opts.activeFile(), false
	if err := swap(l); err != nil {
		return err
	}
	if err := replaceFile(l.file, l.data, 0o600); err != nil {
		return errors.Join(fmt.Errorf("write the active configuration: %w; the former one is in use", err), swap(former))
	}
	return d.loop.do(ctx, func() error {
		d.settings.trialEnded = ""
		return nil
	})
}
