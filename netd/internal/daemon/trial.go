package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"netd/netd/internal/api"
)

// A configuration that is applied with --confirm is on trial: it is in use, but
// the active file is still the former one. So whatever happens before netd confirm
// (a power cut, a crash of the agent, an upgrade), the next start is with the
// former configuration, and what the trial left in the kernel is swept as anything
// that nobody wants. Nothing has to be undone, and no deadline has to survive.
// The file on trial lies beside the active one, in whose place netd confirm puts
// it by one rename. One that was not confirmed is kept as rejected, to look at.

const (
	trialSuffix    = ".trial"
	rejectedSuffix = ".rejected"
	// leastConfirm and mostConfirm bound the time for netd confirm.
	leastConfirm, mostConfirm = time.Second, 24 * time.Hour
)

// trial is a configuration in use that nobody has confirmed yet.
type trial struct {
	file   string // as the operator calls it
	data   []byte
	former loaded
	until  time.Time
	end    *time.Timer
}

// api is the trial as it is shown.
func (t *trial) api() *api.Trial {
	if t == nil {
		return nil
	}
	return &api.Trial{File: t.file, Until: t.until}
}

// busy is the refusal of another change while a trial runs.
func (t *trial) busy() error {
	left := max(time.Until(t.until), 0).Round(time.Second)
	return fmt.Errorf("%s is on trial for another %s: expected netd confirm or netd rollback first", t.file, left)
}

// same tells whether a change asks for what is on trial already.
func (t *trial) same(c api.Change) bool {
	return t != nil && c.Do == api.Apply && c.Confirm != 0 && c.Text == string(t.data)
}

// try puts a configuration on trial.
func (d *Daemon) try(ctx context.Context, former, l loaded, confirm time.Duration) error {
	if confirm < leastConfirm || confirm > mostConfirm {
		return fmt.Errorf("time for netd confirm: %s: expected %s to 24h, e.g. 5m", confirm, leastConfirm)
	}
	if err := replaceFile(d.opts.activeFile()+trialSuffix, l.data, 0o600); err != nil {
		return fmt.Errorf("write the configuration on trial: %w; nothing was changed", err)
	}
	t := &trial{file: l.file, data: l.data, former: former, until: time.Now().Add(confirm)}
	err := d.loop.do(ctx, func() error {
		if err := d.change(l); err != nil {
			return err
		}
		t.end = time.AfterFunc(confirm, func() { d.expire(ctx, t) })
		d.settings.trial, d.settings.trialEnded = t, ""
		return nil
	})
	if err != nil {
		return errors.Join(err, d.opts.reject())
	}
	d.opts.Log.Info("a configuration is on trial", "file", l.file, "confirm_within", confirm)
	return nil
}

// expire ends a trial whose time is over.
func (d *Daemon) expire(ctx context.Context, t *trial) {
	d.settings.changing.Lock()
	defer d.settings.changing.Unlock()
	_, runs, err := d.now(ctx)
	if err == nil && runs == t { // It may have been confirmed at the last moment.
		err = d.rollBack(ctx, t, "nobody confirmed it in time")
	}
	if err != nil && ctx.Err() == nil {
		d.opts.Log.Error("configuration", "err", err)
	}
}

// confirm makes the file on trial the active one.
func (d *Daemon) confirm(ctx context.Context, t *trial) error {
	if t == nil {
		if ended := d.board.view().status.TrialEnded; ended != "" {
			return fmt.Errorf("nothing waits for a confirmation: %s", ended)
		}
		return nil // It was confirmed before, say by one whose connection broke.
	}
	active := d.opts.activeFile()
	if err := rename(active+trialSuffix, active); err != nil {
		return fmt.Errorf("make the configuration on trial the active one: %w", err)
	}
	t.end.Stop()
	d.opts.Log.Info("the configuration on trial is confirmed", "file", t.file)
	return d.loop.do(ctx, func() error {
		s := d.settings
		s.trial = nil
		s.loaded.file, s.loaded.passing, s.lastGood = active, false, false
		d.round() // It is kept as the last good one.
		return nil
	})
}

// rollBack ends the trial for the reason; the former configuration comes back.
func (d *Daemon) rollBack(ctx context.Context, t *trial, reason string) error {
	if t == nil {
		return errors.New("nothing is on trial: there is nothing to come back from")
	}
	t.end.Stop()
	err := d.loop.do(ctx, func() error {
		d.settings.trial = nil
		d.settings.trialEnded = fmt.Sprintf("%s was rolled back: %s", t.file, reason)
		d.opts.Log.Warn("the configuration on trial is rolled back", "file", t.file, "reason", reason)
		d.settings.take(t.former)
		d.follow()
		return nil
	})
	return errors.Join(err, d.opts.reject())
}

// reject puts the file on trial aside.
func (o Options) reject() error {
	active := o.activeFile()
	err := rename(active+trialSuffix, active+rejectedSuffix)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("put the configuration on trial aside: %w", err)
	}
	return nil
}

// tidy ends what an earlier life did not come to the end of: a trial, which is
// reported, and files that were being written.
func (o Options) tidy() (ended string) {
	active := o.activeFile()
	if _, err := os.Stat(active + trialSuffix); err == nil {
		ended = active + rejectedSuffix + " was rolled back: the agent was restarted before netd confirm"
		o.Log.Warn("the configuration that was on trial is rolled back", "reason", ended)
		if err := o.reject(); err != nil {
			o.Log.Error("configuration", "err", err)
		}
	}
	for _, pattern := range []string{active + newSuffix, active + trialSuffix + newSuffix, o.lastGood() + newSuffix} {
		left, _ := filepath.Glob(pattern)
		for _, file := range left {
			_ = os.Remove(file) // It is only in the way.
		}
	}
	return ended
}
