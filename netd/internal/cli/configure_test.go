package cli_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"netd/netd/internal/api"
)

// Configure answers by what the file is called; times are never.
func (gateway) Configure(_ context.Context, c api.Change) (api.Changed, error) {
	done := api.Changed{File: "/data/netd/netd.toml", Changes: []string{"bgp.peer[tor1].as: 65001 -> 65002", `- uplink[uplink0].router: "10.0.1.1"`}}
	switch filepath.Base(c.File) {
	case "unknown-key.toml":
		return api.Changed{}, api.BadFile{Text: "x.toml:2:1: gatway: unknown key: expected gateway\nx.toml:4:1: as: missing"}
	case "dhcp.toml":
		return api.Changed{}, errors.New("/root/x.toml is on trial for another 2m0s: expected netd confirm or netd rollback first")
	case "lab.toml":
		done.Warnings, done.Problems = []string{"lab.toml:3:1: as: 65001: nobody"}, []string{"uplink uplink1: there is no link named eth1"}
	}
	switch {
	case c.Do == api.Confirm || c.Do == api.Rollback:
		done.Changes = nil
	case c.Confirm != 0:
		done.Trial = &api.Trial{File: c.File}
	}
	return done, nil
}

func (gateway) Order(_ context.Context, o api.Order) error {
	if o.Peer == "tor9" {
		return errors.New("no peer tor9: expected one of tor1")
	}
	if o.Message == "?" {
		return fmt.Errorf("got %+v", o)
	}
	return nil
}

func TestConfigure(t *testing.T) {
	const dir = "../../../configs/"
	socket := serve(t)
	var got strings.Builder
	for _, args := range [][]string{
		{"reload"},
		{"reload", dir + "examples/single.toml"},
		{"reload", "--dry-run"},
		{"apply", "--confirm", "5m", dir + "examples/single.toml"},
		{"apply", dir + "examples/single.toml", "--dry-run"},
		{"apply", dir + "testdata/unknown-key.toml"},
		{"apply", dir + "examples/dhcp.toml"},
		{"apply", dir + "examples/lab.toml"},
		{"apply", dir + "none.toml"},
		{"apply"},
		{"apply", "--confirm", "soon", "x"},
		{"apply", "--confirm", "5", "x"},
		{"drain"},
		{"drain", "--undo"},
		{"drain", "tor1"},
		{"peer", "down", "tor1", "--message", "moving"},
		{"peer", "up", "tor1"},
		{"peer", "down", "tor9"},
		{"peer", "off", "tor1"},
		{"peer", "down", "tor1", "--message", "?"},
		{"confirm"},
		{"confirm", "x"},
		{"rollback"},
		{"reload", "--json"},
	} {
		got.WriteString(transcript(t, socket, args...))
	}
	golden(t, "configure", strings.ReplaceAll(got.String(), socket, "SOCKET"))
}
