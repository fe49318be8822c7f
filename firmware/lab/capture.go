package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Capture is a tcpdump that runs.
type Capture struct{ *Process }

// Capture starts tcpdump on a link of the host and waits until it listens.
func (h *Host) Capture(ctx context.Context, name, link, filter string) (*Capture, error) {
	if err := os.Remove(h.Path("capture-" + name + ".log")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err // an earlier capture's packets would count as this one's
	}
	p, err := h.Start("capture-"+name, "tcpdump", "-i", link, "-n", "-l", "--immediate-mode", "-Z", "root", filter)
	if err != nil {
		return nil, err
	}
	c := &Capture{p}
	return c, Until(ctx, "tcpdump on "+h.Name, func(context.Context) error {
		if out := c.Tail(5); !strings.Contains(out, "listening on") {
			return fmt.Errorf("tcpdump says: %s", out)
		}
		return nil
	})
}

// Packets ends the capture and returns its packets, one a line.
func (c *Capture) Packets() []string {
	_ = c.Signal(syscall.SIGINT)
	<-c.Done()
	var packets []string
	for line := range strings.Lines(c.Tail(1 << 30)) {
		if strings.Contains(line, " IP ") {
			packets = append(packets, strings.TrimSpace(line))
		}
	}
	return packets
}
