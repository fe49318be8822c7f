package daemon

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"netd/netd/config"
	"netd/netd/internal/api"
)

// routerDeadline is how long the speaker's start waits for the peers that are known
// by their link alone: only those that it knows at its start are told that our
// routes were kept (RFC 4724, the F bit). A ToR answers a question at once.
const routerDeadline = 5 * time.Second

// findRouters takes over who was heard on the links of unnumbered peers.
func (d *Daemon) findRouters() {
	var links []string
	for _, p := range d.config.BGP.Peers {
		if p.Interface != "" {
			links = append(links, p.Interface)
		}
	}
	d.radv.Set(links)
	d.routers, d.linkLocals = map[string]netip.Addr{}, map[string]netip.Addr{}
	for link, a := range d.radv.Routers() {
		d.routers[link] = a.WithZone(link)
	}
	for _, p := range d.config.BGP.Peers {
		links = append(links, p.Address.Zone())
	}
	for _, link := range links {
		if own := linkLocal(link); own.IsValid() {
			d.linkLocals[link] = own
		}
	}
}

// linkLocal is a link's own IPv6 address there; invalid if it has none (yet).
func linkLocal(link string) netip.Addr {
	i, err := net.InterfaceByName(link)
	if err != nil {
		return netip.Addr{}
	}
	all, err := i.Addrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// unheard are the unnumbered peers that have no address yet.
func (d *Daemon) unheard() []config.Peer {
	return slices.DeleteFunc(slices.Clone(d.config.BGP.Peers), func(p config.Peer) bool {
		return p.Interface == "" || d.routers[p.Interface].IsValid()
	})
}

// awaitRouters tells whether to start the speaker a little later.
func (d *Daemon) awaitRouters() bool {
	rest := routerDeadline - time.Since(d.started)
	if rest <= 0 || len(d.unheard()) == 0 {
		return false
	}
	time.AfterFunc(rest, d.poke)
	return true
}

// unheardPeers are they as the API shows them.
func (d *Daemon) unheardPeers() []api.Peer {
	var peers []api.Peer
	for _, p := range d.unheard() {
		peers = append(peers, api.Peer{
			Name: p.Name, AS: p.AS, Kind: string(p.Type), State: "Idle", Description: p.Description, Shutdown: p.Shutdown,
			Reason: "no router advertisement was heard on " + p.Interface, Options: options(p.Session),
		})
	}
	return peers
}
