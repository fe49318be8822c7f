package link

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

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

// Bridge is several ports that are one network.
type Bridge struct{ Members []Match }

// order puts bonds and bridges first and VLANs, which may be theirs, last.
func order(uplinks []Wanted) []int {
	turn := make([]int, len(uplinks))
	for i := range turn {
		turn[i] = i
	}
	class := func(i int) int {
		switch {
		case uplinks[i].Bond != nil || uplinks[i].Bridge != nil:
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
		switch {
		case m.MAC == nil && (l.Name == m.Name || slices.Contains(l.AltNames, m.Name)):
			return l
		case m.MAC == nil || !bytes.Equal(hardware(l), m.MAC) || slices.Contains([]string{"vlan", "bond", "bridge"}, l.Kind):
		case l.Kind == "device":
			return l
		case found == nil:
			found = l
		}
	}
	return found
}

// hardware is a link's own MAC address, whatever it is a member of.
func hardware(l *rtnl.Link) net.HardwareAddr {
	if l.PermanentMAC != nil {
		return l.PermanentMAC
	}
	return l.MAC
}

func (m Match) String() string {
	if m.MAC != nil {
		return "with MAC address " + m.MAC.String()
	}
	return "named " + m.Name
}

// make makes a link that is a VLAN, a bond or a bridge, and tells whether the
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
	case u.Bridge != nil:
		return u.makeBridge(k, links, i)
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
	if i >= 0 && u.wants(links[i]) && links[i].Parent == parent.Index && links[i].VLAN == u.VLAN.ID {
		return false, errors.Join(errs...)
	}
	errs = append(errs, u.makeRoom(k, links, i))
	return true, errors.Join(append(errs, k.AddVLAN(u.Name, u.mark(), parent.Index, u.VLAN.ID))...)
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

// makeRoom removes what has the link's name, if netd has made it; or the kernel: with
// its module comes a bond0 that nobody has asked for. A link of the box gets its former
// name back: it may be a member now of what was it alone.
func (u Wanted) makeRoom(k Kernel, links []rtnl.Link, i int) error {
	switch {
	case i < 0:
	case ours(links[i]) || links[i].Kind == "bond" && !links[i].Up:
		return k.DeleteLink(u.Name)
	case !virtual(links[i]) && len(links[i].AltNames) > 0:
		return k.Rename(links[i].Index, links[i].AltNames[0])
	}
	return nil
}

func (u Wanted) makeBond(k Kernel, links []rtnl.Link, i int) (bool, error) {
	there := i >= 0 && u.wants(links[i]) && links[i].Mode == u.Bond.Mode
	return u.makeOf(k, links, i, there, u.Bond.Members, func() error { return k.AddBond(u.Name, u.mark(), u.Bond.Mode) })
}

// makeBridge gives the bridge its first port's address, so that devices which know it
// need not ask again when ports come and go. There is none before there is a port: one that
// never had any has carrier (br_port_state_selection).
func (u Wanted) makeBridge(k Kernel, links []rtnl.Link, i int) (bool, error) {
	there := i >= 0 && u.wants(links[i])
	if missing := lacks(links, u.Bridge.Members); !there && len(missing) == len(u.Bridge.Members) {
		return false, noLinks(missing, "bridge")
	}
	return u.makeOf(k, links, i, there, u.Bridge.Members, func() error {
		var mac net.HardwareAddr
		if first := u.Bridge.Members[0].in(links); first != nil {
			mac = hardware(first)
		}
		return k.AddBridge(u.Name, u.mark(), mac)
	})
}

// makeOf makes a link of members, unless it is there, and gives it these and no others.
func (u Wanted) makeOf(k Kernel, links []rtnl.Link, i int, there bool, wanted []Match, add func() error) (bool, error) {
	changed := !there
	var errs []error
	if !there {
		errs = append(errs, u.makeRoom(k, links, i), add())
		var err error
		if links, err = k.Links(); err != nil {
			return true, err
		}
		if i = slices.IndexFunc(links, func(l rtnl.Link) bool { return l.Name == u.Name }); i < 0 {
			return true, errors.Join(errs...)
		}
	}
	if missing := lacks(links, wanted); len(missing) > 0 {
		errs = append(errs, noLinks(missing, links[i].Kind))
	}
	master := links[i].Index
	members := map[int]bool{}
	for _, m := range wanted {
		l := m.in(links)
		if l == nil {
			continue
		}
		members[l.Index] = true
		if l.Master != master {
			errs, changed = append(errs, k.SetMaster(l.Index, master)), true
		}
		if u.Bridge != nil { // A bond does this by itself.
			errs = append(errs, u.setPort(k, *l))
		}
		if l.Master != master || !l.Up {
			errs = append(errs, k.SetUp(l.Index))
		}
	}
	for _, l := range links {
		if l.Master == master && !members[l.Index] {
			errs, changed = append(errs, k.SetMaster(l.Index, 0)), true
		}
	}
	return changed, errors.Join(errs...)
}

// lacks are the members that are not there.
func lacks(links []rtnl.Link, members []Match) []string {
	var missing []string
	for _, m := range members {
		if m.in(links) == nil {
			missing = append(missing, m.String())
		}
	}
	return missing
}

func noLinks(missing []string, kind string) error {
	return fmt.Errorf("there is no link %s for the %s", strings.Join(missing, " and none "), kind)
}
