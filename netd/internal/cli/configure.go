package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"netd/netd/internal/api"
)

func reload(ctx context.Context, c *call) error {
	change := api.Change{Do: api.Reload}
	c.flags.BoolVar(&change.DryRun, "dry-run", false, "print what would change, and touch nothing")
	if err := c.parse(0, 1); err != nil {
		return err
	}
	return c.configure(ctx, change)
}

func apply(ctx context.Context, c *call) error {
	change := api.Change{Do: api.Apply}
	c.flags.BoolVar(&change.DryRun, "dry-run", false, "print what would change, and touch nothing")
	c.flags.Func("confirm", "go back by itself after this `time` (1s to 24h) without netd confirm", func(s string) (err error) {
		if change.Confirm, err = time.ParseDuration(s); err != nil {
			return errors.New("expected a number with its unit, e.g. 5m")
		}
		return nil
	})
	if err := c.parse(1, 1); err != nil {
		return err
	}
	return c.configure(ctx, change)
}

func confirm(ctx context.Context, c *call) error {
	if err := c.parse(0, 0); err != nil {
		return err
	}
	return c.configure(ctx, api.Change{Do: api.Confirm})
}

func rollback(ctx context.Context, c *call) error {
	if err := c.parse(0, 0); err != nil {
		return err
	}
	return c.configure(ctx, api.Change{Do: api.Rollback})
}

// configure reads the file that is named, if any, asks for the change and prints what
// came of it.
func (c *call) configure(ctx context.Context, change api.Change) error {
	if len(c.args) == 1 {
		text, err := c.read(ctx, c.args[0])
		if err != nil {
			return err
		}
		change.Text, change.File = string(text), c.args[0]
		if c.args[0] == "-" {
			change.File = "standard input"
		} else if abs, err := filepath.Abs(c.args[0]); err == nil {
			change.File = abs
		}
	}
	done, err := c.agent.Configure(ctx, change)
	var bad api.BadFile
	if errors.As(err, &bad) {
		fmt.Fprintln(c.Err, bad.Text)
		return errors.New("the file is bad; nothing was touched")
	}
	if err != nil {
		return err
	}
	if err := c.show(done, func() { printChanged(c.Out, c.Err, done, change) }); err != nil {
		return err
	}
	if len(done.Problems) > 0 {
		return errors.New("done, but not everything works yet: netd status says what")
	}
	return nil
}

func printChanged(out, errs io.Writer, done api.Changed, change api.Change) {
	for _, w := range done.Warnings {
		fmt.Fprintln(errs, "warning:", w)
	}
	for _, line := range done.Changes {
		fmt.Fprintln(out, line)
	}
	if len(done.Changes) == 0 {
		fmt.Fprintln(out, "no value has changed")
	}
	for _, p := range done.Problems {
		fmt.Fprintln(errs, "PROBLEM ", p)
	}
	switch {
	case change.DryRun:
		fmt.Fprintln(out, "nothing was touched")
	case done.Trial != nil:
		fmt.Fprintf(out, "on trial for %s: netd confirm keeps it; without that the former configuration comes back\n", left(*done.Trial))
	default:
		fmt.Fprintf(out, "in use: %s\n", done.File)
	}
}

func left(t api.Trial) string {
	return max(time.Until(t.Until), 0).Round(time.Second).String()
}
