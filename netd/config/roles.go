package config

import "slices"

// This file has what a link can be: one thing.

// maxVLANs is how many VLANs the kernel has in each other (MAX_NEST_DEV in its
// include/linux/netdevice.h, less the link that they are on).
const maxVLANs = 7

// named tells whether the file calls the link so: by the name that it gets, or the one by
// which it is found.
func (l rawLink) named(name string) bool {
	return l.name.ok && l.name.v == name || l.matchName.ok && l.matchName.v == name
}

// checkKind reports a link that is to be two things.
func (r *reader) checkKind(l rawLink) {
	if l.matchName.n != nil && l.matchMAC.n != nil {
		r.conflict(l.n.table["match"], "name and mac exclude each other: expected one of them")
	}
	if l.vlan.n != nil && l.bond.n != nil {
		r.conflict(l.bond.n, "vlan and bond exclude each other: expected the bond as a link of its own, and its name as the VLAN's parent")
	} else if l.bridge.n != nil && l.made() != l.bridge.n {
		r.conflict(l.bridge.n, "a bridge is neither a VLAN nor a bond: expected one of vlan, bond and bridge")
	} else if made := l.made(); made != nil && l.n.table["match"] != nil {
		r.conflict(made, "match is for a link that is there: expected one of match and this")
	}
	// With the kernel's module for bonds comes one that nobody has asked for.
	if l.bond.n == nil && l.name.ok && l.name.v == "bond0" {
		r.conflict(l.name.n, "not a bond, and the kernel makes one of this name: expected another, e.g. %q", l.stem+"0")
	}
}

// checkMembers reports members of bonds and bridges that are something else too.
func (r *reader) checkMembers(links []rawLink) {
	members := map[string]*node{}
	for _, l := range links {
		for what, m := range map[string]val[[]val[string]]{"bond": l.bond.members, "bridge": l.bridge.members} {
			if m.ok && len(m.v) == 0 {
				r.conflict(m.n, `a %s of nothing: expected its links, e.g. ["eth0", "eth1"]`, what)
			}
		}
		for _, m := range slices.Concat(l.bond.members.v, l.bridge.members.v) {
			if !m.ok {
				continue
			}
			unique(r, members, m.v, m.n)
			if i := slices.IndexFunc(links, func(o rawLink) bool { return o.named(m.v) }); i >= 0 {
				r.conflict(m.n, "a link of its own (%s): expected one that is nothing but a member", links[i].n)
			}
		}
	}
	for _, l := range links {
		if m := members[l.vlan.parent.v]; l.vlan.parent.ok && l.bond.n == nil && m != nil {
			r.conflict(l.vlan.parent.n, "a member of another link (%s): expected that link as the trunk, or one that is no member", m)
		}
	}
}

// checkVLANs reports VLANs that can not be on their trunks.
func (r *reader) checkVLANs(links []rawLink) {
	type trunk struct {
		parent string
		id     int
	}
	tags := map[trunk]*node{}
	looped := map[int]bool{}
	for i, l := range links {
		v := l.vlan
		if !v.parent.ok {
			continue
		}
		parent := parentOf(links, l)
		if v.id.ok {
			key := trunk{v.parent.v, v.id.v}
			if parent >= 0 && links[parent].name.ok { // Two names, one trunk.
				key.parent = links[parent].name.v
			}
			unique(r, tags, key, v.id.n)
		}
		switch {
		case parent < 0 || looped[i]:
		case parent == i:
			r.conflict(v.parent.n, "its own name: expected the trunk's")
		default:
			r.checkTrunk(links, i, looped)
			r.checkVLANMTU(l, links[parent])
		}
	}
}

// checkTrunk follows a VLAN down to the link that it is on in the end.
func (r *reader) checkTrunk(links []rawLink, i int, looped map[int]bool) {
	path := []int{i}
	for at := parentOf(links, links[i]); at >= 0; at = parentOf(links, links[at]) {
		if at == i {
			for _, j := range path {
				looped[j] = true // one mistake, one error
			}
			last := links[path[len(path)-1]]
			r.conflict(links[i].vlan.parent.n, "a VLAN on itself, by way of %s: expected a trunk that is no VLAN of this one", last.vlan.parent.n)
			return
		}
		if slices.Contains(path, at) {
			return // a loop further down
		}
		path = append(path, at)
	}
	if n := len(path); n == maxVLANs+2 {
		r.conflict(links[i].vlan.parent.n, "%d VLANs in each other: expected at most %d, which is what the kernel takes", n-1, maxVLANs)
	}
}

// checkVLANMTU reports a VLAN whose packets do not fit its trunk.
func (r *reader) checkVLANMTU(l, parent rawLink) {
	if !l.mtu.ok || !parent.mtu.ok || l.mtu.v <= parent.mtu.v {
		return
	}
	if l.mtu.n == nil {
		r.conflict(parent.mtu.n, "less than the %d of its VLAN (%s): expected at least that, or mtu = %d there", l.mtu.v, l.n, parent.mtu.v)
		return
	}
	r.conflict(l.mtu.n, "more than the %d of its trunk (%s): expected at most that, or mtu = %d there", parent.mtu.v, parent.n, l.mtu.v)
}

// parentOf is the index of the link that a VLAN is on, if the file describes it; else -1.
func parentOf(links []rawLink, l rawLink) int {
	if !l.vlan.parent.ok {
		return -1
	}
	// The name that a link gets counts before the one that it has had.
	if i := slices.IndexFunc(links, func(o rawLink) bool { return o.name.ok && o.name.v == l.vlan.parent.v }); i >= 0 {
		return i
	}
	return slices.IndexFunc(links, func(o rawLink) bool { return o.named(l.vlan.parent.v) })
}

// isParent tells whether a VLAN is on a link.
func (l rawLink) isParent(ls []rawLink) bool {
	return slices.ContainsFunc(ls, func(o rawLink) bool { return o.vlan.parent.ok && l.named(o.vlan.parent.v) })
}
