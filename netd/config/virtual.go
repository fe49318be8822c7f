package config

import "slices"

// VLAN is an uplink that is one network of a trunk (IEEE 802.1Q).
type VLAN struct {
	// ID is 1 to 4094.
	ID int
	// Parent is the trunk: a link of the box, by the kernel's or the board's name, or
	// another uplink, such as a bond, by its own.
	Parent string
}

// Bond is an uplink of several links.
type Bond struct {
	Mode BondMode
	// Members are links of the box, by the kernel's or the board's name.
	Members []string
}

// BondMode is how a bond uses its members.
type BondMode string

const (
	// BondActiveBackup uses one, and another when that has no carrier (the default).
	BondActiveBackup BondMode = "active-backup"
	// BondLACP negotiates with the switch (IEEE 802.1AX) and spreads flows.
	BondLACP BondMode = "802.3ad"
	// BondXOR spreads flows over a static group of the switch.
	BondXOR BondMode = "balance-xor"
)

type rawVLAN struct {
	n      *node
	id     val[int64]
	parent val[string]
}

type rawBond struct {
	n       *node
	mode    val[BondMode]
	members val[[]val[string]]
}

// readVLAN reads vlan; its n is nil if there is none.
func readVLAN(t *table) rawVLAN {
	m := t.table("vlan")
	defer m.done()
	v := rawVLAN{n: t.n.table["vlan"]}
	if v.n == nil {
		m.quiet = true
	}
	v.id = required(m, "id", number(1, 4094, "100"))
	v.parent = required(m, "parent", linkLabel())
	return v
}

// readBond reads bond; its n is nil if there is none.
func readBond(t *table) rawBond {
	m := t.table("bond")
	defer m.done()
	b := rawBond{n: t.n.table["bond"], mode: withDefault(m, "mode", oneOf(BondActiveBackup, BondLACP, BondXOR), BondActiveBackup)}
	b.members = elements(m, "members", linkLabel())
	if b.n != nil && b.members.n == nil {
		m.missing("members", `expected the links to bond, e.g. members = ["eth0", "eth1"]`)
	}
	return b
}

// checkVirtual compares the uplinks with the links that they are made of.
func (r *reader) checkVirtual(us []rawUplink) {
	type trunk struct {
		parent string
		id     int64
	}
	tags, taken := map[trunk]*node{}, map[string]*node{}
	for _, u := range us {
		if u.matchName.ok {
			taken[u.matchName.v] = u.matchName.n
		}
	}
	for _, u := range us {
		if v := u.vlan; v.id.ok && v.parent.ok {
			unique(r, tags, trunk{v.parent.v, v.id.v}, v.id.n)
			if u.name.ok && v.parent.v == u.name.v {
				r.conflict(v.parent.n, "its own name: expected the trunk's")
			}
		}
		if b := u.bond; b.members.ok && len(b.members.v) == 0 {
			r.conflict(b.members.n, `a bond of nothing: expected its links, e.g. ["eth0", "eth1"]`)
		}
		for _, m := range u.bond.members.v {
			if m.ok {
				unique(r, taken, m.v, m.n)
			}
		}
	}
}

// parentOf tells whether a VLAN is on an uplink.
func (u rawUplink) parentOf(us []rawUplink) bool {
	return slices.ContainsFunc(us, func(o rawUplink) bool { return o.vlan.parent.ok && o.vlan.parent.v == u.name.v })
}

func (v rawVLAN) config() *VLAN {
	if v.n == nil {
		return nil
	}
	return &VLAN{ID: int(v.id.v), Parent: v.parent.v}
}

func (b rawBond) config() *Bond {
	if b.n == nil {
		return nil
	}
	return &Bond{Mode: b.mode.v, Members: usable(b.members)}
}

func printLink(p func(string, ...any), u Uplink) {
	switch {
	case u.VLAN != nil:
		p("vlan = { id = %d, parent = %s }", u.VLAN.ID, quote(u.VLAN.Parent))
	case u.Bond != nil:
		p("bond = { mode = %s, members = %s }", quote(string(u.Bond.Mode)), quoteAll(u.Bond.Members, func(s string) string { return s }))
	case u.Match.MAC != nil:
		p("match = { mac = %s }", quote(u.Match.MAC.String()))
	default:
		p("match = { name = %s }", quote(u.Match.Name))
	}
}
