package ipam

import (
	"fmt"
	"net/netip"
	"slices"
)

// Store keeps the assignments. Each call is durable when it returns.
type Store interface {
	// Load returns all assignments, and the address that was given out last
	// (invalid if none was).
	Load() (pods map[string]netip.Addr, last netip.Addr, err error)
	// Assign records that pod has a, and that a was given out last.
	Assign(pod string, a netip.Addr) error
	// Release forgets the pod.
	Release(pod string) error
}

// Allocator hands out the addresses of this gateway's blocks. It is used by one
// goroutine.
type Allocator struct {
	blocks []netip.Prefix
	store  Store
	pods   map[string]netip.Addr
	inUse  map[netip.Addr]string
	last   netip.Addr
}

// New reads the store. Assignments outside the blocks are kept until their pod
// asks again: it then gets an address of a present block.
func New(blocks []netip.Prefix, store Store) (*Allocator, error) {
	pods, last, err := store.Load()
	if err != nil {
		return nil, fmt.Errorf("load assignments: %w", err)
	}
	a := &Allocator{blocks: slices.Clone(blocks), store: store, pods: pods, inUse: map[netip.Addr]string{}, last: last}
	for pod, addr := range pods {
		a.inUse[addr] = pod
	}
	return a, nil
}

// Assign returns the pod's address, giving it one if it has none. The error of
// a full block says how large the blocks are.
func (a *Allocator) Assign(pod string) (netip.Addr, error) {
	if addr, ok := a.pods[pod]; ok && a.own(addr) {
		return addr, nil
	}
	addr, err := a.next()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("assign address to pod %s: %w", pod, err)
	}
	if err := a.store.Assign(pod, addr); err != nil {
		return netip.Addr{}, fmt.Errorf("assign %s to pod %s: %w", addr, pod, err)
	}
	delete(a.inUse, a.pods[pod])
	a.pods[pod], a.inUse[addr], a.last = addr, pod, addr
	return addr, nil
}

// Claim takes over an address that a pod was found to have, if it is free and of
// our blocks: the store lost it, or never knew. It holds for this life even if
// the store refuses to write it.
func (a *Allocator) Claim(pod string, addr netip.Addr) error {
	if holder, ok := a.inUse[addr]; ok && holder != pod {
		return fmt.Errorf("claim %s for pod %s: pod %s has it", addr, pod, holder)
	}
	if !a.own(addr) {
		return fmt.Errorf("claim %s for pod %s: outside %v", addr, pod, a.blocks)
	}
	delete(a.inUse, a.pods[pod])
	a.pods[pod], a.inUse[addr] = addr, pod
	if err := a.store.Assign(pod, addr); err != nil {
		return fmt.Errorf("record that pod %s has %s: %w", pod, addr, err)
	}
	return nil
}

// Release takes the pod's address back; it is no error if it has none.
func (a *Allocator) Release(pod string) error {
	addr, ok := a.pods[pod]
	if !ok {
		return nil
	}
	if err := a.store.Release(pod); err != nil {
		return fmt.Errorf("release %s of pod %s: %w", addr, pod, err)
	}
	delete(a.pods, pod)
	delete(a.inUse, addr)
	return nil
}

// Pods returns the pods that have an address, ordered by name.
func (a *Allocator) Pods() []string {
	names := make([]string, 0, len(a.pods))
	for pod := range a.pods {
		names = append(names, pod)
	}
	slices.Sort(names)
	return names
}

// Lookup returns the pod's address, if it has one.
func (a *Allocator) Lookup(pod string) (netip.Addr, bool) {
	addr, ok := a.pods[pod]
	return addr, ok
}

func (a *Allocator) own(addr netip.Addr) bool {
	return slices.ContainsFunc(a.blocks, func(b netip.Prefix) bool { return b.Contains(addr) })
}

// next walks on from the address that was given out last, through all blocks in
// turn, and so takes the address that has been free for longest.
func (a *Allocator) next() (netip.Addr, error) {
	start := slices.IndexFunc(a.blocks, func(b netip.Prefix) bool { return b.Contains(a.last) })
	candidates := make([]netip.Prefix, 0, len(a.blocks)+1)
	if start >= 0 {
		for addr := a.last.Next(); a.blocks[start].Contains(addr); addr = addr.Next() {
			if a.inUse[addr] == "" {
				return addr, nil
			}
		}
		candidates = append(candidates, a.blocks[start+1:]...)
		candidates = append(candidates, a.blocks[:start+1]...)
	} else {
		candidates = append(candidates, a.blocks...)
	}
	size := 0
	for _, b := range candidates {
		for addr := b.Addr(); b.Contains(addr); addr = addr.Next() {
			if a.inUse[addr] == "" {
				return addr, nil
			}
			size++
		}
	}
	return netip.Addr{}, fmt.Errorf("no free address: all %d of %v are in use", size, a.blocks)
}
