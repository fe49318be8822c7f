package link

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"netd/netd/internal/dhcp"
	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

// Wanted is a wanted link.
type Wanted struct {
	Name string
	// MatchName or MatchMAC finds the link.
	MatchName string
	MatchMAC  net.HardwareAddr
	// VLAN, Bond or Bridge, if not nil, is what to make of other links.
	VLAN   *VLAN
	Bond   *Bond
	Bridge *Bridge
	// LAN: devices are there, not the fabric.
	LAN       bool
	Addresses []netip.Prefix
	DHCP      bool
	// Router and Router6 are the default routes' next hops; Router6 may be link-local.
	Router, Router6 netip.Addr
	// Forward6: IPv6 is forwarded, as IPv4 is everywhere.
	Forward6 bool
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
	// Router and Router6 are the default routes' next hops, from the configuration or
	// DHCP. A link-local one has the link as its zone.
	Router, Router6 netip.Addr
	// Problem is empty if the link is as wanted.
	Problem string
}

// Equal tells whether two states are the same in everything.
func (s State) Equal(o State) bool {
	return s.Name == o.Name && s.Index == o.Index && s.MAC == o.MAC && s.MTU == o.MTU && s.Carrier == o.Carrier &&
		slices.Equal(s.Addresses, o.Addresses) && s.Router == o.Router && s.Router6 == o.Router6 && s.Problem == o.Problem
}

// Apply makes the uplinks so, and the gateway's own addresses, and says what is there.
// An uplink whose link is missing, or that the kernel refuses, has its Problem in its
// State and does not stop the others; the error is for a kernel that could not be read.
// leases has what DHCP gave, by uplink name.
func Apply(k Kernel, uplinks []Wanted, leases map[string]dhcp.Lease, gateway []netip.Addr) ([]State, error) {
	links, err := sweepVirtual(k, uplinks)
	if err != nil {
		return nil, err
	}
	states := make([]State, len(uplinks))
	keep := own{held: map[int]bool{}}
	if err := keep.gateway(k, links, gateway); err != nil {
		return nil, err
	}
	for _, i := range order(uplinks) {
		u := uplinks[i]
		states[i] = State{Name: u.Name, Router: u.Router, Router6: u.router6()}
		made, problem := u.make(k, links)
		if made {
			if links, err = k.Links(); err != nil {
				return nil, err
			}
		}
		found := u.find(links)
		if problem == nil && found == nil {
			problem = fmt.Errorf("there is no link %s", Match{u.MatchName, u.MatchMAC})
		}
		if problem != nil {
			states[i].Problem = problem.Error()
		}
		if found == nil {
			continue
		}
		if u.DHCP {
			lease := leases[u.Name]
			keep.held[found.Index] = !lease.Address.IsValid() && !lease.Over
			u, states[i].Router = u.leased(lease, found.MTU)
		}
		u.MTU = max(u.MTU, trunkMTU(uplinks, links, found.Index))
		keep.on(found.Index, u.Addresses)
		if err := u.apply(k, *found, u.Addresses); err != nil && problem == nil {
			states[i].Problem = err.Error()
		}
		if found.Name != u.Name {
			if links, err = k.Links(); err != nil { // A VLAN may be on it by its new name.
				return nil, err
			}
		}
		states[i].Index = found.Index
		if u.DHCP && states[i].Problem == "" {
			states[i].Problem = leaseProblem(leases[u.Name])
		}
	}
	if err := errors.Join(keep.sweep(k), remark(k, uplinks)); err != nil {
		return nil, err
	}
	for i := range states {
		if err := states[i].read(k); err != nil {
			return nil, err
		}
	}
	return states, nil
}

// leaseProblem is what a person is told of a lease, or of none.
func leaseProblem(l dhcp.Lease) string {
	switch {
	case l.Address.IsValid():
		return l.Problem
	case l.Problem != "":
		return "no DHCP lease yet: " + l.Problem
	}
	return "no DHCP lease yet"
}

// leased is the uplink with what a lease gave, and its router; mtu is the link's, which
// is left alone until a server has been asked.
func (u Wanted) leased(l dhcp.Lease, mtu int) (Wanted, netip.Addr) {
	if !l.Address.IsValid() {
		u.MTU = mtu
		return u, u.Router
	}
	u.Addresses, u.MTU = append(slices.Clone(u.Addresses), l.Address), cmp.Or(l.MTU, u.MTU)
	return u, l.Router
}

// own is what stays of the addresses that carry our mark.
type own struct {
	addresses []rtnl.Address
	// held links, by index, keep theirs: it is not known yet what they should have.
	held map[int]bool
}

// on notes the addresses of a link.
func (o *own) on(link int, addresses []netip.Prefix) {
	for _, p := range addresses {
		o.addresses = append(o.addresses, rtnl.Address{Prefix: p, Link: link})
	}
}

// gateway puts the gateway's own addresses on the loopback link.
func (o *own) gateway(k Kernel, links []rtnl.Link, addresses []netip.Addr) error {
	if len(addresses) == 0 {
		return nil
	}
	i := slices.IndexFunc(links, func(l rtnl.Link) bool { return l.Name == loopback })
	if i < 0 {
		return fmt.Errorf("there is no link %s for the gateway's own addresses", loopback)
	}
	l := links[i]
	have, err := k.Addresses(l.Index)
	if err != nil {
		return err
	}
	var errs []error
	if !l.Up {
		errs = append(errs, k.SetUp(l.Index))
	}
	for _, a := range addresses {
		if a.Is6() {
			errs = append(errs, k.SetSysctl("ipv6/conf/"+loopback+"/disable_ipv6", "0"))
		}
		address := rtnl.Address{Prefix: netip.PrefixFrom(a, a.BitLen()), Link: l.Index}
		if o.addresses = append(o.addresses, address); !slices.Contains(have, address) {
			errs = append(errs, k.PutAddress(l.Index, address.Prefix, layout.Protocol))
		}
	}
	return errors.Join(errs...)
}

const loopback = "lo"

// router6 is the IPv6 router with its zone.
func (u Wanted) router6() netip.Addr {
	if u.Router6.IsLinkLocalUnicast() {
		return u.Router6.WithZone(u.Name)
	}
	return u.Router6
}

// sweep takes away what an earlier configuration or lease has left.
func (o own) sweep(k Kernel) error {
	have, err := k.OwnAddresses(layout.Protocol)
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

// find prefers the link with the MAC address, or else the one that already has the
// uplink's name.
func (u Wanted) find(links []rtnl.Link) *rtnl.Link {
	made := len(u.parts()) > 0
	if made || u.MatchMAC == nil {
		if l := (Match{Name: u.Name}).in(links); l != nil && l.Name == u.Name {
			return l
		}
	}
	if made {
		return nil
	}
	return Match{u.MatchName, u.MatchMAC}.in(links)
}

func (u Wanted) apply(k Kernel, l rtnl.Link, wanted []netip.Prefix) error {
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
	errs = append(errs, u.setSysctls(k, wanted), distrustRouters(k, u.Name, l.Index, wanted))
	for _, p := range wanted {
		if !slices.Contains(have, rtnl.Address{Prefix: p, Link: l.Index}) {
			errs = append(errs, k.PutAddress(l.Index, p, layout.Protocol))
		}
	}
	if !l.Up {
		errs = append(errs, k.SetUp(l.Index))
	}
	return errors.Join(errs...)
}

// read fills in what the kernel says now.
func (s *State) read(k Reader) error {
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
	duplicates, err := k.Duplicates()
	for _, a := range duplicates {
		if a.Link == s.Index && s.Problem == "" {
			s.Problem = fmt.Sprintf("another host on the link has the address %s, too (duplicate address detection)", a.Prefix.Addr())
		}
	}
	return err
}
