package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"netd/netd/config"
	"netd/netd/internal/bgp"
)

// secrets are the passwords of the configuration's files, read once for each
// configuration: a file that changes counts from the next reload on.
type secrets struct {
	of       *config.Config
	password map[string]string // by file; a file that can not be read has none
	errs     []error
}

// peers are the configuration's ToRs and reflectors that have an address: one that is
// known by its link alone has it from there.
func (d *Daemon) peers() []config.Peer {
	peers := slices.Clone(d.config.BGP.Peers)
	for i, p := range peers {
		if p.Interface != "" {
			peers[i].Address = d.routers[p.Interface]
		}
	}
	return slices.DeleteFunc(peers, func(p config.Peer) bool { return !p.Address.IsValid() })
}

// speakerConfig translates the configuration for package bgp; it depends on the
// uplinks' addresses too. A peer whose password is not known is left out: better no
// session than one that anybody could take over.
func (d *Daemon) speakerConfig() (bgp.Config, error) {
	b := d.config.BGP
	c := bgp.Config{
		AS: b.AS, RouterID: b.RouterID, Port: b.Port, ClusterID: b.ClusterID,
		RestartTime: b.RestartTime, LongLived: b.LongLivedTime, Drain: d.orders.Drain,
	}
	if !c.RouterID.IsValid() {
		c.RouterID = d.source
	}
	for _, p := range d.config.Pools {
		c.Pools = append(c.Pools, p.Prefix)
		c.IPv6 = c.IPv6 || p.Prefix.Addr().Is6()
	}
	for _, a := range b.Announces {
		c.IPv6 = c.IPv6 || a.Prefix.Addr().Is6()
	}
	c.IPv6 = c.IPv6 || slices.ContainsFunc(d.config.Gateway.Addresses, netip.Addr.Is6)
	d.readSecrets()
	for _, p := range slices.Concat(d.peers(), b.GatewayPeers) {
		if s, ok := d.session(p.Session); ok && !p.NoSession {
			c.Peers = append(c.Peers, d.peer(p, s))
		}
	}
	for _, r := range b.Ranges {
		if s, ok := d.session(r.Session); ok {
			c.Ranges = append(c.Ranges, bgp.Range{Name: r.Name, Prefix: r.Prefix, Session: s})
		}
	}
	return c, errors.Join(d.secrets.errs...)
}

func (d *Daemon) peer(p config.Peer, s bgp.Session) bgp.Peer {
	p = d.orders.obeyed(p)
	local := p.Source
	if !local.IsValid() {
		local = d.localFor(p.Address)
	}
	other := d.otherFamily(local)
	if p.Address.IsLinkLocalUnicast() {
		other = netip.Addr{} // What such a peer can reach is our link-local address (RFC 8950).
	}
	return bgp.Peer{
		Name: p.Name, Address: p.Address, Interface: p.Interface, Local: local, NextHop: other,
		Description: p.Description, Shutdown: p.Shutdown, ShutdownMessage: p.ShutdownMessage, Session: s,
	}
}

// session translates; it is false if there is a password that is not known.
func (d *Daemon) session(s config.Session) (bgp.Session, bool) {
	password, ok := d.secrets.password[s.PasswordFile]
	return bgp.Session{
		AS: s.AS, LocalAS: s.LocalAS, AllowOwnAS: s.AllowOwnAS, TTL: s.Multihop, GTSM: s.GTSM, Password: password, Passive: s.Passive,
		HoldTime: s.HoldTime, Keepalive: s.Keepalive, ConnectRetry: s.ConnectRetry,
		MaxPrefixes: s.MaxPrefixes, WarnPercent: s.MaxPrefixesWarn, RestartAfter: s.MaxPrefixesRestart,
		Import: d.config.BGP.Rules(s.Import), Export: d.config.BGP.Rules(s.Export),
		Gateway: s.Type == config.TypeGateway, Reflector: s.Type == config.TypeReflector, ReflectorClient: s.ReflectorClient,
	}, ok || s.PasswordFile == ""
}

// localFor is the own address to talk to a peer from: the one on its subnet, or
// else the gateway's. It is fixed, so that no tunnel and no pod address is ever
// used by accident.
func (d *Daemon) localFor(peer netip.Addr) netip.Addr {
	if own, ok := d.linkLocals[peer.Zone()]; ok && peer.Zone() != "" {
		return own.WithZone(peer.Zone())
	}
	for _, a := range d.addresses() {
		if a.Contains(peer) {
			return a.Addr()
		}
	}
	for _, a := range d.addresses() {
		if a.Addr().Is4() == peer.Is4() {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// otherFamily is an address of the other family on the link that has the local one, or
// beside it among the gateway's own;
// invalid if there is none.
func (d *Daemon) otherFamily(local netip.Addr) netip.Addr {
	for _, u := range append([]config.Uplink{{Addresses: d.gatewayAddresses()}}, d.config.Uplinks...) {
		own := d.addressesOf(u)
		if (local.Zone() == "" || u.Name != local.Zone()) && !slices.ContainsFunc(own, func(a netip.Prefix) bool { return a.Addr() == local }) {
			continue
		}
		for _, a := range own {
			if a.Addr().Is4() != local.Is4() {
				return a.Addr()
			}
		}
	}
	return netip.Addr{}
}

// readSecrets reads the password files of a configuration that is new.
func (d *Daemon) readSecrets() {
	if d.secrets.of == d.config {
		return
	}
	s := secrets{of: d.config, password: map[string]string{}}
	var files []string
	for _, p := range slices.Concat(d.config.BGP.Peers, d.config.BGP.GatewayPeers) {
		files = append(files, p.PasswordFile)
	}
	for _, r := range d.config.BGP.Ranges {
		files = append(files, r.PasswordFile)
	}
	slices.Sort(files)
	for _, file := range slices.Compact(files) {
		if file == "" {
			continue
		}
		password, mode, err := readPassword(file)
		if err != nil {
			s.errs = append(s.errs, fmt.Errorf("no session without its password: %w", err))
			continue
		}
		if mode.Perm()&0o077 != 0 {
			d.opts.Log.Warn("others than root can read a password: chmod 600", "file", file, "mode", mode)
		}
		s.password[file] = password
	}
	d.secrets = s
}

// readPassword returns a file's first line. TCP takes at most 80 octets.
func readPassword(file string) (string, fs.FileMode, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	lines := bufio.NewScanner(f)
	lines.Scan()
	password := strings.TrimSpace(lines.Text())
	if err := lines.Err(); err != nil {
		return "", 0, fmt.Errorf("read %s: %w", file, err)
	}
	if len(password) == 0 || len(password) > 80 {
		return "", 0, fmt.Errorf("%s: %d octets in its first line: expected a password of 1 to 80", file, len(password))
	}
	return password, info.Mode(), nil
}
