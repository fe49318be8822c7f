package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// The raw structs are what a file says: the values of Config with their nodes.

type rawFile struct {
	gateway    rawGateway
	uplinks    []rawUplink
	bgp        rawBGP
	tunnel     rawTunnel
	pools      []rawPool
	workloads  []rawWorkload
	management rawManagement
}

type rawGateway struct {
	name      val[string]
	addresses val[[]val[netip.Addr]]
}

type rawBGP struct {
	n             *node
	as            val[int64]
	routerID      val[netip.Addr]
	clusterID     val[netip.Addr]
	port          val[int64]
	holdTime      val[time.Duration]
	keepalive     val[time.Duration]
	connectRetry  val[time.Duration]
	restartTime   val[time.Duration]
	longLivedTime val[time.Duration]
	peers         []rawPeer
	gateways      []rawPeer
	ranges        []rawRange
	filters       []rawFilter
	announces     []rawAnnounce
	rawFilters    // of peers that name none
}

type rawBFD struct {
	minTx, minRx val[time.Duration]
	multiplier   val[int64]
}

type rawPool struct {
	n      *node
	name   val[string]
	prefix val[netip.Prefix]
	block  val[netip.Prefix]
	mode   val[Mode]
	rawAttributes
}

type rawWorkload struct {
	n        *node
	name     val[string]
	image    val[string]
	command  val[[]val[string]]
	args     val[[]val[string]]
	env      map[string]val[string]
	replicas val[int64]
}

type rawManagement struct {
	consolePassword val[string]
	metrics         val[netip.AddrPort]
}

// readFile reads a tree. It reports what is wrong with single values and what is
// missing; name is the default for gateway.name.
func (r *reader) readFile(root *node, name val[string]) *rawFile {
	t := &table{r: r, n: root}
	f := &rawFile{}
	r.readSchema(t)
	f.gateway = readGateway(t.table("gateway"), name)
	for _, e := range t.tables("uplink") {
		f.uplinks = append(f.uplinks, readUplink(e))
	}
	if len(f.uplinks) == 0 {
		t.missing("uplink", "expected at least one [[uplink]]")
	}
	f.bgp = readBGP(t.table("bgp"))
	f.tunnel = readTunnel(t.table("tunnel"))
	for _, e := range t.tables("pool") {
		f.pools = append(f.pools, readPool(e))
	}
	for _, e := range t.tables("workload") {
		f.workloads = append(f.workloads, readWorkload(e))
	}
	f.management = readManagement(t.table("management"))
	t.child("device", false) // readDevices has checked it
	t.done()
	return f
}

func (r *reader) readSchema(t *table) {
	w := number(Schema, Schema, fmt.Sprint(Schema))
	w.what = fmt.Sprintf("%d, the only format that this netd reads", Schema)
	w.eg = ""
	if t.child("schema", false) == nil {
		t.missing("schema", fmt.Sprintf("expected the number of the file's format as its first line, e.g. schema = %d", Schema))
		return
	}
	readNode(r, t.n.table["schema"], w)
}

func readGateway(t *table, name val[string]) rawGateway {
	defer t.done()
	g := rawGateway{addresses: elements(t, "address", hostAddr("10.255.0.11"))}
	if t.n.table["name"] == nil && name.ok {
		t.child("name", false)
		g.name = name
	} else {
		g.name = required(t, "name", hostName("gw-a"))
	}
	return g
}

func readBGP(t *table) rawBGP {
	defer t.done()
	b := rawBGP{
		n:             t.n,
		as:            required(t, "as", asNumber("65101")),
		routerID:      optional(t, "router-id", routerID()),
		clusterID:     optional(t, "cluster-id", routerID()),
		port:          withDefault(t, "port", number(1, 65535, "179"), 179),
		holdTime:      withDefault(t, "hold-time", holdTime(), 9*time.Second),
		connectRetry:  withDefault(t, "connect-retry", connectRetry(), 5*time.Second),
		restartTime:   withDefault(t, "restart-time", seconds(0, 4095*time.Second, "120s"), 120*time.Second),
		longLivedTime: withDefault(t, "long-lived-time", seconds(0, (1<<24-1)*time.Second, "1h"), 0),
	}
	b.rawFilters = readFilters(t)
	for _, e := range t.tables("filter") {
		b.filters = append(b.filters, readFilter(e))
	}
	for _, e := range t.tables("announce") {
		b.announces = append(b.announces, readAnnounce(e))
	}
	b.keepalive = withDefault(t, "keepalive", keepalive(), (b.holdTime.v / 3).Truncate(time.Second))
	for _, e := range t.tables("peer") {
		b.peers = append(b.peers, b.readPeer(e))
	}
	for _, e := range t.tables("gateway") {
		b.gateways = append(b.gateways, b.readGateway(e))
	}
	for _, e := range t.tables("range") {
		b.ranges = append(b.ranges, b.readRange(e))
	}
	return b
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

// readBFD reads bfd, which is a table, or true for one with the defaults.
func readBFD(t *table) *rawBFD {
	n := t.child("bfd", false)
	on, isBool := n.scalar().(bool)
	if n != nil && n.kind != aTable && !isBool {
		t.r.add(isBad, n, n.src, `expected true, false or a table, e.g. bfd = { min-tx = "300ms", min-rx = "300ms", multiplier = 3 }`)
	}
	// Its keys are known all the same.
	sub := &table{r: t.r, kind: join(t.kind, "bfd"), n: &node{kind: aTable}}
	given := n != nil && n.kind == aTable
	if given {
		sub.n = n
	}
	defer sub.done()
	interval := milliseconds(50*time.Millisecond, time.Minute, "300ms")
	b := &rawBFD{
		minTx:      withDefault(sub, "min-tx", interval, 300*time.Millisecond),
		minRx:      withDefault(sub, "min-rx", interval, 300*time.Millisecond),
		multiplier: withDefault(sub, "multiplier", number(1, 255, "3"), 3),
	}
	if given || on {
		return b
	}
	return nil
}

func readPool(t *table) rawPool {
	defer t.done()
	return rawPool{
		n:      t.n,
		name:   required(t, "name", hostName("pods")),
		prefix: required(t, "prefix", podPrefix("an IPv4 or IPv6 prefix", "10.64.0.0/16")),
		block:  required(t, "block", podPrefix("this gateway's part of the pool, an IPv4 or IPv6 prefix", "10.64.1.0/26")),
		mode:   withDefault(t, "encapsulation", oneOf(ModeNever, ModeCrossSubnet, ModeAlways), ModeCrossSubnet),

		rawAttributes: readAttributes(t),
	}
}

func readWorkload(t *table) rawWorkload {
	defer t.done()
	w := rawWorkload{
		n:        t.n,
		name:     required(t, "name", workloadName()),
		image:    required(t, "image", imageName()),
		command:  elements(t, "command", aString("/bin/httpd")),
		args:     elements(t, "args", aString("-f")),
		replicas: withDefault(t, "replicas", number(0, 250, "1"), 1),
		env:      make(map[string]val[string]),
	}
	if w.command.ok && len(w.command.v) == 0 {
		t.r.add(isBad, w.command.n, w.command.n.src,
			`expected at least a program; leave the key out to run what the image names`)
	}
	env := t.table("env")
	for key, n := range env.n.table {
		if key == "" || strings.ContainsAny(key, "=\x00") {
			t.r.add(isBad, n, n.src, `expected a variable's name without "=", e.g. env = { PORT = "8080" }`)
			continue
		}
		w.env[key] = readNode(t.r, n, aString("8080"))
	}
	return w
}

func readManagement(t *table) rawManagement {
	defer t.done()
	return rawManagement{
		consolePassword: optional(t, "console-password", passwordHash()),
		metrics:         optional(t, "metrics", addrPort()),
	}
}
