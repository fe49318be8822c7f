package cli

import (
	"context"
	"fmt"

	"netd/netd/config"
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
	if err := c.agent.Order(ctx, o); err != nil {
		return err
	}
	if *undo {
		return c.done("peers may use this gateway again")
	}
	return c.done("peers are asked to use other gateways; netd drain --undo ends that")
}

func peerVerb(ctx context.Context, c *call) error {
	message := c.flags.String("message", "", fmt.Sprintf("`text` that the peer is told, at most %d octets", config.LongestMessage))
	if err := c.parse(2, 2); err != nil {
		return err
	}
	o := api.Order{Peer: c.args[1], Message: *message}
	said := fmt.Sprintf("the session with %s may come up again", o.Peer)
	switch c.args[0] {
	case "down":
		o.Do = api.PeerDown
		said = fmt.Sprintf("the session with %s ends and stays down; netd peer up %[1]s ends that", o.Peer)
	case "up":
		o.Do = api.PeerUp
	default:
		c.flags.Usage()
		return ErrUsage
	}
	if err := c.agent.Order(ctx, o); err != nil {
		return err
	}
	return c.done(said)
}
