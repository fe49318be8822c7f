package config

import (
	"net"
	"net/netip"
	"time"
)

// Schema is the only file format this version reads; every file names it.
const Schema = 1

// Config is a checked file, with defaults filled in and one [[device]] applied.
// Everything in it is valid and consistent: who holds a Config need not check it.
type Config struct {
	Gateway    Gateway
	Uplinks    []Uplink
	LANs       []LAN
	BGP        BGP
	Tunnel     Tunnel
	Pools      []Pool
	Workloads  []Workload
	DNS        DNS
	Management Management
}

// Gateway is the box itself.
type Gateway struct {
	// Name is the host name: an RFC 1123 label, at most 63 octets.
	Name string
	// Addresses are the gateway's own, at most one a family: on the loopback link,
	// announced by BGP, the tunnels' ends and the source of sessions beyond a subnet. In a
	// family without one, the first uplink's first is all that but announced.
	Addresses []netip.Addr
}

// BGP is the speaker.
type BGP struct {
	// AS is this gateway's autonomous system, 1 to 4294967294 (RFC 6793, RFC 7607).
	AS uint32
	// RouterID (RFC 6286): as given, else the first uplink's first static address.
	// Invalid if that uplink has its address by DHCP: then it is the leased one.
	RouterID netip.Addr
	// Port is the TCP port to listen on (default 179).
	Port uint16
	// HoldTime (RFC 4271 section 4.2): 3 s to 18h12m15s (default 9 s). It and the two
	// after it are for peers that say nothing else.
	HoldTime time.Duration
	// Keepalive is the interval of keepalives, less than HoldTime (default a third of it).
	Keepalive time.Duration
	// ConnectRetry is the time between connection attempts, 1 s to 5 m (default 5 s).
	ConnectRetry time.Duration
	// RestartTime (RFC 4724): how long peers keep our routes while the speaker
	// restarts, 0 (off) to 4095 s (default 120 s).
	RestartTime time.Duration
	// LongLivedTime (RFC 9494): how long they keep them as last choice after that, 0
	// (off, the default) to 16777215 s.
	LongLivedTime time.Duration
	// ClusterID is this gateway's as a route reflector; invalid: its router id.
	ClusterID netip.Addr
	// Peers are the ToRs and route reflectors.
	Peers []Peer
	// GatewayPeers are the other gateways: their next hop is kept, so that
	// their blocks can be reached directly or through the tunnel. This gateway itself
	// is never among them, even if the file's list has it.
	GatewayPeers []Peer
	// Ranges are the peers that are not known one by one.
	Ranges []Range
	// Filters are what peers name.
	Filters []Filter
	// Announces are the prefixes that are announced beside the blocks.
	Announces []Announce
}

// BFD (RFC 5880) notices within MinRx (or the peer's own interval, if that is
// longer) times the peer's multiplier that a peer can not be reached.
type BFD struct {
	// MinTx is the least interval between packets to send, MinRx the least that is
	// accepted: whole milliseconds, 50 ms to 60 s (default 300 ms).
	MinTx, MinRx time.Duration
	// Multiplier is how many packets the peer must miss, 1 to 255 (default 3).
	Multiplier int
	// SessionMode is of how many hops the session is.
	SessionMode BFDMode
}

// BFDMode says of how many hops a BFD session is.
type BFDMode string

// The words are Junos'.
const (
	// BFDAutomatic follows from the peer; to a connected switch of iBGP, of which there are
	// both kinds, it is the one that is heard (default).
	BFDAutomatic BFDMode = "automatic"
	// BFDSingleHop is RFC 5881, BFDMultihop RFC 5883.
	BFDSingleHop BFDMode = "single-hop"
	BFDMultihop  BFDMode = "multihop"
)

// Encapsulation says when a pool's traffic to other gateways is encapsulated.
type Encapsulation string

// The words are Calico's.
const (
	// EncapsulateNever: native routes only.
	EncapsulateNever Encapsulation = "never"
	// EncapsulateCrossSubnet: IPIP where the fabric does not offer the prefix and the
	// owner is not on a connected subnet (the default).
	EncapsulateCrossSubnet Encapsulation = "cross-subnet"
	// EncapsulateAlways: IPIP to every known gateway.
	EncapsulateAlways Encapsulation = "always"
)

// Encapsulations are all of them.
func Encapsulations() []Encapsulation {
	return []Encapsulation{EncapsulateNever, EncapsulateCrossSubnet, EncapsulateAlways}
}

// Pool is a range that pods of all gateways get their addresses from.
type Pool struct {
	Name   string
	Prefix netip.Prefix
	// Block is this gateway's share of Prefix; it is announced by BGP.
	Block         netip.Prefix
	Encapsulation Encapsulation
	// Attributes go with the block's announcement.
	Attributes
}

// Workload is what the gateway runs, as Replicas pods.
type Workload struct {
	// Name is an RFC 1123 label of at most 59 octets; the pods are called NAME-0,
	// NAME-1, …
	Name string
	// Image is the file name of an OCI archive in the image's folder of images
	// (in the builder: relative to the TOML file or to --images).
	Image string
	// Command replaces the image's entrypoint, Args its command; nil keeps it. Args
	// may be empty and not nil: no arguments.
	Command []string
	Args    []string
	Env     map[string]string
	// Replicas is the number of pods, 0 to 250 (default 1).
	Replicas int
	// Restart says after which ends of its process a pod is started again (default always).
	Restart Restart
	// StopTimeout is between the image's stop signal and SIGKILL: 0 to 10 minutes in whole
	// seconds (default 10 s).
	StopTimeout time.Duration
	// ReadMetrics lets the workload's pods open the gateway's port for metrics, the only one
	// that a pod may open.
	ReadMetrics bool
}

// Restart says when a pod whose process has ended is started again.
type Restart string

// The kinds of restart.
const (
	RestartAlways    Restart = "always"
	RestartOnFailure Restart = "on-failure" // unless it ended with code 0
	RestartNever     Restart = "never"
)

// Restarts are all of them.
func Restarts() []Restart { return []Restart{RestartAlways, RestartOnFailure, RestartNever} }

// DNS is whom the gateway and its pods ask for names.
type DNS struct {
	// Servers are asked in place of those of the DHCP leases; nil means those.
	Servers []netip.Addr
}

// NoLogin in the place of a password's hash.
const NoLogin = "none"

// Management is how a person reaches the box.
type Management struct {
	// ConsolePassword is root's crypt(5) hash ($5$, $6$ or $y$) for the login on
	// the console. It is NoLogin if nobody is to log in there, and empty where the
	// password is the one that the image was made with, if any.
	ConsolePassword string
	// Metrics is where Prometheus may read the metrics over TCP, without TLS or a
	// password; invalid means nowhere but on the agent's socket.
	Metrics netip.AddrPort
}

// Identity is what [[device]] tables are matched against: the box that reads
// the file. Unknown parts are empty.
type Identity struct {
	// Name is given by the image (netd.name=… on the kernel's command line, or
	// netd check --device) .
	Name string
	// Serial is the firmware's serial number (SMBIOS product serial, or the
	// device tree's serial-number).
	Serial string
	// MACs are the permanent addresses of the box's links.
	MACs []net.HardwareAddr
}
