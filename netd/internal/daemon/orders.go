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
	"unicode"
	"unicode/utf8"

	"netd/netd/internal/api"
	"netd/netd/internal/intent"
)

func (o Options) ordersFile() string { return filepath.Join(o.RunDir, "orders.json") }

// loadOrders reads those that were given before a restart of the agent.
func (o Options) loadOrders() intent.Orders {
	var was intent.Orders
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

// keepOrders makes the orders outlast the agent.
func (o Options) keepOrders(orders intent.Orders) error {
	b, err := json.Marshal(orders)
	if err == nil {
		err = replaceFile(o.ordersFile(), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep the order: %w", err)
	}
	return nil
}

// Order does what a person orders, to its end.
func (g gateway) Order(_ context.Context, o api.Order) error {
	d, ctx := g.d, g.d.tasks.ctx
	d.settings.changing.Lock()
	defer d.settings.changing.Unlock()
	var next intent.Orders
	err := d.loop.do(ctx, func() (err error) {
		next, err = ordered(d.settings.orders, d.want.Sessions.About, o)
		return err
	})
	if err != nil {
		return err
	}
	if err := d.opts.keepOrders(next); err != nil {
		return err
	}
	return d.loop.do(ctx, func() error {
		d.settings.orders = next
		d.opts.Log.Info("order", "do", string(o.Do), "peer", o.Peer, "message", o.Message)
		if d.round() {
			d.loop.wake.Send()
		}
		return nil
	})
}

// ordered is what holds after one more order; peers are those of the configuration.
func ordered(before intent.Orders, peers map[string]intent.About, o api.Order) (intent.Orders, error) {
	next := intent.Orders{Drain: before.Drain, Down: maps.Clone(before.Down)}
	if next.Down == nil {
		next.Down = map[string]string{}
	}
	switch o.Do {
	case api.Drain, api.Undrain:
		next.Drain = o.Do == api.Drain
	case api.PeerDown:
		if err := checkDown(peers, o); err != nil {
			return next, err
		}
		next.Down[o.Peer] = o.Message
	case api.PeerUp:
		if _, down := next.Down[o.Peer]; !down {
			why := ""
			if peers[o.Peer].InFile {
				why = ": the configuration says shutdown"
			}
			return next, fmt.Errorf("peer %s was not taken down by netd peer down%s", o.Peer, why)
		}
		delete(next.Down, o.Peer)
	default:
		return next, fmt.Errorf("order %q: expected drain, undrain, peer-down or peer-up", o.Do)
	}
	return next, nil
}

func checkDown(peers map[string]intent.About, o api.Order) error {
	_, known := peers[o.Peer]
	switch {
	case !known:
		return fmt.Errorf("no peer %s: expected one of %s", o.Peer, strings.Join(slices.Sorted(maps.Keys(peers)), ", "))
	case len(o.Message) > intent.LongestMessage || !utf8.ValidString(o.Message) || strings.ContainsFunc(o.Message, unicode.IsControl):
		return fmt.Errorf("message of %d octets: expected at most %d of UTF-8, without control characters", len(o.Message), intent.LongestMessage)
	}
	return nil
}
