package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"netd/firmware/lab"
	"netd/netd/layout"
)

// Memory is what processes keep, in KiB, by role.
type Memory struct {
	Roles []Usage `json:"roles"`
	// Total is what the kernel manages, Available what it could still give out.
	Total     int `json:"total"`
	Available int `json:"available"`
}

// Usage is the sum over the processes of a role.
type Usage struct {
	Role      string `json:"role"`
	Processes int    `json:"processes"`
	RSS       int    `json:"rss"`
	Anon      int    `json:"anonymous"`
	PSS       int    `json:"pss"`
}

func (m Memory) sum() Usage {
	s := Usage{Role: "all"}
	for _, u := range m.Roles {
		s.Processes, s.RSS, s.Anon, s.PSS = s.Processes+u.Processes, s.RSS+u.RSS, s.Anon+u.Anon, s.PSS+u.PSS
	}
	return s
}

func (m Memory) role(name string) Usage {
	for _, u := range m.Roles {
		if u.Role == name {
			return u
		}
	}
	return Usage{Role: name}
}

// replicas gives the gateway a configuration with so many pods.
const replicas = `sed 's/^replicas = .*/replicas = %d/' ` + layout.FactoryFile + ` >` + layout.ConfigFile + ` && sync`

// memory boots the gateway without pods and looks, then gives it ten.
func (b *bench) memory(ctx context.Context) (idle, ten Memory, err error) {
	if _, err := b.gateway.Run(ctx, fmt.Sprintf(replicas, 0)); err != nil {
		return idle, ten, err
	}
	if err := b.gateway.PowerOff(ctx); err != nil {
		return idle, ten, err
	}
	if _, err := b.netdBoot(ctx); err != nil {
		return idle, ten, err
	}
	if err := b.ask(ctx, &idle, "memory"); err != nil {
		return idle, ten, err
	}
	if _, err := b.gateway.Run(ctx, fmt.Sprintf(replicas, 10)+" && pkill -TERM -xf '"+layout.Netd+" run --appliance'"); err != nil {
		return idle, ten, err
	}
	if err := lab.Until(ctx, "ten pods", b.tenRun); err != nil {
		return idle, ten, err
	}
	return idle, ten, b.ask(ctx, &ten, "memory")
}

func (b *bench) tenRun(ctx context.Context) error {
	out, err := b.gateway.Run(ctx, "netd status --json")
	if err != nil {
		return err
	}
	var s struct{ Pods struct{ Up, Total int } }
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return fmt.Errorf("netd status --json: %w\n%s", err, out)
	}
	if s.Pods.Up != 10 || s.Pods.Total != 10 {
		return errors.New(out)
	}
	return nil
}
