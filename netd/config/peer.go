package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"netd/netd/layout"
)

// PeerType is what is at the other end of a session.
type PeerType string

// The types of peer.
const (
	// TypeToR is a switch that routes for us (the default of [[bgp.peer]]).
	TypeToR PeerType = "tor"
	// TypeReflector is a route reflector or route server, which keeps next hops.
	TypeReflector PeerType = "reflector"
	// TypeGateway is another gateway (all of [[bgp.gateway]], the default of
	// [[bgp.range]]).
	TypeGateway PeerType = "gateway"
)

// Capability is one of BGP's (RFC 5492), by the name that it has here.
type Capability string

// Capabilities are those that can be left out; "all" is an OPEN without any, as it was
// before RFC 5492.
func Capabilities() []Capability {
	return []Capability{
		"all", "extended-message", "extended-next-hop", "four-octet-as", "graceful-restart", "host-name",
		"long-lived-graceful-restart", "multiprotocol", "route-refresh", "software-version",
	}
}

// Session is how to talk to a peer.
type Session struct {
	Type PeerType
	AS   uint32
	// LocalAS is the AS that the peer sees in place of BGP.AS; 0: the same.
	LocalAS uint32
	// AllowOwnAS is how often our own AS may occur in a path, 0 to 10.
	AllowOwnAS int
	// Multihop is the TTL of packets to an eBGP peer, 1 to 255: 1 for a ToR (on a
	// connected subnet) and 64 for others, if left out.
	Multihop int
	// GTSM (RFC 5082) takes packets only from at most Multihop hops away.
	GTSM bool
	// PasswordFile has TCP's password (MD5, RFC 2385); empty: none.
	PasswordFile string
	// Passive: the peer connects, not we.
	Passive bool
	// HoldTime, Keepalive and ConnectRetry are BGP's if left out.
	HoldTime, Keepalive, ConnectRetry time.Duration
	// MaxPrefixes ends the session when the peer sends more in one family: 1 to
	// 10000000 (default 10000).
	MaxPrefixes uint32
	// MaxPrefixesWarn is the percentage of it at which to warn, 1 to 100 (default 80).
	MaxPrefixesWarn int
	// MaxPrefixesRestart is how long a session that was ended so stays Idle, 0 (until
	// it is configured anew) to 24 h (default 5 m).
	MaxPrefixesRestart time.Duration
	// ReflectorClient: we reflect to it what other iBGP peers tell us (RFC 4456).
	ReflectorClient bool
	Filters
	// BFD is nil if the session's path is not watched.
	BFD *BFD
}

// Peer is one BGP session.
type Peer struct {
	Name string
	// Address, with its link as zone if it is link-local. Invalid if Interface is set.
	Address netip.Addr
	// Other is the address of the other family that a gateway is known by; invalid if it
	// has none.
	Other netip.Addr
	// Interface is the uplink of an unnumbered peer: its link-local address is found
	// by router advertisements there.
	Interface string
	// Source is the own address to connect from; invalid: the one on the peer's
	// subnet, else the gateway's.
	Source      netip.Addr
	Description string
	// Shutdown: no session for now; ShutdownMessage tells the peer why (RFC 9003).
	Shutdown        bool
	ShutdownMessage string
	// NoCapabilities are those that our OPEN leaves out, for a peer that refuses them.
	NoCapabilities []Capability
	// NoSession: a gateway that is known, and spoken to by way of a reflector or ToR.
	NoSession bool
	Session
}

// Range is peers that connect from any address of Prefix.
type Range struct {
	Name   string
	Prefix netip.Prefix
	Session
}

// rawSession has what is compared with other values.
type rawSession struct {
	kind                val[PeerType]
	as, localAS         val[uint32]
	allowOwnAS          val[int]
	multihop            val[int]
	holdTime, keepalive val[time.Duration]
	reflectorClient     val[bool]
	passive             val[bool]
	rawFilters
}

type rawPeer struct {
	n       *node
	name    val[string]
	address val[netip.Addr]
	other   val[netip.Addr] // of a gateway
	link    val[string]
	source  val[netip.Addr]
	without val[[]val[Capability]]
	rawSession
	self bool // a [[bgp.gateway]] that is this gateway
}

type rawRange struct {
	name   val[string]
	prefix val[netip.Prefix]
	rawSession
}

// shutdown is true or why.
type shutdown struct {
	down    bool
	message string
}

func (s shutdown) toml() string {
	if s.message != "" {
		return quote(s.message)
	}
	return tomlOf(s.down)
}

// keys are those of a [[bgp.peer]]. b has what holds for peers that say nothing else.
func (p *Peer) keys(t *table, b *rawBGP) rawPeer {
	defer t.done()
	r := p.commonKeys(t, "tor1", "10.0.1.1")
	r.link = optional(t, "interface", &p.Interface, ownLinkName("uplink0"))
	if r.address.n == nil && r.link.n == nil {
		t.missing("address", `expected the peer's address, or the uplink of an unnumbered one, e.g. address = "10.0.1.1" or interface = "uplink0"`)
	}
	kind := withDefault(t, "type", &p.Type, oneOf(TypeToR, TypeReflector), TypeToR)
	r.rawSession = p.Session.keys(t, b, kind, "65001")
	return r
}

// gatewayKeys are those of a [[bgp.gateway]].
func (p *Peer) gatewayKeys(t *table, b *rawBGP) rawPeer {
	defer t.done()
	p.Type = TypeGateway
	r := p.commonKeys(t, "gw-c", "10.0.2.13")
	if r.address.n == nil {
		t.missing("address", `expected the gateway's address, e.g. address = "10.0.2.13"`)
	}
	r.other = optional(t, "other-address", &p.Other, hostAddr("2001:db8:2::13"))
	session := !p.NoSession
	withDefault(t, "session", &session, boolean(), true)
	p.NoSession = !session
	r.rawSession = p.Session.keys(t, b, val[PeerType]{v: TypeGateway, ok: true}, "65103")
	r.reflectorClient = withDefault(t, "reflector-client", &p.ReflectorClient, boolean(), false)
	return r
}

// commonKeys are those that a peer and a gateway have beside the session's.
func (p *Peer) commonKeys(t *table, name, address string) rawPeer {
	r := rawPeer{
		n:       t.n,
		name:    required(t, "name", &p.Name, hostName(name)),
		address: optional(t, "address", &p.Address, peerAddr(address)),
		source:  optional(t, "source", &p.Source, peerAddr("10.0.1.11")),
	}
	capability := oneOf(Capabilities()...)
	capability.eg = `"host-name"`
	r.without = elements(t, "no-capabilities", &p.NoCapabilities, capability)
	optional(t, "description", &p.Description, freeText("rack 7, port 12", 255))
	down := shutdown{p.Shutdown, p.ShutdownMessage}
	withDefault(t, "shutdown", &down, shutdownText(), shutdown{})
	p.Shutdown, p.ShutdownMessage = down.down, down.message
	return r
}

// keys are those of a [[bgp.range]].
func (e *Range) keys(t *table, b *rawBGP) rawRange {
	defer t.done()
	r := rawRange{name: required(t, "name", &e.Name, hostName("rack-7"))}
	r.prefix = required(t, "prefix", &e.Prefix, peerPrefix("10.0.7.0/24"))
	kind := withDefault(t, "type", &e.Type, oneOf(TypeToR, TypeReflector, TypeGateway), TypeGateway)
	r.rawSession = e.Session.keys(t, b, kind, "65107")
	r.reflectorClient = withDefault(t, "reflector-client", &e.ReflectorClient, boolean(), false)
	return r
}

// keys are those that a peer, a gateway and a range have for their sessions, which are of
// a kind and, for example, with an AS.
func (s *Session) keys(t *table, b *rawBGP, kind val[PeerType], as string) rawSession {
	r := rawSession{kind: kind}
	hops := 64
	if kind.v == TypeToR {
		hops = 1
	}
	r.as = required(t, "as", &s.AS, asNumber(as))
	r.localAS = optional(t, "local-as", &s.LocalAS, asNumber("65201"))
	r.allowOwnAS = withDefault(t, "allow-own-as", &s.AllowOwnAS, number[int](0, 10, "1"), 0)
	r.multihop = withDefault(t, "multihop", &s.Multihop, number[int](1, 255, "2"), hops)
	withDefault(t, "gtsm", &s.GTSM, boolean(), false)
	optional(t, "password-file", &s.PasswordFile, filePath(layout.DataDir+"/tor1.password"))
	r.passive = withDefault(t, "passive", &s.Passive, boolean(), false)
	r.holdTime = withDefault(t, "hold-time", &s.HoldTime, holdTime(), b.holdTime.v)
	r.keepalive = withDefault(t, "keepalive", &s.Keepalive, keepalive(), b.keepaliveFor(r.holdTime))
	withDefault(t, "connect-retry", &s.ConnectRetry, connectRetry(), b.connectRetry.v)
	withDefault(t, "max-prefixes", &s.MaxPrefixes, number[uint32](1, 10_000_000, "10000"), 10000)
	withDefault(t, "max-prefixes-warn", &s.MaxPrefixesWarn, number[int](1, 100, "80"), 80)
	withDefault(t, "max-prefixes-restart", &s.MaxPrefixesRestart, seconds(0, 24*time.Hour, "5m"), 5*time.Minute)
	r.rawFilters = s.Filters.keys(t, b.rawFilters)
	s.BFD = bfdKeys(t, s.BFD)
	return r
}

// keepaliveFor is the default of a session's keepalive.
func (b *rawBGP) keepaliveFor(hold val[time.Duration]) time.Duration {
	def := b.keepalive.v
	if hold.n != nil || def >= hold.v {
		def = hold.v / 3
	}
	return def.Truncate(time.Second)
}

// bfdKeys are those of bfd, which is a table, or true for one with the defaults.
func bfdKeys(t *table, b *BFD) *BFD {
	n := t.child("bfd", about{})
	switch {
	case n == nil || n.kind == aTable:
	case n.value == true:
		n = &node{path: n.path, at: n.at, kind: aTable}
	default:
		if n.value != false {
			t.r.add(isBad, n, n.src, `expected true, false or a table, e.g. bfd = { min-tx = "300ms", min-rx = "300ms", multiplier = 3 }`)
		}
		n = nil
	}
	sub, to, there := orNone(t, "bfd", n, b)
	defer sub.done()
	interval := milliseconds(50*time.Millisecond, time.Minute, "300ms")
	withDefault(sub, "min-tx", &to.MinTx, interval, 300*time.Millisecond)
	withDefault(sub, "min-rx", &to.MinRx, interval, 300*time.Millisecond)
	withDefault(sub, "multiplier", &to.Multiplier, number[int](1, 255, "3"), 3)
	withDefault(sub, "session-mode", &to.SessionMode, oneOf(BFDAutomatic, BFDSingleHop, BFDMultihop), BFDAutomatic)
	return there
}

func holdTime() want[time.Duration] { return seconds(3*time.Second, 65535*time.Second, "9s") }

func keepalive() want[time.Duration] { return seconds(time.Second, 21845*time.Second, "3s") }

func connectRetry() want[time.Duration] { return seconds(time.Second, 5*time.Minute, "5s") }

// peerAddr is a host's address of either family.
func peerAddr(eg string) want[netip.Addr] {
	return want[netip.Addr]{"an address of a host", quote(eg), func(n *node) (netip.Addr, *wrong) {
		s, _ := n.value.(string)
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			if p, err := netip.ParsePrefix(s); err == nil {
				return a, &wrong{why: "a prefix length has no place here", eg: quote(p.Addr().String())}
			}
			return a, &wrong{}
		case a.Is4():
			return a, notHost(a)
		case a.Is4In6():
			return a, &wrong{why: "an IPv4 address in IPv6's form", eg: quote(a.Unmap().String())}
		case !a.IsGlobalUnicast() && !a.IsLinkLocalUnicast():
			return a, &wrong{why: "not one host's address"}
		case a.IsLinkLocalUnicast() && a.Zone() == "":
			return a, &wrong{why: "link-local, so its link must be said too", eg: quote(s + "%uplink0")}
		}
		return a, nil
	}}
}

// peerPrefix is a range of hosts' addresses of either family.
func peerPrefix(eg string) want[netip.Prefix] {
	return want[netip.Prefix]{"a prefix of peers' addresses", quote(eg), func(n *node) (netip.Prefix, *wrong) {
		s, _ := n.value.(string)
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return p, &wrong{}
		case p != p.Masked():
			return p, &wrong{why: "bits set after the prefix length", eg: quote(p.Masked().String())}
		case p.Bits() == 0:
			return p, &wrong{why: "it would let everybody in"}
		}
		return p, nil
	}}
}

// filePath is a file on the gateway.
func filePath(eg string) want[string] {
	return matching("the absolute path of a file", eg, func(s string) bool {
		return filepath.IsAbs(s) && filepath.Clean(s) == s && isPrintable(s)
	})
}

// freeText is a line for people, of so many octets at most.
func freeText(eg string, most int) want[string] {
	return matching(fmt.Sprintf("a line of 1 to %d octets without control characters", most), eg, func(s string) bool {
		return s != "" && len(s) <= most && !strings.ContainsFunc(s, unicode.IsControl)
	})
}

// LongestMessage is what a peer can be told at the end of a session, in octets: GoBGP
// cuts it there (RFC 9003 section 2 allows 255).
const LongestMessage = 128

func shutdownText() want[shutdown] {
	text := freeText("", LongestMessage)
	form := fmt.Sprintf("true, false, or why (1 to %d octets, which the peer is told)", LongestMessage)
	return want[shutdown]{form, quote("rack 7 moves on Monday"), func(n *node) (shutdown, *wrong) {
		if down, ok := n.value.(bool); ok {
			return shutdown{down: down}, nil
		}
		s, bad := text.read(n)
		return shutdown{true, s}, bad
	}}
}

// checkPeer reports what does not fit together in one session.
func (r *reader) checkSession(s rawSession, f *rawFile) {
	if s.keepalive.n != nil && s.holdTime.ok && s.keepalive.v >= s.holdTime.v {
		r.conflict(s.keepalive.n, "not less than hold-time: expected less than %s, usually a third of it", plainSeconds(s.holdTime.v))
	}
	own := f.bgp.as
	if s.localAS.ok && s.as.ok && s.localAS.v == s.as.v {
		r.conflict(s.localAS.n, "the peer's own AS (%s): expected another, or no local-as for iBGP", s.as.n)
	}
	if s.reflectorClient.ok && s.reflectorClient.v && s.as.ok && own.ok && (s.as.v != own.v || s.localAS.ok) {
		r.conflict(s.reflectorClient.n, "only iBGP peers are reflected to (RFC 4456): expected as = %d and no local-as, or no reflector-client", own.v)
	}
}

// checkPeers reports what does not fit together in and among peers.
func (r *reader) checkPeers(f *rawFile) {
	names, addresses, links := map[string]*node{}, map[netip.Addr]*node{}, map[string]*node{}
	own := f.ownAddresses()
	for _, p := range slices.Concat(f.bgp.peers, f.bgp.gateways) {
		if p.name.ok {
			unique(r, names, p.name.v, p.name.n)
		}
		if p.address.ok {
			unique(r, addresses, p.address.v, p.address.n)
		}
		if p.self {
			r.checkSame(p, f)
			continue
		}
		if p.link.ok {
			unique(r, links, p.link.v, p.link.n)
		}
		r.checkSession(p.rawSession, f)
		if p.passive.v && p.without.n != nil {
			r.conflict(p.without.n, "passive, and a session that the peer begins has all capabilities: expected no passive")
		}
		r.checkEnds(p, f, own)
		if p.other.ok {
			unique(r, addresses, p.other.v, p.other.n)
			r.checkOther(p, own)
		}
	}
	for _, e := range f.bgp.ranges {
		if e.name.ok {
			unique(r, names, e.name.v, e.name.n)
		}
		r.checkSession(e.rawSession, f)
	}
}

// checkEnds reports a peer's addresses that can not be.
func (r *reader) checkEnds(p rawPeer, f *rawFile, own map[netip.Addr]*node) {
	if p.address.n != nil && p.link.n != nil {
		r.conflict(p.link.n, "address and interface exclude each other: expected one of them")
	}
	link, at := p.link.v, p.link.n
	if p.address.ok && p.address.v.Zone() != "" {
		link, at = p.address.v.Zone(), p.address.n
	}
	if f.isLAN(link) {
		r.conflict(at, "%s is a LAN, where no sessions run: expected the name of an [[uplink]]", link)
	} else if link != "" && !r.guessed["uplink"] && !slices.ContainsFunc(f.uplinks, func(u rawUplink) bool { return !u.name.ok || u.name.v == link }) {
		r.conflict(at, "no uplink is called %s: expected the name of an [[uplink]]", link)
	}
	if a := own[p.address.v]; p.address.ok && a != nil {
		r.conflict(p.address.n, "this gateway's own address (%s): expected the peer's", a)
	}
	switch s := p.source; {
	case !s.ok:
	case p.address.ok && s.v.Is4() != p.address.v.Is4():
		r.conflict(s.n, "of another family than %s: expected an own address of the same", p.address.v)
	case allStatic(f.uplinks) && s.v.Zone() == "" && own[s.v] == nil:
		r.conflict(s.n, "not an address of this gateway: expected one of an uplink or of [gateway]")
	}
}

// onSubnet says whether a peer is spoken to directly.
func (p rawPeer) onSubnet(f *rawFile) bool {
	return p.kind.v == TypeToR && p.multihop.ok && p.multihop.v == 1 && p.as.ok && p.as.v != f.bgp.as.v &&
		p.address.ok && !p.address.v.IsLinkLocalUnicast()
}

// warnSharedAS warns of gateways that drop each other's paths when a ToR passes them
// on. Without ToRs nobody does, and allow-own-as says that this was thought of.
func (r *reader) warnSharedAS(f *rawFile) {
	if !slices.ContainsFunc(f.bgp.peers, func(p rawPeer) bool { return p.kind.v == TypeToR && p.allowOwnAS.v == 0 }) {
		return
	}
	seen := map[uint32]*node{}
	for _, g := range f.bgp.gateways {
		if !g.as.ok {
			continue
		}
		if first := seen[g.as.v]; first != nil {
			r.add(isWarning, g.as.n, g.as.n.src, fmt.Sprintf(
				"the same as %s: each of the two drops the other's paths as loops when a ToR passes them on; expected an AS of its own for each gateway, or allow-own-as for the ToRs", first))
			continue
		}
		seen[g.as.v] = g.as.n
	}
}
