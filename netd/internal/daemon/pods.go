package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"netd/netd/internal/ipam"
	"netd/netd/internal/pod"
	"netd/netd/internal/route"
	"netd/netd/internal/store"
)

// pods are this gateway's pods: their addresses and networks. Addresses are decided on
// the loop. What takes time is done beside it, by whoever asked for the pod: waiting
// for flash, and making links and namespaces.
type pods struct {
	log     *slog.Logger
	loop    *loop
	folder  string   // remembers pods made by hand, until a reboot
	byHand  []string // those pods' names
	store   *store.DB
	ipam    *ipam.Allocator
	records map[string]pod.Pod
	inForce func(netip.Prefix) bool // whether the kernel has our route
	mtu     int                     // in octets: what the pods are to have
	fits    fitted
	fitting bool
	mending bool
	suspect bool // somebody may have changed a pod's link
	inside  bool // it is time to look into some pods
	looked  int  // into how many
	told    func(now time.Time, what ...string)
	problem error // of the last fitting

	manager *pod.Manager
	making  sync.Mutex // held while a pod's link is made; the loop never takes it
	busy    busy
}

// busy are the pods that somebody makes or removes: one at a time for each.
type busy struct {
	mu   sync.Mutex // guards ends, and is held for an assignment
	ends map[string]chan struct{}
}

// begin waits until nobody else is at the pod; the returned function ends it.
func (b *busy) begin(ctx context.Context, name string) (end func(), err error) {
	for {
		b.mu.Lock()
		other, taken := b.ends[name]
		if !taken {
			done := make(chan struct{})
			b.ends[name] = done
			b.mu.Unlock()
			return func() {
				b.mu.Lock()
				delete(b.ends, name)
				b.mu.Unlock()
				close(done)
			}, nil
		}
		b.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// podName is what may be a pod's name: it becomes a host name and a file name.
var podName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func checkPodName(name string) error {
	if !podName.MatchString(name) {
		return fmt.Errorf("pod name %q: expected at most 63 of a-z, 0-9 and -, e.g. web-0", name)
	}
	return nil
}

// add gives a pod its addresses, link and routes; when it returns, they are in force and
// outlast a power cut.
func (p *pods) add(ctx context.Context, name string, owner pod.Owner) (pod.Pod, error) {
	if err := checkPodName(name); err != nil {
		return pod.Pod{}, err
	}
	end, err := p.busy.begin(ctx, name)
	if err != nil {
		return pod.Pod{}, err
	}
	defer end()
	begin := time.Now()
	addresses, mtu, err := p.assign(ctx, name)
	if err != nil {
		return pod.Pod{}, err
	}
	made, _, err := p.make(pod.Spec{Name: name, Owner: owner, Addresses: addresses, MTU: mtu})
	if err != nil {
		return pod.Pod{}, fmt.Errorf("pod %s: %w", name, err)
	}
	known := false
	err = p.loop.run(ctx, &job{
		do: func() error {
			var was pod.Pod
			was, known = p.records[name]
			known = known && was.Equal(made)
			p.records[name] = made
			return nil
		},
		settled: func(err error) error {
			missing := slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !p.inForce(netip.PrefixFrom(a, a.BitLen())) })
			if err != nil && missing { // The error of another route does not concern this pod.
				return fmt.Errorf("pod %s: %w", name, err)
			}
			return nil
		},
	})
	if err == nil && !known {
		p.log.Info("pod has its network", "pod", name, "addresses", addresses, "link", made.Link, "took", time.Since(begin).Round(time.Millisecond/10))
	}
	return made, err
}

// assign reserves a pod's addresses and waits until that is durable.
func (p *pods) assign(ctx context.Context, name string) ([]netip.Addr, int, error) {
	var ticket ipam.Ticket
	mtu := 0
	err := p.loop.do(ctx, func() (err error) {
		mtu = p.mtu
		ticket, err = p.ipam.Assign(name)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return ticket.Addresses, mtu, p.settle(ctx, ticket)
}

// settle waits for a ticket to be durable. It is settled also if ctx ends before.
func (p *pods) settle(ctx context.Context, ticket ipam.Ticket) error {
	var durable error
	select {
	case durable = <-ticket.Durable:
	case <-ctx.Done():
		durable = ctx.Err()
	}
	return p.loop.do(context.WithoutCancel(ctx), func() error { return p.ipam.Settle(ticket, durable) })
}

// make makes a pod's namespace and link, one pod at a time, and tells what was to do.
func (p *pods) make(s pod.Spec) (made pod.Pod, done []string, err error) {
	p.making.Lock()
	defer p.making.Unlock()
	made, err = p.manager.Ensure(s)
	return made, p.manager.Done(), err
}

// remove takes a pod's routes, link and addresses back; it succeeds for one that is not
// there.
func (p *pods) remove(ctx context.Context, name string) error {
	end, err := p.busy.begin(ctx, name)
	if err != nil {
		return err
	}
	defer end()
	err = p.loop.run(ctx, &job{
		do: func() error {
			delete(p.records, name)
			return nil
		},
		settled: func(err error) error {
			if err != nil {
				p.log.Error("routes after the removal of a pod", "pod", name, "err", err)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	p.making.Lock()
	err = p.manager.Remove(name)
	p.making.Unlock()
	if err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	var durable <-chan error
	if err := p.loop.do(ctx, func() error {
		durable = p.ipam.Release(name)
		return nil
	}); err != nil {
		return err
	}
	select {
	case err := <-durable:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// routes are the pods as the plan sees them.
func (p *pods) routes() []route.LocalPod {
	var all []route.LocalPod
	for _, name := range slices.Sorted(maps.Keys(p.records)) {
		r := p.records[name]
		for _, a := range r.Addresses {
			all = append(all, route.LocalPod{Name: name, Address: a, Link: r.Link, Index: r.Index})
		}
	}
	return all
}

// handMade are the names of pods that were made by hand before this agent's start.
func (p *pods) handMade() []string {
	files, _ := filepath.Glob(filepath.Join(p.folder, "*"))
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	return files
}

// remember notes that a pod was made by hand; forget takes that back.
func (p *pods) remember(ctx context.Context, name string) error {
	if err := os.MkdirAll(p.folder, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.folder, name), nil, 0o600); err != nil {
		return err
	}
	return p.loop.do(ctx, func() error {
		p.byHand = append(p.byHand, name)
		return nil
	})
}

func (p *pods) forget(ctx context.Context, name string) error {
	if err := os.Remove(filepath.Join(p.folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return p.loop.do(ctx, func() error {
		p.byHand = slices.DeleteFunc(p.byHand, func(n string) bool { return n == name })
		return nil
	})
}

// adopt finds the pods of an earlier life, which keep what they have, also if the
// store knows nothing of them. An address whose pod is neither there nor wanted
// is given back. It runs before the loop does.
func (p *pods) adopt(wanted map[string]bool) error {
	alive, err := p.manager.List()
	if err != nil {
		return err
	}
	for _, r := range alive {
		switch {
		case !wanted[r.Name]:
			// Its container, if there is one, is on its way out too.
			p.log.Info("removing the network of a pod that is not wanted any more", "pod", r.Name)
			if err := p.manager.Remove(r.Name); err != nil {
				p.log.Error("a pod's network stays", "pod", r.Name, "err", err)
			}
			continue
		case len(r.Addresses) == 0:
			continue // Half made: its workload makes it whole.
		}
		if slices.Contains(p.byHand, r.Name) {
			r.Owner = pod.ByHand
		}
		p.record(r)
		p.records[r.Name] = r
	}
	for _, name := range p.ipam.Pods() {
		if _, found := p.records[name]; !found && !wanted[name] {
			p.ipam.Release(name)
		}
	}
	if n := len(p.records); n > 0 {
		p.log.Info("found the pods of before", "pods", n)
	}
	return nil
}

// record makes sure that the store knows the addresses that a pod has.
func (p *pods) record(r pod.Pod) {
	known := p.ipam.Lookup(r.Name)
	if !slices.ContainsFunc(r.Addresses, func(a netip.Addr) bool { return !slices.Contains(known, a) }) {
		return
	}
	if err := p.ipam.Claim(r.Name, r.Addresses); err != nil {
		p.log.Error("a pod was found with an address that is not recorded", "pod", r.Name, "err", err)
	}
}
