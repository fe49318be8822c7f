package daemon

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"netd/netd/config"
	"netd/netd/internal/bgp"
)

// newSpeaker makes the speaker; it is not started yet.
func (d *Daemon) newSpeaker(restarting bool) (*bgp.Speaker, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	socket := filepath.Join(d.opts.RunDir, "bgp", "bgp.sock")
	return bgp.New(bgp.Options{
		Program: program, Args: []string{"bgp", "--socket", socket}, Socket: socket, Log: d.opts.Log,
	}, d.speakerConfig(), d.blocks(), restarting), nil
}

// speakerConfig translates the configuration for package bgp; it depends on the
// uplinks' addresses too.
func (d *Daemon) speakerConfig() bgp.Config {
	b := d.config.BGP
	c := bgp.Config{
		AS: b.AS, RouterID: b.RouterID, Port: b.Port,
		HoldTime: b.HoldTime, ConnectRetry: b.ConnectRetry, RestartTime: b.RestartTime,
	}
	if !c.RouterID.IsValid() {
		c.RouterID = d.source
	}
	for _, p := range d.config.Pools {
		c.Pools = append(c.Pools, p.Prefix)
	}
	for _, p := range b.Peers {
		c.Peers = append(c.Peers, d.peer(p, false))
	}
	for _, p := range b.GatewayPeers {
		c.Peers = append(c.Peers, d.peer(p, true))
	}
	return c
}

func (d *Daemon) peer(p config.Peer, gateway bool) bgp.Peer {
	return bgp.Peer{
		Name: p.Name, Address: p.Address, AS: p.AS, Gateway: gateway, MaxPrefixes: p.MaxPrefixes,
		Local: d.localFor(p.Address),
	}
}

// localFor is the own address to talk to a peer from: the one on its subnet, or
// else the gateway's. It is fixed, so that no tunnel and no pod address is ever
// used by accident.
func (d *Daemon) localFor(peer netip.Addr) netip.Addr {
	for _, a := range d.addresses() {
		if a.Contains(peer) {
			return a.Addr()
		}
	}
	return d.source
}
