package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"netd/netd/config"
	"netd/netd/internal/api"
)

// longestMessage is what GoBGP tells a peer at most, in octets (RFC 9003 allows 255).
const longestMessage = 128

// orders are what a person has said that holds until the next reboot, over restarts
// of the agent and whatever the configuration says.
type orders struct {
	// Drain asks all peers to use other gateways.
	Drain bool `json:"drain,omitempty"`
	// Down are sessions that are not to be, with what the peer is told, by its name.
	Down map[string]string `json:"down,omitempty"`
}

func (o Options) ordersFile() string { return filepath.Join(o.RunDir, "orders.json") }

// loadOrders reads those that were given before a restart of the agent.
func (o Options) loadOrders() orders {
	var was orders
	b, err := os.ReadFile(o.ordersFile())
	if errors.Is(err, os.ErrNotExist) {
		return was
	}
	if err == nil {
		err = json.Unmarshal(b, &was)
	}
	if err != nil {
		o.Log.Error("orders that were given before are forgotten: netd drain, netd peer down", "err", err)
	}
	return was
}

// keep makes the orders outlast the agent.
func (o orders) keep(file string) error {
	b, err := json.Marshal(o)
	if err == nil {
		err = replaceFile(file, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep the order: %w", err)
	}
	return nil
}

// obeyed is a peer of the configuration as the orders leave it.
func (o orders) obeyed(p config.Peer) config.Peer {
	if message, down := o.Down[p.Name]; down {
		p.Shutdown, p.ShutdownMessage = true, message
	}
	return p
}

// Order does what a person orders.
func (g gateway) Order(ctx context.Context, o api.Order) error {
	return g.d.do(ctx, func() error { return g.d.order(context.WithoutCancel(ctx), o) })
}

func (d *Daemon) order(ctx context.Context, o api.Order) error {
	next := orders{Drain: d.orders.Drain, Down: maps.Clone(d.orders.Down)}
	if next.Down == nil {
		next.Down = map[string]string{}
	}
	switch o.Do {
	case api.Drain, api.Undrain:
		next.Drain = o.Do == api.Drain
	case api.PeerDown:
		if err := d.checkDown(o); err != nil {
			return err
		}
		next.Down[o.Peer] = o.Message
	case api.PeerUp:
		if _, down := next.Down[o.Peer]; !down {
			return fmt.Errorf("peer %s was not taken down by netd peer down%s", o.Peer, d.downInFile(o.Peer))
		}
		delete(next.Down, o.Peer)
	default:
		return fmt.Errorf("order %q: expected drain, undrain, peer-down or peer-up", o.Do)
	}
	if err := next.keep(d.opts.ordersFile()); err != nil {
		return err
	}
	d.orders = next
	d.opts.Log.Info("order", "do", string(o.Do), "peer", o.Peer, "message", o.Message)
	if d.reconcile(ctx) {
		d.poke()
	}
	return nil
}

func (d *Daemon) checkDown(o api.Order) error {
	var names []string
	for _, p := range slices.Concat(d.config.BGP.Peers, d.config.BGP.GatewayPeers) {
		names = append(names, p.Name)
	}
	switch {
	case !slices.Contains(names, o.Peer):
		return fmt.Errorf("no peer %s: expected one of %s", o.Peer, strings.Join(names, ", "))
	case len(o.Message) > longestMessage || !utf8.ValidString(o.Message):
		return fmt.Errorf("message of %d octets: expected at most %d of UTF-8", len(o.Message), longestMessage)
	}
	return nil
}

// downInFile says that it is the configuration that keeps a session down.
func (d *Daemon) downInFile(name string) string {
	for _, p := range slices.Concat(d.config.BGP.Peers, d.config.BGP.GatewayPeers) {
		if p.Name == name && p.Shutdown {
			return ": the configuration says shutdown"
		}
	}
	return ""
}
