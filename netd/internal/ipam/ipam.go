package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Store keeps the assignments. Each call is durable when it returns.
type Store interface {
	// Load returns all pods' addresses, at most one of a family each, and the
	// address of each family that was given out last.
	Load() (pods map[string][]netip.Addr, last []netip.Addr, err error)
	// Assign records that pod has these addresses and no others, and which
	// were given out last.
	Assign(pod string, addresses, last []netip.Addr) error
	// Release forgets the pod.
	Release(pod string) error
}

// Allocator hands out the addresses of this gateway's blocks. It is used by one
// goroutine.
type Allocator struct {
	blocks []netip.Prefix
	store  Store
	pods   map[string][]netip.Addr // never changed in place; IPv4 first
	inUse  map[netip.Addr]string
	last   []netip.Addr // as pods'
}

// New reads the store. Assignments outside the blocks are kept until their pod
// asks again: it then gets an address of a present block.
func New(blocks []netip.Prefix, store Store) (*Allocator, error) {
	pods, last, err := store.Load()
	if err != nil {
		return nil, fmt.Errorf("load assignments: %w", err)
	}
	a := &Allocator{store: store, pods: pods, inUse: map[netip.Addr]string{}, last: last}
	a.SetBlocks(blocks)
	for pod, addresses := range pods {
		for _, addr := range addresses {
			a.inUse[addr] = pod
		}
	}
	return a, nil
}

// SetBlocks changes the blocks; pods keep what they have until they ask again.
func (a *Allocator) SetBlocks(blocks []netip.Prefix) { a.blocks = slices.Clone(blocks) }

// families are the lengths of addresses, in the order in which a pod has them.
func families() []int { return []int{32, 128} }

// ofFamily returns the address of a family, invalid if there is none.
func ofFamily(addresses []netip.Addr, family int) netip.Addr {
	for _, addr := range addresses {
		if addr.BitLen() == family {
			return addr
		}
	}
	return netip.Addr{}
}

// with returns addresses with addr in the place of the one of its family.
func with(addresses []netip.Addr, addr netip.Addr) []netip.Addr {
	var result []netip.Addr
	for _, family := range families() {
		if addr.BitLen() == family {
			result = append(result, addr)
		} else if other := ofFamily(addresses, family); other.IsValid() {
			result = append(result, other)
		}
	}
	return result
}

// Assign returns the pod's addresses, one of each family that has a block, giving
// it those that it has not. The error of full blocks says how large they are.
func (a *Allocator) Assign(pod string) ([]netip.Addr, error) {
	var addresses []netip.Addr
	last := a.last
	for _, family := range families() {
		blocks := a.blocksOf(family)
		if len(blocks) == 0 {
			continue
		}
		addr := ofFamily(a.pods[pod], family)
		if !within(blocks, addr) {
			var err error
			if addr, err = a.next(blocks, ofFamily(a.last, family)); err != nil {
				return nil, fmt.Errorf("assign address to pod %s: %w", pod, err)
			}
			last = with(last, addr)
		}
		addresses = append(addresses, addr)
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("assign address to pod %s: no pool has a block here", pod)
	}
	if slices.Equal(addresses, a.pods[pod]) {
		return addresses, nil
	}
	if err := a.store.Assign(pod, addresses, last); err != nil {
		return nil, fmt.Errorf("assign %v to pod %s: %w", addresses, pod, err)
	}
	a.last = last
	a.set(pod, addresses)
	return addresses, nil
}

// Claim takes over the addresses that a pod was found to have, each if it is free
// and of our blocks: the store lost it, or never knew. That holds for this life even
// if the store refuses to write it.
func (a *Allocator) Claim(pod string, found []netip.Addr) error {
	addresses := a.pods[pod]
	var errs []error
	for _, addr := range found {
		switch holder, taken := a.inUse[addr]; {
		case taken && holder != pod:
			errs = append(errs, fmt.Errorf("claim %s for pod %s: pod %s has it", addr, pod, holder))
		case !within(a.blocks, addr):
			errs = append(errs, fmt.Errorf("claim %s for pod %s: outside %v", addr, pod, a.blocks))
		default:
			addresses = with(addresses, addr)
		}
	}
	if !slices.Equal(addresses, a.pods[pod]) {
		a.set(pod, addresses)
		if err := a.store.Assign(pod, addresses, a.last); err != nil {
			errs = append(errs, fmt.Errorf("record that pod %s has %v: %w", pod, addresses, err))
		}
	}
	return errors.Join(errs...)
}

// Release takes the pod's addresses back; it is no error if it has none.
func (a *Allocator) Release(pod string) error {
	addresses, ok := a.pods[pod]
	if !ok {
		return nil
	}
	if err := a.store.Release(pod); err != nil {
		return fmt.Errorf("release %v of pod %s: %w", addresses, pod, err)
	}
	a.set(pod, nil)
	return nil
}

// set notes what a pod has now.
func (a *Allocator) set(pod string, addresses []netip.Addr) {
	for _, addr := range a.pods[pod] {
		delete(a.inUse, addr)
	}
	delete(a.pods, pod)
	for _, addr := range addresses {
		a.inUse[addr], a.pods[pod] = pod, addresses
	}
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

// Lookup returns the pod's addresses, none if it has none; IPv4 comes first.
func (a *Allocator) Lookup(pod string) []netip.Addr { return slices.Clone(a.pods[pod]) }

func (a *Allocator) blocksOf(family int) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(a.blocks), func(b netip.Prefix) bool { return b.Addr().BitLen() != family })
}

func within(blocks []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(blocks, func(b netip.Prefix) bool { return b.Contains(addr) })
}

// first is the first address of a block that a pod can have. In an IPv6 subnet the one
// of zeroes is any router's (RFC 4291 section 2.6.1), but not in a /127 (RFC 6164).
func first(b netip.Prefix) netip.Addr {
	if b.Addr().Is6() && b.Bits() < 127 {
		return b.Addr().Next()
	}
	return b.Addr()
}

// next walks on from the address that was given out last, through all blocks of the
// family in turn, and so takes the address that has been free for longest. It takes no
// more steps than there are pods, and two.
func (a *Allocator) next(blocks []netip.Prefix, last netip.Addr) (netip.Addr, error) {
	type walk struct {
		block netip.Prefix
		from  netip.Addr
	}
	var walks []walk
	start := slices.IndexFunc(blocks, func(b netip.Prefix) bool { return b.Contains(last) })
	if start >= 0 {
		walks = append(walks, walk{blocks[start], last.Next()})
	}
	for i := range blocks {
		b := blocks[(start+1+i)%len(blocks)]
		walks = append(walks, walk{b, first(b)})
	}
	for _, w := range walks {
		for addr := w.from; w.block.Contains(addr); addr = addr.Next() {
			if a.inUse[addr] == "" {
				return addr, nil
			}
		}
	}
	size := 0
	for addr := range a.inUse {
		if within(blocks, addr) {
			size++
		}
	}
	return netip.Addr{}, fmt.Errorf("no free address: all %d of %v are in use", size, blocks)
}
