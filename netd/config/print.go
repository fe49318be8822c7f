package config

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// config turns checked raw values into a Config.
func (f *rawFile) config() *Config {
	c := &Config{
		Gateway:    Gateway{Name: f.gateway.name.v, Addresses: usable(f.gateway.addresses)},
		Tunnel:     f.tunnel.config(),
		Management: Management{ConsolePassword: f.management.consolePassword.v, Metrics: f.management.metrics.v},
		BGP: BGP{
			AS:            uint32(f.bgp.as.v),
			RouterID:      f.bgp.routerID.v,
			ClusterID:     f.bgp.clusterID.v,
			Port:          uint16(f.bgp.port.v),
			HoldTime:      f.bgp.holdTime.v,
			Keepalive:     f.bgp.keepalive.v,
			ConnectRetry:  f.bgp.connectRetry.v,
			RestartTime:   f.bgp.restartTime.v,
			LongLivedTime: f.bgp.longLivedTime.v,
			Peers:         configPeers(f.bgp.peers),
			GatewayPeers:  configPeers(f.bgp.gateways),
			Ranges:        configRanges(f.bgp.ranges),
			Filters:       configFilters(f.bgp.filters),
			Announces:     configAnnounces(f.bgp.announces),
		},
	}
	for _, u := range f.uplinks {
		c.Uplinks = append(c.Uplinks, u.config())
	}
	if !c.BGP.RouterID.IsValid() {
		c.BGP.RouterID = f.defaultRouterID()
	}
	for _, p := range f.pools {
		c.Pools = append(c.Pools, Pool{Name: p.name.v, Prefix: p.prefix.v, Block: p.block.v, Mode: p.mode.v, Attributes: p.rawAttributes.config()})
	}
	for _, w := range f.workloads {
		c.Workloads = append(c.Workloads, w.config())
	}
	return c
}

func (b *rawBFD) config() *BFD {
	if b == nil {
		return nil
	}
	return &BFD{MinTx: b.minTx.v, MinRx: b.minRx.v, Multiplier: int(b.multiplier.v)}
}

func (w rawWorkload) config() Workload {
	c := Workload{
		Name:     w.name.v,
		Image:    w.image.v,
		Command:  usable(w.command),
		Args:     usable(w.args),
		Replicas: int(w.replicas.v),
	}
	for k, v := range w.env {
		if c.Env == nil {
			c.Env = make(map[string]string)
		}
		c.Env[k] = v.v
	}
	return c
}

// TOML returns the Config as a file for this one box, with every value spelt out.
// It parses to the same Config.
func (c *Config) TOML() []byte {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("schema = %d", Schema)
	p("\n[gateway]\nname = %s", quote(c.Gateway.Name))
	if c.Gateway.Addresses != nil {
		p("address = %s", quoteAll(c.Gateway.Addresses, netip.Addr.String))
	}
	printUplinks(p, c.Uplinks)
	p("\n[bgp]\nas = %d", c.BGP.AS)
	if c.BGP.RouterID.IsValid() {
		p("router-id = %s", quote(c.BGP.RouterID.String()))
	}
	p("port = %d", c.BGP.Port)
	p("hold-time = %s", quote(plainSeconds(c.BGP.HoldTime)))
	p("keepalive = %s", quote(plainSeconds(c.BGP.Keepalive)))
	p("connect-retry = %s", quote(plainSeconds(c.BGP.ConnectRetry)))
	p("restart-time = %s", quote(plainSeconds(c.BGP.RestartTime)))
	p("long-lived-time = %s", quote(plainSeconds(c.BGP.LongLivedTime)))
	if c.BGP.ClusterID.IsValid() {
		p("cluster-id = %s", quote(c.BGP.ClusterID.String()))
	}
	printPeers(p, "bgp.peer", c.BGP.Peers)
	printPeers(p, "bgp.gateway", c.BGP.GatewayPeers)
	printRanges(p, c.BGP.Ranges)
	printFilters(p, c.BGP.Filters)
	printAnnounces(p, c.BGP.Announces)
	printTunnel(p, c.Tunnel)
	for _, o := range c.Pools {
		p("\n[[pool]]\nname = %s\nprefix = %s\nblock = %s\nencapsulation = %s",
			quote(o.Name), quote(o.Prefix.String()), quote(o.Block.String()), quote(string(o.Mode)))
		o.Attributes.print(p)
	}
	for _, w := range c.Workloads {
		printWorkload(p, w)
	}
	m := c.Management
	if m != (Management{}) {
		p("\n[management]")
	}
	if m.ConsolePassword != "" {
		p("console-password = %s", quote(m.ConsolePassword))
	}
	if m.Metrics.IsValid() {
		p("metrics = %s", quote(m.Metrics.String()))
	}
	return b.Bytes()
}

func printWorkload(p func(string, ...any), w Workload) {
	p("\n[[workload]]\nname = %s\nimage = %s", quote(w.Name), quote(w.Image))
	same := func(s string) string { return s }
	if w.Command != nil {
		p("command = %s", quoteAll(w.Command, same))
	}
	if w.Args != nil {
		p("args = %s", quoteAll(w.Args, same))
	}
	var env []string
	for _, k := range slices.Sorted(maps.Keys(w.Env)) {
		env = append(env, quoteKey(k)+" = "+quote(w.Env[k]))
	}
	if env != nil {
		p("env = { %s }", strings.Join(env, ", "))
	}
	p("replicas = %d", w.Replicas)
}

func quoteAll[T any](vs []T, str func(T) string) string {
	quoted := make([]string, len(vs))
	for i, v := range vs {
		quoted[i] = quote(str(v))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quoteKey quotes a key where TOML needs it.
func quoteKey(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !isBare(r) }) {
		return quote(s)
	}
	return s
}

func isBare(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

// quote returns a basic string of TOML. strconv.Quote knows escapes that TOML does
// not have.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
