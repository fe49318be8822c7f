package config

// VLAN is a link that is one network of a trunk (IEEE 802.1Q).
type VLAN struct {
	// ID is 1 to 4094.
	ID int
	// Parent is the trunk: a link of the box, by the kernel's or the board's name, or
	// another link of this file, such as a bond, by its own.
	Parent string
}

// Bond is a link of several.
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
	n      *node // nil if there is none
	id     val[int]
	parent val[string]
}

// rawMembers is a bond or a bridge.
type rawMembers struct {
	n       *node // nil if there is none
	members val[[]val[string]]
}

// vlanKeys are those of vlan.
func (l *Link) vlanKeys(t *table) rawVLAN {
	r := rawVLAN{n: t.child("vlan", about{})}
	sub, v, there := orNone(t, "vlan", r.n, l.VLAN)
	defer sub.done()
	l.VLAN = there
	r.id = required(sub, "id", &v.ID, number[int](1, 4094, "100"))
	r.parent = required(sub, "parent", &v.Parent, linkLabel())
	return r
}

// bondKeys are those of bond.
func (l *Link) bondKeys(t *table) rawMembers {
	r := rawMembers{n: t.child("bond", about{})}
	sub, b, there := orNone(t, "bond", r.n, l.Bond)
	defer sub.done()
	l.Bond = there
	withDefault(sub, "mode", &b.Mode, oneOf(BondActiveBackup, BondLACP, BondXOR), BondActiveBackup)
	r.members = elements(sub, "members", &b.Members, linkLabel())
	if r.members.n == nil {
		sub.missing("members", `expected the links to bond, e.g. members = ["eth0", "eth1"]`)
	}
	return r
}
