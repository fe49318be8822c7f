package ipam

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Store keeps the assignments. It never waits.
type Store interface {
	// Load returns all pods' addresses, at most one of a family each, and the
	// address of each family that was given out last, if it has learnt of any since
	// the last call.
	Load() (pods map[string][]netip.Addr, last []netip.Addr, fresh bool)
	// Put records that pod has these addresses and no others, that nobody else has
	// them, and which were given out last. The channel gets one value: nil when
	// that is durable.
	Put(pod string, addresses, last []netip.Addr) <-chan error
}

// Allocator hands out the addresses of this gateway's blocks. It is used by one
// goroutine and never waits.
type Allocator struct {
	blocks []netip.Prefix
	store  Store
	pods   map[string][]netip.Addr // never changed in place; IPv4 first
	inUse  map[netip.Addr]string
	last   []netip.Addr // as pods'

	kept map[string][]netip.Addr // of pods: what they have for good
	open map[string]int          // tickets of a pod that are not settled
	turn map[string]int          // which of all changes gave a pod what it has now
	done int                     // changes until now
	seen map[string]bool         // pods of this life; of the others there is only the store's word
}

// Ticket is an assignment on its way.
type Ticket struct {
	Pod       string
	Addresses []netip.Addr // one of each family that has a block, IPv4 first
	// Durable gets one value, or is closed, when the assignment is in the store or
	// can not be: Settle wants that value.
	Durable <-chan error
	turn    int
	// What was given out last, before it and with it.
	before, last []netip.Addr
}

// New reads the store. Assignments outside the blocks are kept until their pod
// asks again: it then gets an address of a present block.
func New(blocks []netip.Prefix, store Store) *Allocator {
	a := &Allocator{
		store: store, pods: map[string][]netip.Addr{}, inUse: map[netip.Addr]string{},
		kept: map[string][]netip.Addr{}, open: map[string]int{}, turn: map[string]int{}, seen: map[string]bool{},
	}
	a.SetBlocks(blocks)
	a.learn()
	return a
}

// learn takes over what the store has read late. Where both know something of a pod,
// what is known here counts; the store, which could take nothing until now, is told all
// of it.
func (a *Allocator) learn() {
	pods, last, fresh := a.store.Load()
	if !fresh {
		return
	}
	if len(a.last) == 0 {
		a.last = last
	}
	for _, pod := range slices.Sorted(maps.Keys(a.kept)) {
		if !slices.Equal(a.kept[pod], pods[pod]) {
			a.store.Put(pod, a.kept[pod], a.last)
		}
	}
	for _, pod := range slices.Sorted(maps.Keys(pods)) {
		if a.kept[pod] != nil {
			continue
		}
		a.keep(pod, a.free(pod, pods[pod]))
		if a.pods[pod] == nil {
			a.set(pod, a.kept[pod])
		}
	}
}

// free returns those of addresses that no other pod has.
func (a *Allocator) free(pod string, addresses []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addresses), func(addr netip.Addr) bool {
		holder := a.inUse[addr]
		return holder != "" && holder != pod
	})
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
// it those that it has not. They are the pod's at once, and nobody else gets them; the
// pod may use them when the ticket's Durable says so, and the ticket then is settled,
// whatever it says. The error of full blocks says how large they are.
func (a *Allocator) Assign(pod string) (Ticket, error) {
	a.learn()
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
				return Ticket{}, fmt.Errorf("assign address to pod %s: %w", pod, err)
			}
			last = with(last, addr)
		}
		addresses = append(addresses, addr)
	}
	if len(addresses) == 0 {
		return Ticket{}, fmt.Errorf("assign address to pod %s: no pool has a block here", pod)
	}
	a.seen[pod] = true
	a.open[pod]++
	if slices.Equal(addresses, a.pods[pod]) && slices.Equal(addresses, a.kept[pod]) {
		durable := make(chan error)
		close(durable)
		return Ticket{Pod: pod, Addresses: slices.Clone(addresses), Durable: durable, turn: a.turn[pod]}, nil
	}
	before := a.last
	a.last = last
	if !slices.Equal(addresses, a.pods[pod]) {
		a.set(pod, addresses)
	}
	return Ticket{pod, slices.Clone(addresses), a.store.Put(pod, addresses, last), a.turn[pod], before, last}, nil
}

// Settle ends a ticket with what its Durable said. If that is an error, and no other
// ticket of the pod says better, the pod has again what it had before. The error says
// why the pod can not use the addresses; it may have been released meanwhile.
func (a *Allocator) Settle(t Ticket, durable error) error {
	if a.open[t.Pod]--; a.open[t.Pod] <= 0 {
		delete(a.open, t.Pod)
	}
	if durable != nil {
		if len(t.last) > 0 && slices.Equal(a.last, t.last) {
			a.last = t.before // Nobody was served since: the address is not used up.
		}
		if a.open[t.Pod] == 0 && !slices.Equal(a.pods[t.Pod], a.kept[t.Pod]) {
			before := a.free(t.Pod, a.kept[t.Pod])
			a.set(t.Pod, before)
			a.keep(t.Pod, before)
			a.store.Put(t.Pod, before, a.last)
		}
		return fmt.Errorf("assign %v to pod %s: %w", t.Addresses, t.Pod, durable)
	}
	if t.turn != a.turn[t.Pod] {
		return fmt.Errorf("assign %v to pod %s: it was released or got others meanwhile", t.Addresses, t.Pod)
	}
	a.keep(t.Pod, t.Addresses)
	return nil
}

// Claim takes over the addresses that a pod was found to have, each if it is free
// and of our blocks: the store lost it, or never knew. It goes before what the store
// says of a pod that nobody has seen in this life: a record can be damaged, a pod
// that lives has what it has. It holds at once; the store writes it when it can.
func (a *Allocator) Claim(pod string, found []netip.Addr) error {
	a.learn()
	a.seen[pod] = true
	addresses := a.pods[pod]
	var errs []error
	for _, addr := range found {
		switch holder := a.inUse[addr]; {
		case holder == pod:
		case holder != "" && a.seen[holder]:
			errs = append(errs, fmt.Errorf("claim %s for pod %s: pod %s has it", addr, pod, holder))
		case !within(a.blocks, addr):
			errs = append(errs, fmt.Errorf("claim %s for pod %s: outside %v", addr, pod, a.blocks))
		default:
			if holder != "" {
				rest := slices.DeleteFunc(slices.Clone(a.pods[holder]), func(b netip.Addr) bool { return b == addr })
				a.set(holder, rest)
				a.keep(holder, rest)
			}
			addresses = with(addresses, addr)
		}
	}
	if !slices.Equal(addresses, a.pods[pod]) {
		a.set(pod, addresses)
		a.store.Put(pod, addresses, a.last)
	}
	a.keep(pod, addresses)
	return errors.Join(errs...)
}

// Release takes the pod's addresses back; it is no error if it has none. They are free
// at once: who gets one of them next uses it only when the store says that it is his,
// and in the same write that it is not this pod's any more. The channel is closed or
// gets nil when the release is durable; nobody has to look at it, as the store goes on
// trying.
func (a *Allocator) Release(pod string) <-chan error {
	a.learn()
	delete(a.seen, pod)
	if _, ok := a.pods[pod]; !ok {
		durable := make(chan error)
		close(durable)
		return durable
	}
	a.set(pod, nil)
	a.keep(pod, nil)
	return a.store.Put(pod, nil, a.last)
}

// keep notes what a pod has for good.
func (a *Allocator) keep(pod string, addresses []netip.Addr) {
	if a.kept[pod] = addresses; len(addresses) == 0 {
		delete(a.kept, pod)
	}
}

// set notes what a pod has now.
func (a *Allocator) set(pod string, addresses []netip.Addr) {
	for _, addr := range a.pods[pod] {
		delete(a.inUse, addr)
	}
	delete(a.pods, pod)
	delete(a.turn, pod)
	for _, addr := range addresses {
		a.inUse[addr], a.pods[pod] = pod, addresses
	}
	if a.done++; len(addresses) > 0 {
		a.turn[pod] = a.done
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
