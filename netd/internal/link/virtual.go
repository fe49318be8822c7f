package link

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"

	"netd/netd/internal/rtnl"
)

// Match finds a link by its MAC address, hardware first, or else by a name that it has
// or had.
type Match struct {
	Name string
	MAC  net.HardwareAddr
}

// VLAN is one network of a trunk.
type VLAN struct {
	ID     int
	Parent Match
}

// Bond is a link of several.
type Bond struct {
	// Mode is active-backup, 802.3ad or balance-xor.
	Mode    string
	Members []Match
}

// mark is the alias of the links that netd makes for uplinks: only these are ever
// removed.
const mark = "netd uplink"

// order puts bonds first and VLANs, which may be theirs, last.
func order(uplinks []Wanted) []int {
	turn := make([]int, len(uplinks))
	for i := range turn {
		turn[i] = i
	}
	class := func(i int) int {
		switch {
		case uplinks[i].Bond != nil:
			return 0
		case uplinks[i].VLAN != nil:
			return 2
		}
		return 1
	}
	slices.SortStableFunc(turn, func(a, b int) int { return cmp.Compare(class(a), class(b)) })
	return turn
}

// in finds the link among those that are there. Members of a bond have all one
// address, but each its own permanent one.
func (m Match) in(links []rtnl.Link) *rtnl.Link {
	var found *rtnl.Link
	for i := range links {
		l := &links[i]
		mac := l.PermanentMAC
		if mac == nil {
			mac = l.MAC
		}
		switch {
		case m.MAC == nil && (l.Name == m.Name || slices.Contains(l.AltNames, m.Name)):
			return l
		case m.MAC == nil || !bytes.Equal(mac, m.MAC) || l.Kind == "vlan" || l.Kind == "bond":
		case l.Kind == "device":
			return l
		case found == nil:
			found = l
		}
	}
	return found
}

func (m Match) String() string {
	if m.MAC != nil {
		return "with MAC address " + m.MAC.String()
	}
	return "named " + m.Name
}

// make makes the link of an uplink that is a VLAN or a bond, and tells whether the
// list of links has changed.
func (u Wanted) make(k Kernel, links []rtnl.Link) (bool, error) {
	i := slices.IndexFunc(links, func(l rtnl.Link) bool { return l.Name == u.Name })
	switch {
	case u.VLAN != nil:
		parent := u.VLAN.Parent.in(links)
		if parent == nil {
			return false, fmt.Errorf("there is no link %s to be the trunk", u.VLAN.Parent)
		}
		return u.makeVLAN(k, links, i, *parent)
	case u.Bond != nil:
		return u.makeBond(k, links, i)
	}
	return false, nil
}

func (u Wanted) makeVLAN(k Kernel, links []rtnl.Link, i int, parent rtnl.Link) (bool, error) {
	var errs []error
	if parent.MTU < u.MTU {
		errs = append(errs, k.SetMTU(parent.Index, u.MTU))
	}
	errs = append(errs, distrustRouters(k, parent.Name, parent.Index, nil))
	if !parent.Up {
		errs = append(errs, k.SetUp(parent.Index))
	}
	if i >= 0 && links[i].Kind == "vlan" && links[i].Parent == parent.Index && links[i].VLAN == u.VLAN.ID {
		return false, errors.Join(errs...)
	}
	errs = append(errs, u.makeRoom(k, links, i))
	return true, errors.Join(append(errs, k.AddVLAN(u.Name, mark, parent.Index, u.VLAN.ID))...)
}

// trunkMTU is what a link needs for the VLANs on it, 0 if it has none. Whatever its own is to
// be, by the configuration or a lease: two uplinks that each set it would do so for ever,
// and some drivers reset their hardware each time.
func trunkMTU(uplinks []Wanted, links []rtnl.Link, index int) int {
	mtu := 0
	for _, u := range uplinks {
		if u.VLAN == nil {
			continue
		}
		if parent := u.VLAN.Parent.in(links); parent != nil && parent.Index == index {
			mtu = max(mtu, u.MTU)
		}
	}
	return mtu
}

// makeRoom removes what has the uplink's name, if netd has made it; or the kernel: with
// its module comes a bond0 that nobody has asked for.
func (u Wanted) makeRoom(k VirtualLinks, links []rtnl.Link, i int) error {
	if i < 0 || links[i].Alias != mark && (links[i].Kind != "bond" || links[i].Up) {
		return nil
	}
	return k.DeleteLink(u.Name)
}

func (u Wanted) makeBond(k Kernel, links []rtnl.Link, i int) (bool, error) {
	made := i < 0 || links[i].Kind != "bond" || links[i].Mode != u.Bond.Mode
	var errs []error
	if made {
		errs = append(errs, u.makeRoom(k, links, i), k.AddBond(u.Name, mark, u.Bond.Mode))
		var err error
		if links, err = k.Links(); err != nil {
			return true, err
		}
		if i = slices.IndexFunc(links, func(l rtnl.Link) bool { return l.Name == u.Name }); i < 0 {
			return true, errors.Join(errs...)
		}
	}
	bond := links[i].Index
	members := map[int]bool{}
	for _, m := range u.Bond.Members {
		l := m.in(links)
		if l == nil {
			errs = append(errs, fmt.Errorf("there is no link %s for the bond", m))
			continue
		}
		members[l.Index] = true
		if l.Master != bond {
			errs, made = append(errs, k.SetMaster(l.Index, bond)), true
		}
		if l.Master != bond || !l.Up {
			errs = append(errs, k.SetUp(l.Index))
		}
	}
	for _, l := range links {
		if l.Master == bond && !members[l.Index] {
			errs, made = append(errs, k.SetMaster(l.Index, 0)), true
		}
	}
	return made, errors.Join(errs...)
}

// sweepVirtual removes the links that were made for uplinks that are no more.
func sweepVirtual(k Kernel, uplinks []Wanted) error {
	links, err := k.Links()
	if err != nil {
		return err
	}
	for _, l := range links {
		wanted := slices.ContainsFunc(uplinks, func(u Wanted) bool {
			return u.Name == l.Name && (u.VLAN != nil && l.Kind == "vlan" || u.Bond != nil && l.Kind == "bond")
		})
		if l.Alias == mark && !wanted {
			err = errors.Join(err, k.DeleteLink(l.Name))
		}
	}
	return err
}
