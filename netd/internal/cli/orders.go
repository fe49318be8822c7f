package cli

import (
	"context"

	"netd/netd/internal/api"
)

func drain(ctx context.Context, c *call) error {
	undo := c.flags.Bool("undo", false, "let the peers use this gateway again")
	if err := c.parse(0, 0); err != nil {
		return err
	}
	o := api.Order{Do: api.Drain}
	if *undo {
		o.Do = api.Undrain
	}
	return c.agent.Order(ctx, o)
}

func peerVerb(ctx context.Context, c *call) error {
	message := c.flags.String("message", "", "`text` that the peer is told, at most 128 octets")
	if err := c.parse(2, 2); err != nil {
		return err
	}
	o := api.Order{Peer: c.args[1], Message: *message}
	switch c.args[0] {
	case "down":
		o.Do = api.PeerDown
	case "up":
		o.Do = api.PeerUp
	default:
		c.flags.Usage()
		return ErrUsage
	}
	return c.agent.Order(ctx, o)
}
