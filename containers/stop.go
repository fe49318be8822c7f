package containers

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// remove ends the pod. The container's record goes last, so that an agent that
// is stopped half-way finds the pod again.
func (p *pod) remove(ctx context.Context) error {
	if err := p.stop(ctx); err != nil {
		return err
	}
	if err := p.rt.opts.Network.Teardown(ctx, p.name); err != nil {
		return fmt.Errorf("take down the network of pod %s: %w", p.name, err)
	}
	p.set(func(st *Status) { st.Addresses = nil })
	if err := p.discard(ctx); err != nil {
		return err
	}
	removeLogs(p.rt.opts.LogDir, p.name)
	return p.rt.files.remove(p.name)
}

// discard removes the pod's container, running or not, with its files. The
// network stays.
func (p *pod) discard(ctx context.Context) error {
	if err := p.stop(ctx); err != nil {
		return err
	}
	err := p.rt.client.ContainerService().Delete(ctx, p.name)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete container %s: %w", p.name, err)
	}
	err = p.rt.client.SnapshotService(snapshotter).Remove(ctx, p.name)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete the files of pod %s: %w", p.name, err)
	}
	return nil
}

// stop ends the pod's process if there is one: by the image's signal, then by SIGKILL.
func (p *pod) stop(ctx context.Context) error {
	c, err := p.rt.client.LoadContainer(ctx, p.name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load container %s: %w", p.name, err)
	}
	signal, timeout, err := p.howToStop(ctx, c)
	if err != nil {
		return fmt.Errorf("load container %s: %w", p.name, err)
	}
	task, err := c.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load task %s: %w", p.name, err)
	}
	exit, err := task.Wait(ctx)
	if err != nil {
		return fmt.Errorf("wait for task %s: %w", p.name, err)
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{signal, timeout}, {unix.SIGKILL, killWait}} {
		if err := task.Kill(ctx, step.signal); err != nil && !errdefs.IsNotFound(err) && !isFinished(err) {
			return fmt.Errorf("kill task %s: %w", p.name, err)
		}
		timeout, cancel := context.WithTimeout(ctx, step.wait)
		ended := waitExit(timeout, exit)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if ended {
			break
		}
	}
	if _, err := task.Delete(ctx); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete task %s: %w", p.name, err)
	}
	return nil
}

// howToStop is what the image and the workload say, the container's labels if nobody
// wants the pod any more. A signal that there is not on this machine is SIGTERM.
func (p *pod) howToStop(ctx context.Context, c containerd.Container) (syscall.Signal, time.Duration, error) {
	labels, err := c.Labels(ctx)
	if err != nil {
		return 0, 0, err
	}
	timeout, err := time.ParseDuration(labels[labelStop])
	if err != nil {
		timeout = defaultStop
	}
	if spec, wanted := p.rt.want(p.name); wanted {
		timeout = spec.StopTimeout
	}
	signal, err := containerd.GetStopSignal(ctx, c, unix.SIGTERM)
	if err != nil {
		signal = unix.SIGTERM
	}
	return signal, timeout, nil
}

// isFinished tells the error of a signal that came too late.
func isFinished(err error) bool {
	return strings.Contains(err.Error(), "process already finished")
}

func waitExit(ctx context.Context, exit <-chan containerd.ExitStatus) bool {
	select {
	case <-ctx.Done():
		return false
	case <-exit:
		return true
	}
}
