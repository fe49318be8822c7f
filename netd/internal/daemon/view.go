package daemon

import (
	"maps"
	"sync"

	"netd/netd/internal/api"
)

// publish makes a new view from the parts' state.
func (d *Daemon) publish() {
	all := d.routes.table.Decisions()
	v := &view{
		speaker: d.sessions.speaker, pods: maps.Clone(d.pods.records), decisions: all,
		routes:   sync.OnceValue(func() []api.Route { return apiRoutes(all) }),
		accepted: d.routes.table.Accepted(),
	}
	v.peers = d.sessions.show(d.want.Sessions, v.accepted)
	s := d.settings
	v.status = api.Status{
		Gateway: d.want.Box.Name, Version: d.opts.Version, Started: d.sessions.begun,
		ConfigFile: s.loaded.file, ConfigProblem: s.loaded.problem,
		AS: d.want.Sessions.AS, RouterID: d.want.Sessions.RouterID, PodMTU: d.want.Pods.MTU,
		Routes: map[string]int{}, Settled: d.sessions.settled, Work: d.routes.work, Problems: d.problems(),
		Trial: s.trial.api(), TrialEnded: s.trialEnded, Drained: s.orders.Drain, Down: s.orders.Down, Repairs: d.health.repairs.shown(),
		NoLogin: s.opts.Appliance && s.opts.password(d.want.Box) == "",
	}
	for kind, n := range all.Kinds() {
		v.status.Routes[string(kind)] = n
	}
	for _, p := range v.peers {
		if p.State == established {
			v.status.Peers.Up++
		}
	}
	v.status.Peers.Total = max(len(d.sessions.peers), d.want.Sessions.Configured)
	for _, u := range d.uplinks.states {
		v.status.Uplinks = append(v.status.Uplinks, api.Uplink{
			Name: u.Name, MAC: u.MAC, MTU: u.MTU, Carrier: u.Carrier, Addresses: u.Addresses, Router: u.Router, Router6: u.Router6, Problem: u.Problem,
		})
	}
	for _, l := range d.uplinks.lans {
		v.status.LANs = append(v.status.LANs, api.LAN{
			Name: l.Name, MAC: l.MAC, MTU: l.MTU, Carrier: l.Carrier, Addresses: l.Addresses, Problem: l.Problem,
		})
	}
	for _, t := range d.tunnels.links {
		v.status.Tunnels = append(v.status.Tunnels, api.Tunnel{Name: t.Name, Kind: t.Kind, Local: t.Source, MTU: t.MTU})
	}
	d.board.publish(v)
}
