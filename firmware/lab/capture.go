package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
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

// counts is what tcpdump answers to SIGUSR1.
var counts = regexp.MustCompile(`(?m)^tcpdump: (\d+) packets? captured`)

// settle waits until tcpdump has read all that the kernel has for it, which at its end
// it would drop: until two of its answers in a row have the same count.
func (c *Capture) settle() {
	_ = Until(context.Background(), "tcpdump to be at rest", func(context.Context) error {
		_ = c.Signal(syscall.SIGUSR1)
		all := counts.FindAllStringSubmatch(c.Tail(1<<30), -1)
		n := len(all)
		select {
		case <-c.Done():
			return nil
		default:
		}
		if n < 2 || all[n-1][1] != all[n-2][1] {
			return fmt.Errorf("%d answers", n)
		}
		return nil
	})
}

// Packets ends the capture and returns its packets, one a line.
func (c *Capture) Packets() []string {
	c.settle()
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
