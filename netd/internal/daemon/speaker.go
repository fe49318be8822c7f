package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"netd/netd/internal/bgp"
	"netd/netd/internal/rib"
)

// ChildSocket is where a role that is a child of the agent serves it.
func ChildSocket(runDir, role string) string { return filepath.Join(runDir, role, role+".sock") }

// newSpeaker makes the speaker; it is not started yet.
func (d *Daemon) newSpeaker(restarting bool) (*bgp.Speaker, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	c, err := d.speakerConfig()
	if err != nil {
		d.opts.Log.Error("peers", "err", err)
	}
	socket := ChildSocket(d.opts.RunDir, "bgp")
	return bgp.New(bgp.Options{
		Program: program, Args: []string{"bgp", "--socket", socket}, Socket: socket, Log: d.opts.Log,
	}, bgp.Wanted{Config: c, Origins: d.origins()}, restarting), nil
}

// heard is what the speaker has told so far. While it is away it stays in use.
type heard struct {
	Started time.Time
	Peers   []bgp.PeerState
	Settled bool
	Paths   map[netip.Prefix]*rib.Paths
}

// take adds what is new.
func (h *heard) take(n bgp.News) {
	h.Started, h.Settled = n.Started, n.Settled
	if n.Peers != nil {
		h.Peers = n.Peers
	}
	if n.Paths.Whole || h.Paths == nil {
		h.Paths = make(map[netip.Prefix]*rib.Paths, len(n.Paths.Entries))
	}
	for _, e := range n.Paths.Entries {
		if h.Paths[e.Prefix] = e.Paths; e.Paths == nil {
			delete(h.Paths, e.Prefix)
		}
	}
}

// converse tells the speaker what to do and takes in what it knows; neither waits.
func (d *Daemon) converse() error {
	err := errors.Join(d.speak(), d.listen())
	d.resetLost()
	return err
}
