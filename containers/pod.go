package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/errdefs"
	"golang.org/x/sys/unix"

	"netd/netd/retry"
	"netd/netd/wake"
)

const (
	// labelSpec holds Spec.hash of the container.
	labelSpec = "netd.spec"
	// labelStop holds Spec.StopTimeout, for when nobody wants the pod any more.
	labelStop = "netd.stop-timeout"
	// defaultStop is that of a container without the label.
	defaultStop = 10 * time.Second
	// killWait bounds the wait for the end of a killed pod.
	killWait = 30 * time.Second
	// A pod that ends is started again after firstPause, and then after twice as long
	// each time until it has run for lastPause.
	firstPause, lastPause = time.Second, time.Minute
	// networkRetry is how often a running pod's network is tried again.
	networkRetry = 5 * time.Second
)

// pod is one pod's goroutine and its memory.
type pod struct {
	rt      *Runtime
	name    string
	wake    wake.Signal // what is wanted has changed
	backoff retry.Backoff
	started bool // once by this agent, or found running

	status Status // guarded by rt.mu
}

func newPod(r *Runtime, name string) *pod {
	return &pod{
		rt: r, name: name, wake: wake.New(), backoff: retry.Backoff{First: firstPause, Last: lastPause},
		status: Status{Pod: name, State: StateWaiting, Since: time.Now()},
	}
}

// set changes the status.
func (p *pod) set(change func(*Status)) {
	p.rt.mu.Lock()
	before := p.status
	change(&p.status)
	after := p.status
	if after.State != before.State {
		p.status.Since = time.Now()
	}
	p.rt.mu.Unlock()
	if after.equal(before) {
		return
	}
	p.rt.changed.Send()
	log := p.rt.log.With("pod", p.name)
	switch {
	case after.State == StateRunning && before.State == StateCreating:
		log.Info("pod runs", "pid", after.PID, "addresses", after.Addresses, "image", after.Image)
	case after.State == StateCompleted && before.State != StateCompleted, after.State == StateRestarting && before.State != StateRestarting:
		log.Info("pod has ended", "state", string(after.State), "reason", after.Reason)
	case after.State == StateRunning && before.State != StateRunning:
		log.Info("pod is found running", "pid", after.PID, "addresses", after.Addresses, "image", after.Image)
	case after.Reason != before.Reason && after.Reason != "":
		if after.whole != "" && after.whole != after.Reason {
			log = log.With("err", after.whole)
		}
		log.Warn("pod is not well", "state", string(after.State), "reason", after.Reason)
	}
}

func (p *pod) enter(s State) {
	p.set(func(st *Status) { st.State = s })
}

// run brings the pod to what is wanted of it until ctx ends or it is gone.
func (p *pod) run(ctx context.Context) {
	for ctx.Err() == nil {
		spec, wanted := p.rt.want(p.name)
		if wanted {
			p.set(func(st *Status) { st.Workload, st.Image = spec.Name, spec.Image })
			p.retry(ctx, p.keep(ctx, spec))
			continue
		}
		p.enter(StateStopped)
		if err := p.remove(ctx); err != nil {
			p.retry(ctx, err)
			continue
		}
		if p.rt.release(p) {
			p.rt.log.Info("pod is removed", "pod", p.name)
			return
		}
		p.started = false
	}
}

// exitError is the end of a pod's process.
type exitError struct {
	code uint32
	last string // line of its output
	ran  time.Duration
}

func (e *exitError) Error() string {
	how := fmt.Sprintf("exited with code %d", e.code)
	if name := unix.SignalName(syscall.Signal(int(e.code) - 128)); e.code > 128 && name != "" {
		how = "ended by " + name
	}
	if e.last != "" {
		how += ": " + e.last
	}
	return how
}

// retry shows why the pod is not as it should be, and waits until it is time to
// try again.
func (p *pod) retry(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	if isAway(err) && !p.rt.answers(ctx) {
		p.awaitContainerd(ctx)
		return
	}
	state, ran, again := StateBackOff, time.Duration(0), true
	var exit *exitError
	if errors.As(err, &exit) {
		state, again = p.verdict(exit.code)
		ran = exit.ran
	}
	p.set(func(st *Status) {
		st.Reason, st.whole = p.rt.reason(err), oneLine(err)
		if st.State != StateStopped {
			st.State, st.PID = state, 0
		}
	})
	var due <-chan time.Time
	if again {
		wait := time.NewTimer(p.backoff.Next(ran))
		defer wait.Stop()
		due = wait.C
	}
	select {
	case <-ctx.Done():
	case <-due:
	case <-p.wake:
		p.backoff.Reset()
	}
}

// verdict says what an end with this code is, and whether the pod is started again.
func (p *pod) verdict(code uint32) (State, bool) {
	spec, wanted := p.rt.want(p.name)
	again := !wanted || spec.Restart.after(code)
	switch {
	case again && code == 0:
		return StateRestarting, true
	case again:
		return StateBackOff, true
	case code == 0:
		return StateCompleted, false
	}
	return StateFailed, false
}

// awaitContainerd waits until containerd answers. A running pod runs on, and
// its status stays so.
func (p *pod) awaitContainerd(ctx context.Context) {
	p.set(func(st *Status) {
		st.Reason = "containerd does not answer on " + p.rt.opts.Socket
		if st.State != StateRunning && st.State != StateStopped {
			st.State = StateWaiting
		}
	})
	for !p.rt.answers(ctx) {
		if !retry.Sleep(ctx, pollAway) {
			return
		}
	}
	p.set(func(st *Status) { st.Reason = "" })
}

// keep finds the pod running as spec says, or starts it, and watches it. It
// returns why the pod does not run, or nil if something else is wanted of it.
func (p *pod) keep(ctx context.Context, spec Spec) error {
	task, exit, err := p.adopt(ctx, spec)
	if err != nil {
		return err
	}
	var networkErr error
	if task != nil {
		networkErr = p.adoptNetwork(ctx, task)
	} else if code, over := p.over(spec); over {
		return &exitError{code: code, last: lastLine(p.rt.opts.LogDir, p.name)}
	} else if task, exit, err = p.start(ctx, spec); err != nil {
		return err
	}
	return p.watch(ctx, task, exit, networkErr)
}

// over tells whether the pod has ended, as it is wanted now, and is not to be started
// again.
func (p *pod) over(spec Spec) (code uint32, over bool) {
	e, ok := p.rt.files.ended(p.name)
	if !ok || spec.Restart.after(e.Code) || e.Spec != spec.hash() || p.rt.images.changed(spec.Image, e.Archive) {
		return 0, false
	}
	return e.Code, true
}

// noteEnd remembers how the pod has ended.
func (p *pod) noteEnd(ctx context.Context, code uint32) error {
	c, err := p.rt.client.LoadContainer(ctx, p.name)
	if err != nil {
		return err
	}
	labels, err := c.Labels(ctx)
	if err != nil {
		return err
	}
	return p.rt.files.noteEnd(p.name, end{Code: code, Spec: labels[labelSpec], Archive: labels[labelArchive]})
}

// watch waits for the end of a running pod, and meanwhile for its network if
// networkErr is not nil.
func (p *pod) watch(ctx context.Context, task containerd.Task, exit <-chan containerd.ExitStatus, networkErr error) error {
	began := time.Now()
	p.started = true
	again := time.NewTicker(networkRetry)
	defer again.Stop()
	for {
		if errors.Is(networkErr, errOtherNetwork) {
			return networkErr
		}
		p.set(func(st *Status) {
			st.State, st.PID, st.Reason = StateRunning, task.Pid(), ""
			if networkErr != nil {
				st.Reason = p.rt.reason(networkErr)
			}
		})
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
			return nil
		case <-again.C:
			if networkErr != nil {
				networkErr = p.adoptNetwork(ctx, task)
			}
		case s := <-exit:
			if err := s.Error(); err != nil {
				return waitError(err)
			}
			if err := p.noteEnd(ctx, s.ExitCode()); err != nil {
				p.rt.log.Debug("the end of a pod is not remembered", "pod", p.name, "err", err)
			}
			_, err := task.Delete(ctx)
			if err != nil && !errdefs.IsNotFound(err) {
				p.rt.log.Debug("an ended task stays until the next start", "pod", p.name, "err", err)
			}
			return &exitError{code: s.ExitCode(), last: lastLine(p.rt.opts.LogDir, p.name), ran: time.Since(began)}
		}
	}
}

// waitError explains why the end of a task can not be waited for.
func waitError(err error) error {
	if strings.Contains(err.Error(), "ttrpc: closed") {
		return errors.New("its shim has ended, and the pod with it")
	}
	return fmt.Errorf("wait for its end: %w", errdefs.FromGRPC(err))
}

// adopt finds the pod's task if it runs as spec says. It changes nothing, but remembers
// an end.
func (p *pod) adopt(ctx context.Context, spec Spec) (containerd.Task, <-chan containerd.ExitStatus, error) {
	c, err := p.rt.client.LoadContainer(ctx, p.name)
	if errdefs.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("load container %s: %w", p.name, err)
	}
	labels, err := c.Labels(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("load container %s: %w", p.name, err)
	}
	if labels[labelSpec] != spec.hash() || p.rt.images.changed(spec.Image, labels[labelArchive]) {
		return nil, nil, nil
	}
	task, err := c.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("load task %s: %w", p.name, err)
	}
	status, err := task.Status(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("ask for task %s: %w", p.name, err)
	}
	if status.Status == containerd.Stopped { // while no agent looked
		return nil, nil, p.noteEnd(ctx, status.ExitStatus)
	}
	if status.Status != containerd.Running {
		return nil, nil, nil
	}
	exit, err := task.Wait(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("wait for task %s: %w", p.name, err)
	}
	return task, exit, nil
}

var errOtherNetwork = errors.New("the network was made anew, and the pod with it")

// adoptNetwork asks for the network of a running pod. A pod in another
// namespace than the one that it should have can not be moved: errOtherNetwork.
func (p *pod) adoptNetwork(ctx context.Context, task containerd.Task) error {
	sandbox, err := p.setupNetwork(ctx)
	if err != nil {
		return err
	}
	want, err := os.Stat(sandbox.NetnsPath)
	if err != nil {
		return fmt.Errorf("look at the network of pod %s: %w", p.name, err)
	}
	have, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", task.Pid()))
	if err != nil {
		return nil // it has just ended
	}
	if !os.SameFile(want, have) {
		if err := p.discard(ctx); err != nil {
			return err
		}
		return errOtherNetwork
	}
	return nil
}

func (p *pod) setupNetwork(ctx context.Context) (Sandbox, error) {
	sandbox, err := p.rt.opts.Network.Setup(ctx, p.name)
	if err != nil {
		return Sandbox{}, fmt.Errorf("set up the network of pod %s: %w", p.name, err)
	}
	p.set(func(st *Status) { st.Addresses = sandbox.Addresses })
	return sandbox, nil
}

// start makes the pod's container anew and starts it. An image that can not be
// had leaves an earlier container running.
func (p *pod) start(ctx context.Context, spec Spec) (containerd.Task, <-chan containerd.ExitStatus, error) {
	p.set(func(st *Status) {
		st.State = StateImporting
		if p.started {
			st.Restarts++
		}
	})
	image, id, err := p.rt.images.ensure(ctx, spec.Image)
	if err != nil {
		return nil, nil, err
	}
	p.enter(StateCreating)
	if err := p.discard(ctx); err != nil {
		return nil, nil, err
	}
	sandbox, err := p.setupNetwork(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := p.rt.files.make(p.name, sandbox.Addresses, p.rt.nameServers()); err != nil {
		return nil, nil, err
	}
	c, err := p.rt.client.NewContainer(ctx, p.name,
		containerd.WithImage(image),
		containerd.WithSnapshotter(snapshotter),
		containerd.WithNewSnapshot(p.name, image),
		containerd.WithRuntime(p.rt.opts.Shim, &options.Options{BinaryName: p.rt.opts.Runc}),
		containerd.WithNewSpec(specOpts(spec, image, sandbox.NetnsPath, p.rt.files.mounts(p.name))...),
		containerd.WithContainerLabels(map[string]string{labelSpec: spec.hash(), labelArchive: id, labelStop: spec.StopTimeout.String()}),
		containerd.WithImageStopSignal(image, "SIGTERM"), // adds its label
	)
	if err != nil {
		return nil, nil, fmt.Errorf("create container %s: %w", p.name, err)
	}
	log, err := logTo(logPath(p.rt.opts.LogDir, p.name), p.rt.logLimit())
	if err != nil {
		return nil, nil, fmt.Errorf("log of pod %s: %w", p.name, err)
	}
	task, err := c.NewTask(ctx, log)
	if err != nil {
		return nil, nil, fmt.Errorf("create task %s: %w", p.name, err)
	}
	exit, err := task.Wait(ctx) // before it can end
	if err != nil {
		return nil, nil, fmt.Errorf("wait for task %s: %w", p.name, err)
	}
	if err := task.Start(ctx); err != nil {
		return nil, nil, fmt.Errorf("start task %s: %w", p.name, err)
	}
	return task, exit, nil
}
