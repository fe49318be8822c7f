package intent

import (
	"net"
	"net/netip"
	"time"

	"netd/containers"
	"netd/netd/config"
	"netd/netd/internal/bfd"
	"netd/netd/internal/bgp"
	"netd/netd/internal/dhcp"
	"netd/netd/internal/link"
	"netd/netd/internal/policy"
	"netd/netd/internal/route"
)

// Sources are what was said.
type Sources struct {
	Config *config.Config
	// Passwords are those of the configuration's files, by file. One that could not be
	// read is missing: better no session than one that anybody could take over.
	Passwords map[string]string
	Orders    Orders
	Leases    map[string]dhcp.Lease // by uplink
	ByHand    []string              // names of the pods that were made by hand
}

// LongestMessage is how long what a peer is told may be, in octets.
const LongestMessage = config.LongestMessage

// Orders are what a person has said that holds until the next reboot, over restarts
// of the agent and whatever the configuration says.
type Orders struct {
	// Drain asks all peers to use other gateways.
	Drain bool `json:"drain,omitempty"`
	// Down are sessions that are not to be, with what the peer is told, by its name.
	Down map[string]string `json:"down,omitempty"`
}

// Facts are what was found. The zero value is a box that nobody has looked at.
type Facts struct {
	Uplinks []link.State                // in the configuration's order, none before the first look
	Ports   map[string]net.HardwareAddr // at the sockets of the board, by their labels
	// By link: the link-local address of the router that was heard there, and our own.
	Routers, LinkLocals map[string]netip.Addr
	// Ways are the prefixes that this gateway has its own way to.
	Ways []netip.Prefix
	// Peers are the BGP sessions, NextHops those of learned paths.
	Peers    []bgp.PeerState
	NextHops []netip.Addr
	// BFD are the sessions that there are. Before Settled some may be an earlier life's,
	// with peers that have not connected again.
	BFD     []bfd.Status
	Settled bool
	// Returning are peers that have restarted, and whose BFD is for later. Mute are those
	// of Undecided that were long not heard by BFD.
	Returning, Mute map[string]bool
}

// Intent is what is wanted.
type Intent struct {
	Box     Box
	Uplinks []Uplink
	// LANs are the links toward devices.
	LANs []link.Wanted
	// Own are the gateway's addresses that are on no uplink.
	Own        []netip.Addr
	Neighbours link.Neighbours
	// Leases are those that uplinks ask for, Leased what they have of them: what was given
	// and may be used.
	Leases map[string]Lease
	Leased map[string]dhcp.Lease
	// Heard are the links on which routers are listened for, LinkLocals those whose own
	// link-local address is asked for.
	Heard, LinkLocals []string
	// Source and Source6 are the addresses that this gateway is known by; invalid if it has
	// none (yet).
	Source, Source6 netip.Addr
	Tunnels         link.Need
	// Forward6 has the kernel forward IPv6, too.
	Forward6 bool
	Guard    policy.Rules
	Pods     Pods
	Routes   Routes
	Sessions Sessions
	// Announces are what is announced beside the blocks, AskWays whether that hangs on what
	// there is a way to.
	Announces []config.Announce
	AskWays   bool
	// Metrics is where they are told over TCP; invalid: nowhere.
	Metrics netip.AddrPort
}

// Box is what belongs to the box as a whole.
type Box struct {
	Name string
	// ConsolePassword is root's crypt(5) hash, empty for that of the image. NoLogin: nobody
	// is to log in on the console, whatever the image has.
	ConsolePassword string
	NoLogin         bool
	NameServers     []netip.Addr
}

// Uplink is a wanted link, with the addresses that it has or will have: as configured
// and leased. What the kernel has at the moment may be less, while a link is being
// mended, and that must not move sessions and tunnels.
type Uplink struct {
	link.Wanted
	Prefixes []netip.Prefix
	// Routers are on the link and in none of these subnets.
	Routers []netip.Addr
}

// Pods are what is wanted of this gateway's pods.
type Pods struct {
	Blocks []netip.Prefix
	MTU    int // in octets: leaves room for the tunnels where one may be used
	Specs  []containers.Spec
	// Wanted has the names of those and of the pods that were made by hand.
	Wanted map[string]bool
}

// Routes is what the plan of routes has to know.
type Routes struct {
	Pools []route.Pool
	// Rest are announced prefixes whose unused part is dropped.
	Rest []netip.Prefix
	// Gateways are the known gateways' names, Ranges where more of them may be.
	Gateways map[netip.Addr]string
	Ranges   []route.Range
	// Peers are the addresses that sessions run to.
	Peers []netip.Addr
	// Statics are routes that are known without BGP.
	Statics []route.Static
	// LeaveDelay is for how long a ToR's way has to stand before a tunnel is left for it.
	LeaveDelay time.Duration
}

// Sessions is what is wanted of BGP and BFD.
type Sessions struct {
	// Speaker is nil if there is to be none, or this gateway has no address yet.
	Speaker *bgp.Wanted
	// Configured is how many sessions the configuration asks for.
	Configured int
	AS         uint32
	RouterID   netip.Addr
	// ToRs are the peers that are no gateways and have an address; Unheard are those
	// that are known by their link alone and were not heard yet.
	ToRs    []Peer
	Unheard []Peer
	// About is what a person is told of each, by name; Ranges by the range's.
	About, Ranges map[string]About
	BFD           bfd.Wanted
	// Undecided are the peers whose BFD may be single-hop or multihop.
	Undecided []string
}

// Peer is a peer as far as its paths and its uplink are concerned.
type Peer struct {
	Name    string
	Address netip.Addr
	// Interface is the link of an unnumbered one.
	Interface string
}

// About is what the configuration says about a session.
type About struct {
	Kind        string // tor, reflector or gateway
	AS          uint32
	Description string
	// Shutdown by an order or the configuration, InFile by the latter.
	Shutdown, InFile bool
	Options          []string
}

// compiler has all that Compile looks at.
type compiler struct {
	*config.Config
	Sources
	Facts
}

// Compile makes the whole intent. The same sources and facts make the same.
func Compile(s Sources, f Facts) Intent {
	c := compiler{s.Config, s, f}
	leases := c.refuseLeases()
	i := Intent{
		Box: c.box(), Uplinks: c.uplinks(), LANs: c.lans(), Own: c.Gateway.Addresses, Leases: leases, Leased: c.Leases,
		Source: c.ownAddress(netip.Addr.Is4), Source6: c.ownAddress(netip.Addr.Is6), Forward6: c.forwards6(),
		Neighbours: c.neighbours(), AskWays: len(c.Config.BGP.Announces) > 0, Metrics: c.Management.Metrics,
	}
	i.Heard, i.LinkLocals = c.heard()
	i.Tunnels = c.tunnels(i.Source, i.Source6)
	i.Guard = c.guard()
	i.Pods = c.pods(i.Tunnels)
	i.Announces, i.Routes.Rest = c.announces()
	c.routes(&i.Routes)
	i.Sessions = c.sessions(i)
	return i
}
