package config

import (
	"fmt"
	"strings"
)

// This file has what people write in place of netd's keys: the words of other routing
// daemons (gobgpd, FRR, BIRD), of netplan and compose files, and of habit.

// hint is what to say of a key that is not one of netd's.
type hint struct {
	key string // ours, if there is one for it
	say string // what else a person has to know
	// stands is the key of ours that it was to stand in for, and that is not missing then.
	stands string
}

// hintFor finds what a key of a table (kind is its path without names) was meant to be.
func hintFor(kind, key string, keys []string) hint {
	kind = strings.TrimPrefix(strings.TrimPrefix(kind, "device."), "device")
	norm := strings.ReplaceAll(strings.ToLower(key), "_", "-")
	for table, list := range map[string]string{
		"": rootHints, "gateway": gatewayHints, "uplink": uplinkHints + linkHints, "lan": lanHints + linkHints,
		"uplink.match": matchHints, "lan.match": matchHints, "device.match": matchHints,
		"uplink.vlan": vlanHints, "uplink.bond": bondHints, "lan.vlan": vlanHints, "lan.bond": bondHints, "lan.bridge": bondHints,
		"bgp": bgpHints, "bgp.peer": sessionHints, "bgp.gateway": sessionHints, "bgp.range": sessionHints,
		"bgp.peer.bfd": bfdHints, "bgp.gateway.bfd": bfdHints, "bgp.range.bfd": bfdHints,
		"pool": poolHints, "workload": workloadHints, "dns": dnsHints, "management": managementHints, "tunnel": tunnelHints,
	} {
		if table == kind {
			if h, ok := lookUp(list, norm, keys); ok {
				return h
			}
		}
	}
	return hint{key: Nearest(key, keys)}
}

// lookUp finds a key in a list, whose lines are: our key or "-" (or "-" and the key that it
// was to stand in for), the words for it, and after a colon what to say. A key of ours that
// the table at hand does not have is passed over.
func lookUp(list, key string, keys []string) (hint, bool) {
	for line := range strings.Lines(list) {
		words, say, _ := strings.Cut(strings.TrimSpace(line), ": ")
		fields := strings.Fields(words)
		for _, w := range fields[min(1, len(fields)):] {
			if w != key {
				continue
			}
			h := hint{key: fields[0], say: say}
			if stands, none := strings.CutPrefix(h.key, "-"); none {
				h.key, h.stands = "", stands
			}
			for _, k := range keys {
				if h.key == "" || strings.HasPrefix(h.key, "[[") || k == h.key {
					return h, true
				}
			}
		}
	}
	return hint{}, false
}

// unknownText is what is said of a key.
func unknownText(h hint, keys []string) string {
	meant := strings.TrimSuffix(strings.TrimPrefix(h.key, "[["), "]]")
	switch {
	case h.key != "" && meant != h.key:
		return fmt.Sprintf("expected %s; %s", h.key, h.say)
	case h.key != "" && h.say != "":
		return fmt.Sprintf("did you mean %q? %s", h.key, h.say)
	case h.key != "":
		return fmt.Sprintf("did you mean %q?", h.key)
	}
	if h.say != "" {
		return h.say
	}
	if len(keys) == 1 {
		return "expected only " + keys[0]
	}
	return "expected one of " + strings.Join(keys, ", ")
}

const rootHints = `
bgp global
gateway host hostname system node
uplink interface interfaces iface link links nic nics port ports network networks ethernets
[[bgp.peer]] peer peers neighbor neighbors neighbour neighbours: sessions are within bgp
workload container containers service services app apps application applications
tunnel vxlan ipip tunnels
management admin console
- include includes import: a file has all by itself
- route routes static-routes: there are no static routes but an uplink's router and router6, which is a default route
dns nameserver nameservers resolver name-servers
- ntp time: there is none for a time server
- network-policy policy policies: there is none for filtering pods' traffic
`

const gatewayHints = `
name hostname host-name host
address loopback lo ip ipv4 ipv6
- dns nameserver nameservers resolver: it is a table of the whole file, e.g. [dns] with servers = ["10.0.0.53"]
- ntp time-server timeserver: there is none for a time server
- timezone tz: there is none for a time zone: all is in UTC
- as asn router-id: it is a key of [bgp]
- router default-gateway: it is a key of an [[uplink]]
`

// linkHints are of all links.
const linkHints = `
name interface ifname device dev
match mac macaddress mac-address: it is a table, e.g. match = { mac = "52:54:00:01:00:0a" }
address ip ipv4 ipv6 cidr
vlan vlan-id tag
bond slaves members lacp
- netmask mask prefix-length: the subnet's prefix length stands with the address, e.g. address = ["10.0.1.11/24"]
- dns nameserver nameservers: it is a table of the whole file, e.g. [dns] with servers = ["10.0.0.53"]
`

const lanHints = `
-address dhcp dhcp4 dhcpv4 dhcp6 dhcpv6 bootproto: a LAN has static addresses only, as there the gateway is the devices' router
- router router6 gateway gateway4 gateway6 gw default-gateway via default-route: a LAN has none, as there the gateway itself is the devices' router, and its own is an [[uplink]]'s
bridge br bridge-ports
forward-to forward forwards
`

const uplinkHints = `
router gateway gateway4 gw default-gateway via default-route
router6 gateway6
dhcp dhcp4 dhcpv4 bootproto
-match bridge br bridge-ports: only a [[lan]] can be a bridge; an uplink of several links is a bond
- forward-to: it is a key of a [[lan]], whose devices reach what is behind the uplinks anyway
- dhcp6 dhcpv6: there is no DHCPv6: give a static address
- routes route: there are no static routes but router and router6, which are default routes
`

const matchHints = `
name interface ifname device dev link label port
mac macaddress mac-address hwaddr hwaddress hardware-address address ether
serial serial-number sn
name host hostname
`

const vlanHints = `
id vid vlan tag vlan-id
parent link device dev interface raw-device trunk lower
`

const bondHints = `
members slaves slave interfaces ports links port
mode bond-mode policy type
`

const bgpHints = `
as asn local-as local-asn autonomous-system as-number
router-id routerid id identifier
peer neighbor neighbors neighbour neighbours tor tors
gateway gateways mesh
range dynamic-neighbors dynamic-neighbours listen-range peer-group peer-groups
announce network networks advertise advertisements originate redistribute
filter policy policies policy-definitions prefix-list route-map
port listen-port
hold-time holdtime hold-timer timers
keepalive keepalive-interval keepalive-timer
restart-time graceful-restart
long-lived-time llgr long-lived-graceful-restart
connect-retry connect-retry-timer
`

const sessionHints = `
address neighbor neighbour neighbor-address neighbour-address remote-address peer-address ip host addr
as peer-as remote-as peer-asn remote-asn asn neighbor-as neighbour-as as-number
password-file password auth-password md5 md5-password tcp-md5 auth-key key secret: The password stands in a file on the gateway, not here
multihop ebgp-multihop ttl multi-hop multihop-ttl
source update-source local-address source-address
gtsm ttl-security
hold-time holdtime hold-timer hold timers
keepalive keepalive-interval keepalive-timer
connect-retry connect-retry-timer connect
interface ifname neighbor-interface link device dev
reflector-client route-reflector-client rr-client route-reflector
- reflector-client route-reflector-client rr-client: it is a key of a [[bgp.gateway]] and a [[bgp.range]], to which this gateway reflects; a peer that reflects to this gateway has type = "reflector"
type route-reflector rr role kind
passive passive-mode
local-as local-asn
allow-own-as allowas-in allow-as-in allow-own-asn
max-prefixes maximum-prefix max-prefix prefix-limit prefix-limits limit
shutdown admin-down disabled disable enabled enable
import import-policy import-policy-list route-map-in prefix-list-in
export export-policy export-policy-list route-map-out prefix-list-out route-map prefix-list
description desc remark
prefix range network subnet listen-range
name peer-name
- next-hop-self nexthop-self: there is none for it: a gateway is the next hop of all that it announces
no-capabilities capability capabilities: it has those that are left out; all others are offered always
- soft-reconfiguration route-refresh capability capabilities afi-safis families: there is none for it: both families and route refresh are offered always
- default-originate remove-private-as send-community as-override: there is none for it: [[bgp.filter]] and [[bgp.announce]] say what a peer is told
- weight local-preference med prepend: there is none for it: the rule of a [[bgp.filter]] sets it
`

const bfdHints = `
min-tx tx transmit-interval min-tx-interval interval desired-min-tx-interval
min-rx rx receive-interval min-rx-interval required-min-rx-interval
multiplier detect-multiplier detection-multiplier detect-mult
`

const poolHints = `
prefix cidr network subnet range
block share own
encapsulation encap mode ipip ipip-mode vxlan-mode tunnel
`

const workloadHints = `
command entrypoint cmd exec run
args arguments argv
env environment envs variables
replicas count instances scale pods
image container archive
- ports port expose publish: there is none for it: every pod has an address of its own, and all of its ports
- volumes volume mounts mount: there is none for it: what a pod writes is gone with it
- memory cpu cpus resources limits mem-limit: there is none for a limit of memory or CPU
restart restart-policy restartpolicy
stop-timeout stop-grace-period grace-period termination-grace-period-seconds
- user uid workdir working-dir: there is none for it: the image says it
- dns nameserver nameservers: it is a table of the whole file, e.g. [dns] with servers = ["10.0.0.53"]
`

const dnsHints = `
servers server nameserver nameservers name-servers address addresses
- search domain domains search-domains: there is none for it: names are asked for as they are
`

const managementHints = `
console-password password root-password passwd password-hash hash
metrics prometheus metrics-address metrics-port exporter
- ssh sshd ssh-key ssh-keys authorized-keys: there is no SSH: the serial console, with console-password, is the only way in
- user users username login: there is none but root
`

const tunnelHints = `
type mode encapsulation encap
vni id vxlan-id
port dstport dst-port udp-port
`
