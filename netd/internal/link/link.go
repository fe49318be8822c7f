package link

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"netd/netd/internal/rtnl"
)

// Protocol marks the addresses that netd gave to links (IFA_PROTO): it is the routes'
// number. Only these are ever taken away.
const Protocol = 120

// Uplink is a wanted link.
type Uplink struct {
	Name string
	// MatchName or MatchMAC finds the link.
	MatchName string
	MatchMAC  net.HardwareAddr
	Addresses []netip.Prefix
	DHCP      bool
	Router    netip.Addr
	// MTU in octets. With DHCP it is what the link gets with a lease that names none.
	MTU int
}

// State is what is there.
type State struct {
	Name      string
	Index     int
	MAC       string
	MTU       int
	Carrier   bool
	Addresses []netip.Prefix
	// Router is the default route's next hop, from the configuration or DHCP.
	Router netip.Addr
	// Problem is empty if the link is as wanted.
	Problem string
}

// Kernel is what Apply needs of rtnetlink.
type Kernel interface {
	Links() ([]rtnl.Link, error)
	Addresses(link int) ([]rtnl.Address, error)
	Rename(index int, name string) error
	SetMTU(index, mtu int) error
	SetUp(index int) error
	PutAddress(link int, p netip.Prefix, protocol int) error
	OwnAddresses(protocol int) ([]rtnl.Address, error)
	DeleteAddress(link int, p netip.Prefix) error
}

// Apply makes the uplinks so, and says what is there. An uplink whose link is
// missing, or that the kernel refuses, has its Problem in its State and does not
// stop the others; the error is for a kernel that could not be read.
// leases has what DHCP gave, by uplink name.
func Apply(k Kernel, uplinks []Uplink, leases map[string]Lease) ([]State, error) {
	links, err := k.Links()
	if err != nil {
		return nil, err
	}
	states := make([]State, len(uplinks))
	keep := own{held: map[int]bool{}}
	for i, u := range uplinks {
		states[i] = State{Name: u.Name, Router: u.Router}
		found := u.find(links)
		if found == nil {
			states[i].Problem = fmt.Sprintf("there is no link %s", u.match())
			continue
		}
		wanted := slices.Clone(u.Addresses)
		lease, asked := leases[u.Name]
		keep.held[found.Index] = u.DHCP && !asked
		switch {
		case !u.DHCP:
		case !lease.Address.IsValid():
			u.MTU = found.MTU // Left alone until a server has been asked.
		default:
			wanted, states[i].Router = append(wanted, lease.Address), lease.Router
			u.MTU = cmp.Or(lease.MTU, u.MTU)
		}
		for _, p := range wanted {
			keep.addresses = append(keep.addresses, rtnl.Address{Prefix: p, Link: found.Index})
		}
		if err := u.apply(k, *found, wanted); err != nil {
			states[i].Problem = err.Error()
		}
		states[i].Index = found.Index
		if u.DHCP && len(wanted) == 0 && states[i].Problem == "" {
			states[i].Problem = "no DHCP lease yet"
		}
	}
	if err := keep.sweep(k); err != nil {
		return nil, err
	}
	for i := range states {
		if err := states[i].read(k); err != nil {
			return nil, err
		}
	}
	return states, nil
}

// own is what stays of the addresses that carry our mark.
type own struct {
	addresses []rtnl.Address
	// held links, by index, keep theirs: it is not known yet what they should have.
	held map[int]bool
}

// sweep takes away what an earlier configuration or lease has left.
func (o own) sweep(k Kernel) error {
	have, err := k.OwnAddresses(Protocol)
	if err != nil {
		return err
	}
	for _, a := range have {
		if !o.held[a.Link] && !slices.Contains(o.addresses, a) {
			err = errors.Join(err, k.DeleteAddress(a.Link, a.Prefix))
		}
	}
	return err
}

// find prefers the link that already has the uplink's name, then the match.
func (u Uplink) find(links []rtnl.Link) *rtnl.Link {
	for i := range links {
		if u.MatchMAC != nil && bytes.Equal(links[i].MAC, u.MatchMAC) && links[i].Kind == "device" {
			return &links[i]
		}
	}
	for _, name := range []string{u.Name, u.MatchName} {
		for i := range links {
			l := &links[i]
			if u.MatchMAC != nil && !bytes.Equal(l.MAC, u.MatchMAC) {
				continue
			}
			if l.Name == name || slices.Contains(l.AltNames, name) || u.MatchMAC != nil {
				return l
			}
		}
	}
	return nil
}

func (u Uplink) match() string {
	if u.MatchMAC != nil {
		return "with MAC address " + u.MatchMAC.String()
	}
	return "named " + u.MatchName
}

func (u Uplink) apply(k Kernel, l rtnl.Link, wanted []netip.Prefix) error {
	var errs []error
	if l.Name != u.Name {
		errs = append(errs, k.Rename(l.Index, u.Name))
		l.Up = false
	}
	if l.MTU != u.MTU {
		errs = append(errs, k.SetMTU(l.Index, u.MTU))
	}
	have, err := k.Addresses(l.Index)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	// Without this the kernel takes the new address away along with a former one
	// of the same subnet (it is then a secondary of that).
	errs = append(errs, rtnl.SetSysctl("ipv4/conf/"+u.Name+"/promote_secondaries", "1"))
	for _, p := range wanted {
		if !slices.Contains(have, rtnl.Address{Prefix: p, Link: l.Index}) {
			errs = append(errs, k.PutAddress(l.Index, p, Protocol))
		}
	}
	if !l.Up {
		errs = append(errs, k.SetUp(l.Index))
	}
	// Loose, not strict: what comes back by the tunnel may have left natively.
	errs = append(errs, rtnl.SetSysctl("ipv4/conf/"+u.Name+"/rp_filter", "2"))
	return errors.Join(errs...)
}

// read fills in what the kernel says now.
func (s *State) read(k Kernel) error {
	if s.Index == 0 {
		return nil
	}
	links, err := k.Links()
	if err != nil {
		return err
	}
	addresses, err := k.Addresses(s.Index)
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.Index == s.Index {
			s.MAC, s.MTU, s.Carrier = l.MAC.String(), l.MTU, l.Carrier && l.Up
		}
	}
	for _, a := range addresses {
		s.Addresses = append(s.Addresses, a.Prefix)
	}
	return nil
}
