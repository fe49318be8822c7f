// Package layout is where things are on a gateway and what they are called: the paths,
// names and numbers on which several programs or packages agree. Constants only. Below
// all; it knows nobody. It is not in netd/internal, as PID 1, the image builder, the lab
// and containers use it too.
package layout

// In the root slot, read-only.
const (
	Netd       = "/usr/bin/netd"
	Shim       = "/usr/bin/containerd-shim-runc-v2"
	Runc       = "/usr/bin/runc"
	LibDir     = "/usr/lib/netd"
	ImageDir   = LibDir + "/images" // OCI archives
	BoardFile  = LibDir + "/board.toml"
	ModuleList = LibDir + "/modules" // kernel modules, in the order of their loading
)

// What survives a restart of the box.
const (
	Data           = "/data" // where the partition is mounted
	DataDir        = Data + "/netd"
	ConfigFile     = DataDir + "/netd.toml"
	Clock          = DataDir + "/clock" // its time is the last that the box knew
	ContainerdRoot = Data + "/containerd"
)

// What does not.
const (
	RunDir           = "/run/netd"
	Slot             = RunDir + "/slot" // where the running boot slot is mounted
	FactoryFile      = Slot + "/netd.toml"
	Manifest         = Slot + "/manifest.json"
	RootPart         = "root.squashfs"            // in the manifest: the root slot's content, whose checksum names the release
	DataFailed       = RunDir + "/data-failed"    // why Data does not survive a restart this time
	DataRepaired     = RunDir + "/data-repaired"  // what of Data was damaged at this start, and what became of it
	Issue            = RunDir + "/issue"          // what getty shows before a login: the agent's words
	ConsolePassword  = Slot + "/console-password" // root's hash that the image was made with, for a configuration without one
	LogDir           = RunDir + "/log"
	FilesDir         = RunDir + "/files" // what pods find in /etc
	SocketName       = "netd.sock"       // in RunDir, or where an agent has its own
	Socket           = RunDir + "/" + SocketName
	NetnsDir         = "/run/netns" // where ip-netns(8) finds namespaces
	ContainerdState  = "/run/containerd"
	ContainerdSocket = ContainerdState + "/containerd.sock"
)

// What netd calls its own in the kernel.
const (
	// Protocol marks routes, next hops and addresses (rtm_protocol, nh_protocol,
	// IFA_PROTO) that netd made; only these are ever taken away. ip(8) calls it netd.
	// Nobody else in iproute2's rt_protos has the number.
	Protocol = 120
	// PodLinks and OwnLinks begin the names of pods' links and of tunnels.
	PodLinks = "pod"
	OwnLinks = "netd-"
	// PodGateway6 is the gateway's address on the link to each pod, PodLinkLocal the pod's: the
	// guard knows these two, and drops what has another link-local one.
	PodGateway6  = "fe80::1"
	PodLinkLocal = "fe80::2"
	// Table of nftables, of family inet.
	Table = "netd"
)

// ToConsole begins a line of a daemon's output of which the rest is for the consoles, as it is.
const ToConsole = "netd console: "

// Ports, UDP but for BGP's.
const (
	BGPPort         = 179
	BFDPort         = 3784 // one hop, RFC 5881 section 4
	BFDMultihopPort = 4784 // RFC 5883 section 5
	VXLANPort       = 4789 // RFC 7348
)

// Users, and groups, of the processes that are not root: each its own and no one else's.
const (
	SpeakerUID = 179
	BFDUID     = 180
)
