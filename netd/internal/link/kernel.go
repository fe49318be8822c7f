package link

import (
	"net"
	"net/netip"

	"netd/netd/internal/rtnl"
)

// Kernel is what Apply needs of rtnetlink, as rtnl.Conn has it.
type Kernel interface {
	Reader
	LinkSetter
	AddressWriter
	VirtualLinks
}

// Reader reads links and addresses.
type Reader interface {
	Links() ([]rtnl.Link, error)
	Addresses(link int) ([]rtnl.Address, error)
	OwnAddresses(protocol int) ([]rtnl.Address, error)
	Duplicates() ([]rtnl.Address, error)
}

// LinkSetter changes a link that is there, whoever made it.
type LinkSetter interface {
	Rename(index int, name string) error
	LinkTuner
}

// LinkTuner changes how a link is used.
type LinkTuner interface {
	Sysctls
	SetMTU(index, mtu int) error
	SetUp(index int) error
	SetDown(index int) error
}

// Sysctls sets keys of /proc/sys/net, and remembers them for who looks after them.
type Sysctls interface {
	SetSysctl(key, value string) error
}

// AddressWriter puts addresses on a link, with our mark, and takes them away; and what the
// kernel has made there of routers' advertisements.
type AddressWriter interface {
	SweepAdvertised(link int, keep []netip.Prefix) error
	PutAddress(link int, p netip.Prefix, protocol int) error
	DeleteAddress(link int, p netip.Prefix) error
}

// VirtualLinks are links that are made of links that are there.
type VirtualLinks interface {
	Maker
	DeleteLink(name string) error
	SetMaster(index, master int) error
	SetAlias(index int, alias string) error
}

// Maker makes VLANs, bonds and bridges.
type Maker interface {
	AddVLAN(name, alias string, parent, id int) error
	AddBond(name, alias, mode string) error
	AddBridge(name, alias string, mac net.HardwareAddr) error
}

// TunnelKernel is what ApplyTunnels needs of rtnetlink, as rtnl.Conn has it.
type TunnelKernel interface {
	TunnelLinks
	NeighbourTable
	LinkTuner
}

// TunnelLinks makes tunnels, finds them and removes them.
type TunnelLinks interface {
	LinkByName(name string) (rtnl.Link, error)
	AddTunnel(t rtnl.Tunnel) error
	DeleteLink(name string) error
}

// NeighbourTable is a link's permanent neighbours: VXLAN's gateways.
type NeighbourTable interface {
	Neighbours(link int) ([]rtnl.Neighbour, error)
	PutNeighbour(link int, n rtnl.Neighbour) error
	DeleteNeighbour(link int, n rtnl.Neighbour) error
}
