package api

import (
	"net/netip"
	"time"
)

// Status is the gateway at a glance.
type Status struct {
	// Revision counts the states that the agent has shown; ?after=N waits for a newer one.
	Revision uint64    `json:"revision"`
	Gateway  string    `json:"gateway"`
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
	// ConfigFile is the file in use; ConfigProblem says why it is not the first choice.
	ConfigFile    string `json:"config_file"`
	ConfigProblem string `json:"config_problem,omitempty"`
	// Trial is nil unless the configuration waits for netd confirm; TrialEnded says how
	// the last one came to its end, if that was not by netd confirm.
	Trial      *Trial `json:"trial,omitempty"`
	TrialEnded string `json:"trial_ended,omitempty"`
	// Drained: the peers are asked to use other gateways. Down are the peers whose
	// sessions a person has ended, with what they were told.
	Drained  bool              `json:"drained,omitempty"`
	Down     map[string]string `json:"down,omitempty"`
	AS       uint32            `json:"as"`
	RouterID netip.Addr        `json:"router_id,omitzero"`
	Uplinks  []Uplink          `json:"uplinks"`
	LANs     []LAN             `json:"lans,omitempty"`
	Tunnels  []Tunnel          `json:"tunnels,omitempty"`
	PodMTU   int               `json:"pod_mtu"`
	// Peers and Pods count what is up, of how many.
	Peers Count `json:"peers"`
	Pods  Count `json:"pods"`
	// Routes counts the routes by kind.
	Routes map[string]int `json:"routes"`
	// Settled: every peer has sent all that it has, or the wait for it is over.
	Settled bool `json:"settled"`
	// NoLogin: there is no password with which somebody could log in on the console.
	NoLogin  bool     `json:"no_login,omitempty"`
	Problems []string `json:"problems,omitempty"`
	// Repairs is nil if nobody has changed what netd keeps in the kernel.
	Repairs *Repairs `json:"repairs,omitempty"`
	// Work is what the agent's rounds have cost so far.
	Work Work `json:"work,omitzero"`
}

// Work is time that the agent has spent, in seconds of the clock: in all its rounds,
// and there with reading the speaker, planning routes and applying them.
type Work struct {
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds"`
	Read    float64 `json:"read_s"`
	Plan    float64 `json:"plan_s"`
	Apply   float64 `json:"apply_s"`
}

// Repairs are what somebody else has changed in the kernel and netd has put back, since the
// agent's start.
type Repairs struct {
	Times int       `json:"times"`
	Last  time.Time `json:"last"`
	// What was put back last.
	What string `json:"what"`
}

// Count is how many there were, also of none.
func (r *Repairs) Count() int {
	if r == nil {
		return 0
	}
	return r.Times
}

// Count is "2 of 3".
type Count struct {
	Up    int `json:"up"`
	Total int `json:"total"`
}

// Uplink is a link toward a ToR.
type Uplink struct {
	Name      string         `json:"name"`
	MAC       string         `json:"mac,omitempty"`
	MTU       int            `json:"mtu,omitempty"`
	Carrier   bool           `json:"carrier"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Router    netip.Addr     `json:"router,omitzero"`
	Router6   netip.Addr     `json:"router6,omitzero"`
	Problem   string         `json:"problem,omitempty"`
}

// LAN is a link toward devices.
type LAN struct {
	Name      string         `json:"name"`
	MAC       string         `json:"mac,omitempty"`
	MTU       int            `json:"mtu,omitempty"`
	Carrier   bool           `json:"carrier"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Problem   string         `json:"problem,omitempty"`
}

// Tunnel is a link to other gateways.
type Tunnel struct {
	Name  string     `json:"name"`
	Kind  string     `json:"kind"`
	Local netip.Addr `json:"local"`
	MTU   int        `json:"mtu"`
}

// Peer is a BGP session.
type Peer struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	AS      uint32     `json:"as"`
	// Kind is "tor" or "gateway".
	Kind  string    `json:"kind"`
	State string    `json:"state"`
	Since time.Time `json:"since,omitzero"`
	// Reason of the last loss.
	Reason   string `json:"reason,omitempty"`
	Received uint64 `json:"received"`
	Accepted uint64 `json:"accepted"`
	Sent     uint64 `json:"sent"`
	// Flaps counts how often the session was lost since the agent has started.
	Flaps       uint64 `json:"flaps"`
	Description string `json:"description,omitempty"`
	// Shutdown: there is to be no session for now.
	Shutdown bool `json:"shutdown,omitempty"`
	// Warning is what a person should look at while the session is up.
	Warning string `json:"warning,omitempty"`
	// Options are what the configuration says about the session, in words.
	Options []string `json:"options,omitempty"`
	// Session is nil without one.
	Session *Session `json:"session,omitempty"`
	// BFD is nil if the session's path is not watched.
	BFD *BFD `json:"bfd,omitempty"`
}

// Session is what both ends of a BGP session have agreed on, and what has passed.
type Session struct {
	Local    netip.Addr `json:"local"`
	RouterID netip.Addr `json:"router_id"`
	// HoldTime and Keepalive in seconds.
	HoldTime  int           `json:"hold_time"`
	Keepalive int           `json:"keepalive"`
	Families  []FamilyCount `json:"families"`
	// Capabilities of the peer.
	Capabilities []string `json:"capabilities"`
	// MessagesIn and MessagesOut count BGP messages.
	MessagesIn  uint64 `json:"messages_in"`
	MessagesOut uint64 `json:"messages_out"`
}

// FamilyCount counts the prefixes of one address family in a session.
type FamilyCount struct {
	Family   string `json:"family"`
	Received uint64 `json:"received"`
	Accepted uint64 `json:"accepted"`
	Sent     uint64 `json:"sent"`
}

// BFD is what watches the path to a peer.
type BFD struct {
	// State is AdminDown, Down, Init or Up.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Lost: it was Up, so the peer's paths are not used until it is again.
	Lost     bool   `json:"lost"`
	Reason   string `json:"reason,omitempty"`
	Multihop bool   `json:"multihop"`
	// RemoteState is what the peer said last.
	RemoteState string `json:"remote_state"`
	// TransmitMS is the interval between our packets; DetectMS the silence that is
	// taken for a failure, 0 if the peer was never heard.
	TransmitMS int64 `json:"transmit_ms"`
	DetectMS   int64 `json:"detect_ms"`
	// Flaps counts how often it went from Up to Down.
	Flaps int `json:"flaps"`
}

// Route is the decision for one prefix.
type Route struct {
	Prefix netip.Prefix `json:"prefix"`
	// Kind is pod, blackhole, native, onlink or a tunnel's; empty if the prefix has no route.
	Kind    string     `json:"kind,omitempty"`
	NextHop netip.Addr `json:"next_hop,omitzero"`
	Link    string     `json:"link,omitempty"`
	Reason  string     `json:"reason"`
	Paths   []Path     `json:"paths,omitempty"`
}

// Path is one way that was considered.
type Path struct {
	Peer    string     `json:"peer"`
	NextHop netip.Addr `json:"next_hop"`
	ASPath  []uint32   `json:"as_path,omitempty"`
	Kind    string     `json:"kind,omitempty"`
	Chosen  bool       `json:"chosen"`
	Stale   bool       `json:"stale,omitempty"`
	Reason  string     `json:"reason"`
}

// Pod is a pod of this gateway.
type Pod struct {
	Name     string `json:"name"`
	Workload string `json:"workload,omitempty"`
	Image    string `json:"image,omitempty"`
	// State is waiting, importing, creating, running, back-off, restarting, completed,
	// failed or stopped;
	// "network" for a pod that has only its network.
	State string `json:"state"`
	// Address is the first of Addresses; IPv4 comes first.
	Address   netip.Addr   `json:"address,omitzero"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Link      string       `json:"link,omitempty"`
	Netns     string       `json:"netns,omitempty"`
	PID       uint32       `json:"pid,omitempty"`
	Restarts  int          `json:"restarts"`
	Since     time.Time    `json:"since,omitzero"`
	Reason    string       `json:"reason,omitempty"`
}

// SetAddresses sets both fields.
func (p *Pod) SetAddresses(addresses []netip.Addr) {
	p.Address, p.Addresses = netip.Addr{}, addresses
	if len(addresses) > 0 {
		p.Address = addresses[0]
	}
}

// Explanation says which way packets to an address go, and why.
type Explanation struct {
	Query netip.Prefix `json:"query"`
	// Route is netd's own decision that covers it; nil if there is none.
	Route *Route `json:"route"`
	// Kernel is what the kernel does with it right now.
	Kernel string `json:"kernel"`
	// Received is what peers have told of prefixes that cover it, Told what of ours
	// they are told, with what filters made of it.
	Received []Filtered `json:"received,omitempty"`
	Told     []Filtered `json:"told,omitempty"`
	// Problem says why Received and Told are not known.
	Problem string `json:"problem,omitempty"`
}

// Filtered is a path that went through a peer's filters.
type Filtered struct {
	Peer        string       `json:"peer"`
	Prefix      netip.Prefix `json:"prefix"`
	NextHop     netip.Addr   `json:"next_hop,omitzero"`
	ASPath      []uint32     `json:"as_path,omitempty"`
	Communities []string     `json:"communities,omitempty"`
	Accepted    bool         `json:"accepted"`
	// Rule is the one that decided.
	Rule    string       `json:"rule"`
	Changes []RuleChange `json:"changes,omitempty"`
}

// RuleChange is what one rule changed of a path.
type RuleChange struct {
	Rule   string `json:"rule"`
	Change string `json:"change"`
}
