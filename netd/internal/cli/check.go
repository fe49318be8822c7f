package cli

import (
	"context"
	"errors"
	"fmt"

	"netd/netd/config"
)

// check reads files as the gateway would. A bad one does not keep the others
// from being checked.
func check(_ context.Context, c *call) error {
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
	bad := 0
	for _, file := range c.args {
		devices, err := checkFile(file, *device)
		if err != nil {
			bad++
			fmt.Fprintln(c.Err, err)
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
		if !*verbose {
			fmt.Fprintf(c.Out, "%s: good\n", file)
		}
	}
	switch {
	case bad == 0:
		return nil
	case len(c.args) == 1:
		return errors.New("the file is bad; nothing was touched")
	}
	return fmt.Errorf("%d of %d files are bad; nothing was touched", bad, len(c.args))
}

func checkFile(file, device string) ([]config.Device, error) {
	data, err := config.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if device == "" {
		return config.ParseAll(file, data)
	}
	cfg, warnings, err := config.Parse(file, data, config.Identity{Name: device})
	return []config.Device{{Label: device, Config: cfg, Warnings: warnings}}, err
}
