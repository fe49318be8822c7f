package daemon

import (
	"fmt"
	"os"
	"path/filepath"

	"netd/netd/internal/bgp"
)

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
	socket := filepath.Join(d.opts.RunDir, "bgp", "bgp.sock")
	return bgp.New(bgp.Options{
		Program: program, Args: []string{"bgp", "--socket", socket}, Socket: socket, Log: d.opts.Log,
	}, c, d.origins(), restarting), nil
}
