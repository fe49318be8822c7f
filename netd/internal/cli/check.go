package cli

import (
	"context"
	"errors"
	"fmt"

	"netd/netd/config"
)

// check reads files as the gateway would. A bad one does not keep the others
// from being checked.
func check(ctx context.Context, c *call) error {
	verbose := c.flags.Bool("v", false, "print what is in effect, as TOML")
	device := c.flags.String("device", "", "check for this device only")
	if err := c.parse(1, 1<<10); err != nil {
		return err
	}
	if *device != "" {
		if err := config.CheckName(*device); err != nil {
			return err
		}
	}
	bad, wrong := 0, 0
	var last error
	for _, file := range c.args {
		devices, err := c.checkFile(ctx, file, *device)
		if ctx.Err() != nil {
			return errInterrupted
		}
		if err != nil {
			var errs config.Errors
			errors.As(err, &errs)
			bad, wrong, last = bad+1, len(errs), err
			if len(errs) > 0 || len(c.args) > 1 {
				fmt.Fprintln(c.Err, err)
			}
			continue
		}
		for _, d := range devices {
			for _, w := range d.Warnings {
				fmt.Fprintln(c.Err, "warning:", w)
			}
			if *verbose {
				name := file
				if d.Label != "" {
					name += ", device " + d.Label
				}
				fmt.Fprintf(c.Out, "# %s\n%s\n", name, d.Config.TOML())
			}
		}
		c.warnOfPassword(file, devices)
		if !*verbose {
			fmt.Fprintf(c.Out, "%s: good\n", file)
		}
	}
	switch {
	case bad == 0:
		return nil
	case len(c.args) > 1 && bad == 1:
		return fmt.Errorf("1 of %d files is bad", len(c.args))
	case len(c.args) > 1:
		return fmt.Errorf("%d of %d files are bad", bad, len(c.args))
	case wrong == 0:
		return last // which has not been printed yet
	case wrong == 1:
		return fmt.Errorf("1 error in %s", c.args[0])
	}
	return fmt.Errorf("%d errors in %s", wrong, c.args[0])
}

func (c *call) checkFile(ctx context.Context, file, device string) ([]config.Device, error) {
	data, err := c.read(ctx, file)
	if err != nil {
		return nil, err
	}
	if device == "" {
		return config.ParseAll(file, data)
	}
	cfg, warnings, err := config.Parse(file, data, config.Identity{Name: device})
	return []config.Device{{Label: device, Config: cfg, Warnings: warnings}}, err
}

var errInterrupted = errors.New("interrupted")

// read reads a configuration file, or standard input, which may come from a person who
// thinks about it, or never end.
func (c *call) read(ctx context.Context, file string) ([]byte, error) {
	if file != "-" {
		return config.ReadFile(file)
	}
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := config.Read(c.In, file)
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		return r.data, r.err
	case <-ctx.Done():
		return nil, errInterrupted
	}
}

// warnOfPassword is for the file of an image; an agent has nothing to say about it.
func (c *call) warnOfPassword(file string, devices []config.Device) {
	for _, d := range devices {
		if d.Config.Management.ConsolePassword == "" {
			fmt.Fprintf(c.Err, "warning: %s: management.console-password: no console-password: make image makes one up and prints it once; "+
				"\"openssl passwd -6\" makes one for the file, and \"none\" says that nobody is to log in\n", file)
			return
		}
	}
}
