package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"netd/firmware/lab/patience"
	"netd/netd/layout"
)

// Netd is an agent in a namespace: a gateway without a board.
type Netd struct {
	*Process
	Gateway
	Host *Host
	// Console gets what the agent prints after the next Restart, in place of its log, if
	// it is not nil.
	Console *os.File
	args    []string
	bin     string
}

// Netd starts an agent on the host with the configuration file, as the device
// that g names. Its folders are the host's own.
func (h *Host) Netd(ctx context.Context, bin, config string, g Gateway, more ...string) (*Netd, error) {
	for _, dir := range []string{"data", "run", "netns"} {
		if err := os.MkdirAll(h.Path(dir), 0o755); err != nil {
			return nil, fmt.Errorf("start netd on %s: %w", h.Name, err)
		}
	}
	n := &Netd{Gateway: g, Host: h, bin: bin}
	n.args = append([]string{
		bin, "run", "--config", config, "--device", g.Name,
		"--data", h.Path("data"), "--run", h.Path("run"), "--netns", h.Path("netns"),
		"--containerd", h.Path("containerd.sock"),
	}, more...)
	return n, n.Restart(ctx)
}

// Restart starts the agent (again) and waits until it answers.
func (n *Netd) Restart(ctx context.Context) error {
	var err error
	if n.Console != nil {
		n.Process, err = n.Host.StartOn(n.Console, "netd", n.args...)
	} else {
		n.Process, err = n.Host.Start("netd", n.args...)
	}
	if err != nil {
		return err
	}
	return Until(ctx, "netd on "+n.Host.Name, func(ctx context.Context) error {
		select {
		case <-n.Done():
			return patience.Hopeless{Err: fmt.Errorf("netd ended: %w\n%s", n.Err(), n.Tail(5))}
		default:
		}
		_, err := n.Ask(ctx, "status")
		return err
	})
}

// Ask runs a verb of the command line against this agent.
func (n *Netd) Ask(ctx context.Context, verb string, args ...string) (string, error) {
	full := append([]string{n.bin, verb, "--socket", filepath.Join(n.Host.Path("run"), layout.SocketName)}, args...)
	return n.Host.Run(ctx, full...)
}

// JSON runs a verb with --json and reads its answer into v.
func (n *Netd) JSON(ctx context.Context, v any, verb string, args ...string) error {
	out, err := n.Ask(ctx, verb, append(args, "--json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), v)
}

// InPod runs a program in a pod's network.
func (n *Netd) InPod(ctx context.Context, pod string, args ...string) (string, error) {
	return output(ctx, append([]string{"nsenter", "--net=" + filepath.Join(n.Host.Path("netns"), pod), "--"}, args...)...)
}

// StartInPod starts a program in a pod's network.
func (n *Netd) StartInPod(pod, name string, args ...string) (*Process, error) {
	return n.Host.Start(name, append([]string{"nsenter", "--net=" + filepath.Join(n.Host.Path("netns"), pod), "--"}, args...)...)
}

// Established waits for the state of all sessions.
func (n *Netd) Established(ctx context.Context) error {
	out, err := n.Ask(ctx, "peers")
	if err != nil {
		return err
	}
	return allEstablished(out)
}
