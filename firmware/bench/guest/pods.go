package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"netd/containers"
	"netd/netd/layout"
)

// namespace is containerd's for both: ctr finds the image that the runtime has
// imported and unpacked.
const namespace = "bench"

// podTimes are seconds, one of each kind a round.
type podTimes struct {
	Netd    []float64 `json:"netd"`          // from Runtime.Set to a running process whose network is in force
	Network []float64 `json:"of_it_network"` // of that: the agent's part, from request to answer
	Ctr     []float64 `json:"ctr_run"`       // ctr run --detach, from fork to exit
	Load    []float64 `json:"of_it_load"`    // of that: what ctr takes to come up, as ctr --version does
}

// startPods starts pods as netd run does, in turn with ctr. The runtime is
// netd's own; the network comes from the gateway's agent. The first round, which
// imports the image and fills caches, does not count.
func startPods(ctx context.Context, pairs int, ctr, image string) (podTimes, error) {
	var t podTimes
	ctx, cancel := context.WithCancel(ctx)
	n := &agentNetwork{client: agent()}
	rt := containers.New(containers.Options{
		Namespace: namespace, LogDir: "/tmp/bench-log", Network: n,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(ctx) }()
	err := func() error {
		for i := range pairs + 1 {
			netd, err := netdPod(ctx, rt, fmt.Sprintf("bench-%d", i), image)
			if err != nil {
				return err
			}
			load, err := timed(ctx, ctr, "--version")
			if err != nil {
				return err
			}
			run, err := timed(ctx, ctr, "--namespace", namespace, "run", "--detach", "--null-io", image, fmt.Sprintf("ctr-%d", i), "/bin/sleep", "100000")
			if err != nil {
				return err
			}
			if i > 0 {
				t.Netd, t.Network = append(t.Netd, netd), append(t.Network, n.last())
				t.Load, t.Ctr = append(t.Load, load), append(t.Ctr, run)
			}
		}
		return nil
	}()
	cancel()
	return t, errors.Join(err, <-ended)
}

// netdPod starts a pod, takes the time, and removes it.
func netdPod(ctx context.Context, rt *containers.Runtime, name, image string) (float64, error) {
	begin := time.Now()
	rt.Set([]containers.Spec{{Name: "bench", Pod: name, Image: image, Command: []string{"/bin/sleep", "100000"}}})
	s, err := await(ctx, rt, name, func(s containers.Status) bool { return s.State == containers.StateRunning })
	took := time.Since(begin).Seconds()
	if err != nil {
		return 0, err
	}
	rt.Set(nil)
	// Sleep, as process 1 of its namespace, does not hear SIGTERM.
	if err := syscall.Kill(int(s.PID), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return 0, err
	}
	_, err = await(ctx, rt, name, func(s containers.Status) bool { return s.Pod == "" })
	return took, err
}

// await waits for a pod's state; that of a pod which is gone has no name.
func await(ctx context.Context, rt *containers.Runtime, name string, ok func(containers.Status) bool) (containers.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var now containers.Status
		for _, s := range rt.Status() {
			if s.Pod == name {
				now = s
			}
		}
		if ok(now) {
			return now, nil
		}
		select {
		case <-rt.Changed():
		case <-ctx.Done():
			return now, fmt.Errorf("pod %s is %s: %s: %w", name, now.State, now.Reason, ctx.Err())
		}
	}
}

// timed runs a program to its end.
func timed(ctx context.Context, program string, args ...string) (float64, error) {
	begin := time.Now()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	took := time.Since(begin).Seconds()
	if err != nil {
		return 0, fmt.Errorf("%s %v: %w\n%s", program, args, err, out)
	}
	return took, nil
}

// agentNetwork asks the gateway's agent for a pod's network, as netd pod add does.
type agentNetwork struct {
	client *http.Client

	mu   sync.Mutex
	took float64 // of the last Setup
}

func agent() *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", layout.Socket)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}}
}

func (n *agentNetwork) Setup(ctx context.Context, pod string) (containers.Sandbox, error) {
	begin := time.Now()
	var made struct {
		Netns     string
		Addresses []netip.Addr
	}
	err := n.ask(ctx, http.MethodPut, pod, &made)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.took = time.Since(begin).Seconds()
	return containers.Sandbox{NetnsPath: made.Netns, Addresses: made.Addresses}, err
}

func (n *agentNetwork) Teardown(ctx context.Context, pod string) error {
	return n.ask(ctx, http.MethodDelete, pod, new(struct{}))
}

func (n *agentNetwork) last() float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.took
}

func (n *agentNetwork) ask(ctx context.Context, method, pod string, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://netd/v1/pods/"+pod, nil)
	if err != nil {
		return err
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s pod %s: the agent says %s: %s", method, pod, resp.Status, body)
	}
	return json.Unmarshal(body, v)
}
