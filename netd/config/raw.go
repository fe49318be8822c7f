package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"netd/netd/layout"
)

// The raw structs have the values that are compared with others, with their nodes.

type rawFile struct {
	c          *Config // as far as it could be read
	gateway    rawGateway
	uplinks    []rawUplink
	lans       []rawLAN
	bgp        rawBGP
	tunnel     rawTunnel
	pools      []rawPool
	workloads  []rawWorkload
	management rawManagement
}

type rawManagement struct{ metrics val[netip.AddrPort] }

type rawGateway struct {
	name      val[string]
	addresses val[[]val[netip.Addr]]
}

type rawBGP struct {
	as                                val[uint32]
	routerID                          val[netip.Addr]
	port                              val[uint16]
	holdTime, keepalive, connectRetry val[time.Duration]
	peers                             []rawPeer
	gateways                          []rawPeer
	ranges                            []rawRange
	filters                           []rawFilter
	announces                         []rawAnnounce
	rawFilters                        // of peers that name none
}

type rawPool struct {
	name          val[string]
	prefix, block val[netip.Prefix]
	encapsulation val[Encapsulation]
}

type rawWorkload struct {
	n        *node
	name     val[string]
	replicas val[int]
}

// readFile reads a tree. It reports what is wrong with single values and what is
// missing; name is the default for gateway.name.
func (r *reader) readFile(root *node, name val[string]) *rawFile {
	return new(Config).keys(&table{r: r, n: root}, name)
}

// keys are those of a file.
func (c *Config) keys(t *table, name val[string]) *rawFile {
	defer t.done()
	f := &rawFile{c: c}
	schemaKey(t)
	f.gateway = c.Gateway.keys(t.table("gateway"), name)
	f.uplinks = each(t, "uplink", &c.Uplinks, (*Uplink).keys)
	if len(f.uplinks) == 0 {
		t.missing("uplink", "expected at least one [[uplink]]")
	}
	f.lans = each(t, "lan", &c.LANs, (*LAN).keys)
	f.bgp = c.BGP.keys(t.table("bgp"))
	f.tunnel = c.Tunnel.keys(t.table("tunnel"))
	f.pools = each(t, "pool", &c.Pools, (*Pool).keys)
	f.workloads = each(t, "workload", &c.Workloads, (*Workload).keys)
	c.DNS.keys(t.table("dns"))
	f.management = c.Management.keys(t.table("management"))
	t.child("device", about{}) // readDevices has checked it
	return f
}

// config is the Config of checked values.
func (f *rawFile) config() *Config {
	c := *f.c
	if !c.BGP.RouterID.IsValid() {
		c.BGP.RouterID = f.defaultRouterID()
	}
	c.BGP.GatewayPeers = nil
	for i, p := range f.bgp.gateways {
		if !p.self {
			c.BGP.GatewayPeers = append(c.BGP.GatewayPeers, f.c.BGP.GatewayPeers[i])
		}
	}
	return &c
}

func schemaKey(t *table) {
	w := number[int](Schema, Schema, fmt.Sprint(Schema))
	w.what = fmt.Sprintf("%d, the only format that this netd reads", Schema)
	w.eg = ""
	if n := t.n.table["schema"]; n != nil && n.value == fmt.Sprint(Schema) {
		w.what = fmt.Sprintf("the number %d, without quotes", Schema)
		w.read = func(*node) (int, *wrong) { return 0, &wrong{} }
	}
	schema := Schema
	if v := optional(t, "schema", &schema, w); v.n == nil {
		t.missing("schema", fmt.Sprintf("expected the number of the file's format as its first line, e.g. schema = %d", Schema))
	}
}

func (g *Gateway) keys(t *table, name val[string]) rawGateway {
	defer t.done()
	var r rawGateway
	if t.n.table["name"] == nil && name.ok {
		t.child("name", about{})
		g.Name, r.name = name.v, name
	} else {
		r.name = required(t, "name", &g.Name, gatewayName())
	}
	r.addresses = elements(t, "address", &g.Addresses, hostAddr("10.255.0.11"))
	return r
}

func (b *BGP) keys(t *table) rawBGP {
	defer t.done()
	var r rawBGP
	r.as = required(t, "as", &b.AS, asNumber("65101"))
	r.routerID = optional(t, "router-id", &b.RouterID, routerID())
	r.port = withDefault(t, "port", &b.Port, number[uint16](1, 65535, strconv.Itoa(layout.BGPPort)), layout.BGPPort)
	r.holdTime = withDefault(t, "hold-time", &b.HoldTime, holdTime(), 9*time.Second)
	r.keepalive = withDefault(t, "keepalive", &b.Keepalive, keepalive(), (r.holdTime.v / 3).Truncate(time.Second))
	r.connectRetry = withDefault(t, "connect-retry", &b.ConnectRetry, connectRetry(), 5*time.Second)
	withDefault(t, "restart-time", &b.RestartTime, seconds(0, 4095*time.Second, "120s"), 120*time.Second)
	withDefault(t, "long-lived-time", &b.LongLivedTime, seconds(0, (1<<24-1)*time.Second, "1h"), 0)
	optional(t, "cluster-id", &b.ClusterID, routerID())
	var all Filters // Each peer has them then.
	r.rawFilters = all.keys(t, rawFilters{})
	r.peers = each(t, "peer", &b.Peers, func(p *Peer, t *table) rawPeer { return p.keys(t, &r) })
	r.gateways = each(t, "gateway", &b.GatewayPeers, func(p *Peer, t *table) rawPeer { return p.gatewayKeys(t, &r) })
	r.ranges = each(t, "range", &b.Ranges, func(e *Range, t *table) rawRange { return e.keys(t, &r) })
	r.filters = each(t, "filter", &b.Filters, (*Filter).keys)
	r.announces = each(t, "announce", &b.Announces, (*Announce).keys)
	return r
}

// routerID is any number but 0, written as an address (RFC 6286).
func routerID() want[netip.Addr] {
	w := ipv4("10.0.1.11")
	w.what = "a number other than 0 in the form of an IPv4 address"
	w.read = func(n *node) (netip.Addr, *wrong) {
		s, _ := n.value.(string)
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() || a.IsUnspecified() {
			return a, &wrong{}
		}
		return a, nil
	}
	return w
}

func (p *Pool) keys(t *table) rawPool {
	defer t.done()
	r := rawPool{
		name:   required(t, "name", &p.Name, hostName("pods")),
		prefix: required(t, "prefix", &p.Prefix, podPrefix("an IPv4 or IPv6 prefix", "10.64.0.0/16")),
		block:  required(t, "block", &p.Block, podPrefix("this gateway's part of the pool, an IPv4 or IPv6 prefix", "10.64.1.0/26")),
	}
	if use := specialUse(r.prefix.n); use != "" && use == specialUse(r.block.n) {
		t.r.untell(r.block.n) // It is where the pool is.
	}
	r.encapsulation = withDefault(t, "encapsulation", &p.Encapsulation, oneOf(Encapsulations()...), EncapsulateCrossSubnet)
	p.Attributes.keys(t)
	return r
}

func (w *Workload) keys(t *table) rawWorkload {
	defer t.done()
	r := rawWorkload{n: t.n, name: required(t, "name", &w.Name, workloadName())}
	required(t, "image", &w.Image, imageName())
	command := words(t, "command", &w.Command, aString("/bin/httpd"))
	if command.ok && len(command.v) == 0 {
		t.r.add(isBad, command.n, command.n.src,
			`expected at least a program; leave the key out to run what the image names`)
	} else if command.ok && command.v[0].ok && command.v[0].v == "" {
		n := command.v[0].n
		t.r.add(isBad, n, n.src, `expected the path of a program, e.g. "/bin/httpd"; leave the key out to run what the image names`)
	}
	if command.ok && len(command.v) == 1 && len(strings.Fields(command.v[0].v)) > 1 {
		n := command.v[0].n
		t.r.add(isWarning, n, n.src, fmt.Sprintf("this is the path of one program, with spaces in it; expected each word by itself, e.g. %s, unless that is what you want", tomlOf(strings.Fields(command.v[0].v))))
	}
	words(t, "args", &w.Args, aString("-f"))
	w.envKeys(t.inline("env"))
	r.replicas = withDefault(t, "replicas", &w.Replicas, number[int](0, 250, "1"), 1)
	withDefault(t, "restart", &w.Restart, oneOf(Restarts()...), RestartAlways)
	withDefault(t, "read-metrics", &w.ReadMetrics, boolean(), false)
	withDefault(t, "stop-timeout", &w.StopTimeout, seconds(0, 10*time.Minute, "10s"), 10*time.Second)
	return r
}

// envKeys are what the file calls its variables.
func (w *Workload) envKeys(t *table) {
	if t.out != nil {
		for _, key := range slices.Sorted(maps.Keys(w.Env)) {
			t.out.add(key, w.Env[key])
		}
		return
	}
	for key, n := range t.n.table {
		if key == "" || strings.ContainsAny(key, "=\x00") {
			t.r.add(isBad, n, n.src, `expected a variable's name without "=", e.g. env = { PORT = "8080" }`)
			continue
		}
		if w.Env == nil {
			w.Env = make(map[string]string)
		}
		w.Env[key] = readNode(t.r, n, aString("8080")).v
	}
}

func (d *DNS) keys(t *table) {
	defer t.done()
	filled(t, "servers", &d.Servers, hostAddr("10.0.0.53"))
}

func (m *Management) keys(t *table) rawManagement {
	defer t.done()
	optional(t, "console-password", &m.ConsolePassword, passwordHash())
	return rawManagement{metrics: optional(t, "metrics", &m.Metrics, addrPort())}
}
