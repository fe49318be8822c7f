package route

import (
	"net/netip"

	"netd/netd/internal/rtnl"
)

// mirror is what is known of the routes that are ours in the kernel. A prefix costs a
// number: that of all that its route says beside the prefix, which routes share.
type mirror struct {
	v4    map[key4]uint32
	v6    map[key6]uint32
	slots []slot // the first is nobody's
	index map[said]uint32
	free  []uint32
	// groups counts the routes that refer to a next-hop object.
	groups map[uint32]int
	// strays are routes of ours with another metric than ours.
	strays []rtnl.Route
}

type key4 struct {
	addr [4]byte
	bits uint8
}

type key6 struct {
	addr [16]byte
	bits uint8
}

// said is a route without its prefix, and for what outcome it is there; nil if that is
// not known.
type said struct {
	route   rtnl.Route
	outcome *Outcome
}

// slot is what some routes say.
type slot struct {
	said
	uses int
}

func newMirror() *mirror {
	return &mirror{
		v4: map[key4]uint32{}, v6: map[key6]uint32{}, slots: make([]slot, 1), index: map[said]uint32{}, groups: map[uint32]int{},
	}
}

func (m *mirror) len() int { return len(m.v4) + len(m.v6) }

// at is the number of what a prefix's route says, 0 if it has none.
func (m *mirror) at(p netip.Prefix) uint32 {
	if a := p.Addr(); a.Is4() {
		return m.v4[key4{a.As4(), uint8(p.Bits())}]
	}
	return m.v6[key6{p.Addr().As16(), uint8(p.Bits())}]
}

// put notes a route. The number of what its predecessor said is not used again before
// tidy is called.
func (m *mirror) put(p netip.Prefix, s said) {
	s.route.Prefix = netip.Prefix{}
	n := m.index[s]
	if n == 0 {
		n = uint32(len(m.slots))
		if last := len(m.free) - 1; last >= 0 {
			n, m.free = m.free[last], m.free[:last]
			m.slots[n] = slot{said: s}
		} else {
			m.slots = append(m.slots, slot{said: s})
		}
		m.index[s] = n
	}
	m.use(n, 1)
	m.leave(m.at(p))
	if a := p.Addr(); a.Is4() {
		m.v4[key4{a.As4(), uint8(p.Bits())}] = n
	} else {
		m.v6[key6{a.As16(), uint8(p.Bits())}] = n
	}
}

// found notes a route that was read from the kernel.
func (m *mirror) found(r rtnl.Route) {
	if r.Metric != Metric {
		m.strays = append(m.strays, r)
		return
	}
	m.put(r.Prefix, said{route: r})
}

// drop notes that a prefix has no route.
func (m *mirror) drop(p netip.Prefix) {
	m.leave(m.at(p))
	if a := p.Addr(); a.Is4() {
		delete(m.v4, key4{a.As4(), uint8(p.Bits())})
	} else {
		delete(m.v6, key6{a.As16(), uint8(p.Bits())})
	}
}

func (m *mirror) leave(n uint32) {
	if n != 0 {
		m.use(n, -1)
	}
}

func (m *mirror) use(n uint32, by int) {
	s := &m.slots[n]
	s.uses += by
	if id := s.route.NextHop; id != 0 {
		if m.groups[id] += by; m.groups[id] == 0 {
			delete(m.groups, id)
		}
	}
}

// become notes for what outcome the routes of a slot are there now.
func (m *mirror) become(n uint32, o *Outcome) {
	s := &m.slots[n]
	if m.index[s.said] == n {
		delete(m.index, s.said)
	}
	s.outcome = o
	if m.index[s.said] == 0 { // Else there are two slots that say the same, which is no harm.
		m.index[s.said] = n
	}
}

// tidy gives free what no route says any more.
func (m *mirror) tidy() {
	for n := 1; n < len(m.slots); n++ {
		s := &m.slots[n]
		if s.uses > 0 || s.route == (rtnl.Route{}) {
			continue
		}
		if m.index[s.said] == uint32(n) {
			delete(m.index, s.said)
		}
		*s = slot{}
		m.free = append(m.free, uint32(n))
	}
}

// each goes through the prefixes of the slots that f wants, in no order.
func (m *mirror) each(f func(n uint32) bool, do func(p netip.Prefix, n uint32)) {
	for k, n := range m.v4 {
		if f(n) {
			do(netip.PrefixFrom(netip.AddrFrom4(k.addr), int(k.bits)), n)
		}
	}
	for k, n := range m.v6 {
		if f(n) {
			do(netip.PrefixFrom(netip.AddrFrom16(k.addr), int(k.bits)), n)
		}
	}
}

// prefixes are those of the slots that f wants, in order.
func (m *mirror) prefixes(f func(n uint32) bool) (all []netip.Prefix) {
	m.each(f, func(p netip.Prefix, _ uint32) { all = append(all, p) })
	sortPrefixes(all)
	return all
}

// forget drops the routes that f says are gone, and tells whether there were any.
func (m *mirror) forget(gone func(r rtnl.Route) bool) bool {
	slots := map[uint32]bool{}
	for n, s := range m.slots {
		if s.uses > 0 && gone(s.route) {
			slots[uint32(n)] = true
		}
	}
	if len(slots) == 0 {
		return false
	}
	for _, p := range m.prefixes(func(n uint32) bool { return slots[n] }) {
		m.drop(p)
	}
	m.tidy()
	return true
}
