package lab

import (
	"context"
	"fmt"
	"os"
	"strings"

	"netd/firmware/lab/patience"
)

// Bird is a BIRD 2 on a host.
type Bird struct {
	*Process
	host         *Host
	conf, socket string
}

// Bird starts BIRD with the configuration and waits until it answers.
func (h *Host) Bird(ctx context.Context, conf string) (*Bird, error) {
	b := &Bird{host: h, conf: h.Path("bird.conf"), socket: h.Path("bird.ctl")}
	if err := os.WriteFile(b.conf, []byte(conf), 0o644); err != nil {
		return nil, fmt.Errorf("configure BIRD on %s: %w", h.Name, err)
	}
	var err error
	// -f: in the foreground; -P is not needed, nothing is left in /run/bird.
	b.Process, err = h.Start("bird", "bird", "-f", "-c", b.conf, "-s", b.socket)
	if err != nil {
		return nil, err
	}
	return b, Until(ctx, "BIRD on "+h.Name, func(ctx context.Context) error {
		select {
		case <-b.Done():
			return patience.Hopeless{Err: fmt.Errorf("BIRD ended: %w\n%s", b.Err(), b.Tail(5))}
		default:
		}
		if _, err := os.Stat(b.socket); err != nil {
			return fmt.Errorf("%w\n%s", err, b.Tail(5))
		}
		_, err := b.Ask(ctx, "show status")
		return err
	})
}

// Ask sends one command, as birdc(8) does.
func (b *Bird) Ask(ctx context.Context, command string) (string, error) {
	return b.host.Run(ctx, "birdc", "-s", b.socket, command)
}

// Configure gives it another configuration without restarting sessions that stay
// the same.
func (b *Bird) Configure(ctx context.Context, conf string) error {
	if err := os.WriteFile(b.conf, []byte(conf), 0o644); err != nil {
		return fmt.Errorf("configure BIRD on %s: %w", b.host.Name, err)
	}
	out, err := b.Ask(ctx, "configure")
	if err == nil && !strings.Contains(out, "Reconfigured") && !strings.Contains(out, "in progress") {
		err = fmt.Errorf("configure BIRD on %s:\n%s", b.host.Name, out)
	}
	return err
}

// Established tells whether the named protocol's session is up; if not, the
// error has what BIRD says of it.
func (b *Bird) Established(ctx context.Context, protocol string) error {
	out, err := b.Ask(ctx, "show protocols "+protocol)
	if err == nil && !strings.Contains(out, "Established") {
		err = fmt.Errorf("session %s of %s is not established:\n%s", protocol, b.host.Name, out)
	}
	return err
}
