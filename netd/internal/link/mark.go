package link

import (
	"errors"
	"slices"

	"netd/netd/internal/rtnl"
)

// The marks are the aliases of links: of those that netd has made, which are the only
// ones that it ever removes, and of a LAN's and its ports, which it takes down when they
// are not wanted any more: behind them are devices, and no guard is left then.
const (
	markUplink = "netd uplink"
	markLAN    = "netd LAN"
	markPort   = "netd LAN port"
)

// mark is a link's.
func (u Wanted) mark() string {
	if u.LAN {
		return markLAN
	}
	return markUplink
}

// ours tells whether netd has made a link.
func ours(l rtnl.Link) bool { return virtual(l) && (l.Alias == markUplink || l.Alias == markLAN) }

// virtual tells whether a link is made of others.
func virtual(l rtnl.Link) bool { return slices.Contains([]string{"vlan", "bond", "bridge"}, l.Kind) }

// wants tells whether a link is what is to be made.
func (u Wanted) wants(l rtnl.Link) bool {
	return u.Name == l.Name && (u.VLAN != nil && l.Kind == "vlan" || u.Bond != nil && l.Kind == "bond" || u.Bridge != nil && l.Kind == "bridge")
}

// remark notes on links of the box what they are for, and takes those down that were a
// LAN's and are nothing's now.
func remark(k Kernel, wanted []Wanted) error {
	links, err := k.Links()
	if err != nil {
		return err
	}
	marks, used := map[int]string{}, map[int]bool{}
	for _, u := range wanted {
		if l := u.find(links); l != nil {
			if used[l.Index] = true; u.LAN {
				marks[l.Index] = markLAN
			}
		}
	}
	for _, u := range wanted {
		for _, m := range u.parts() {
			l := m.in(links)
			if l == nil {
				continue
			}
			if u.LAN && !used[l.Index] {
				marks[l.Index] = markPort
			}
			used[l.Index] = true
		}
	}
	var errs []error
	for _, l := range links {
		was := l.Alias == markLAN || l.Alias == markPort
		if virtual(l) || !was && marks[l.Index] == "" || l.Alias == marks[l.Index] {
			continue
		}
		if was && !used[l.Index] {
			errs = append(errs, k.SetDown(l.Index))
		}
		errs = append(errs, k.SetAlias(l.Index, marks[l.Index]))
	}
	return errors.Join(errs...)
}

// parts are the links that one is made of.
func (u Wanted) parts() []Match {
	switch {
	case u.VLAN != nil:
		return []Match{u.VLAN.Parent}
	case u.Bond != nil:
		return u.Bond.Members
	case u.Bridge != nil:
		return u.Bridge.Members
	}
	return nil
}

// sweepVirtual removes the links that were made and are not wanted any more, before
// others take their names and members, and returns those that are left.
func sweepVirtual(k Kernel, wanted []Wanted) ([]rtnl.Link, error) {
	links, err := k.Links()
	if err != nil {
		return nil, err
	}
	var errs []error
	left := slices.DeleteFunc(slices.Clone(links), func(l rtnl.Link) bool {
		if !ours(l) || slices.ContainsFunc(wanted, func(u Wanted) bool { return u.wants(l) }) {
			return false
		}
		errs = append(errs, k.DeleteLink(l.Name))
		return true
	})
	if len(left) < len(links) { // Members are free now.
		left, err = k.Links()
		errs = append(errs, err)
	}
	return left, errors.Join(errs...)
}
