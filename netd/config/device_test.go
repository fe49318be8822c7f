package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// one is a file with a complete common part and the given devices.
func one(devices string) []byte {
	return []byte(`schema = 1
gateway.name = "common"
bgp.as = 65100
uplink = [{ name = "u0", match.name = "eth0", address = ["10.0.0.10/24"] }]
` + devices)
}

func TestMatch(t *testing.T) {
	file := one(`
[[device]]
match = { name = "by-name" }
gateway.name = "by-name"
bgp.as = 65101
uplink = [{ name = "u0", address = ["10.0.0.11/24"] }]
[[device]]
gateway.name = "by-serial"
match = { serial = "CZ 12/34" }
uplink = [{ name = "u0", address = ["10.0.0.12/24"] }]
[[device]]
gateway.name = "by-mac"
match = { mac = "52-54-00-01-00-0A" }
uplink = [{ name = "u0", address = ["10.0.0.13/24"] }]
[[device]]
gateway.name = "by-all"
match = { name = "by-all", serial = "S", mac = "52:54:00:01:00:0b" }
uplink = [{ name = "u0", address = ["10.0.0.14/24"] }]
`)
	other, a, b := mac(t, "52:54:00:01:00:ff"), mac(t, "52:54:00:01:00:0a"), mac(t, "52:54:00:01:00:0b")
	tests := []struct {
		name string
		id   Identity
		want string // gateway.name
	}{
		{"unknown box", Identity{}, "common"},
		{"name", Identity{Name: "by-name", Serial: "x", MACs: []net.HardwareAddr{other}}, "by-name"},
		{"serial", Identity{Serial: "CZ 12/34"}, "by-serial"},
		{"part of a serial", Identity{Serial: "CZ 12"}, "common"},
		{"one of the links", Identity{MACs: []net.HardwareAddr{other, a}}, "by-mac"},
		{"another link", Identity{MACs: []net.HardwareAddr{other}}, "common"},
		{"not all", Identity{Name: "by-all", Serial: "S", MACs: []net.HardwareAddr{other}}, "common"},
		{"all", Identity{Name: "by-all", Serial: "S", MACs: []net.HardwareAddr{b}}, "by-all"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := Parse("f", file, tt.id)
			if err != nil {
				t.Fatal(err)
			}
			if c.Gateway.Name != tt.want {
				t.Errorf("got %s, want %s", c.Gateway.Name, tt.want)
			}
		})
	}
	_, _, err := Parse("f", file, Identity{Name: "by-name", Serial: "CZ 12/34"})
	want := `f:13:1: device[CZ 12/34].match: box with name "by-name", serial "CZ 12/34", mac unknown: this box is also matched by device[by-name].match, line 7: expected one [[device]] for a box`
	if err == nil || err.Error() != want {
		t.Errorf("two devices for a box:\n got %v\nwant %s", err, want)
	}
}

func TestNoMatch(t *testing.T) {
	lab := load(t, "examples/lab.toml")
	_, _, err := Parse("lab.toml", lab, Identity{Name: "gw-x", MACs: []net.HardwareAddr{mac(t, "52:54:00:01:00:0a"), mac(t, "52:54:00:01:00:0b")}})
	const want = `lab.toml:58:1: device: box with name "gw-x", serial unknown, mac "52:54:00:01:00:0a 52:54:00:01:00:0b": no [[device]] matches this box, and without one bgp.as, gateway.name, pool[pods].block, uplink[uplink0].address are missing: expected a box with one of { name = "gw-a" }, { name = "gw-b" }, { name = "gw-c" }`
	if err == nil || err.Error() != want {
		t.Errorf("\n got %v\nwant %s", err, want)
	}
}

// TestMerge has each of the merge's rules.
func TestMerge(t *testing.T) {
	const file = `schema = 1
gateway.name = "common"
uplink = [
  { name = "u0", match.name = "eth0", address = ["10.0.0.10/24"], router = "10.0.0.1", mtu = 9000 },
  { name = "u1", match.name = "eth1", dhcp = true },
]
pool = [{ name = "pods", prefix = "10.64.0.0/16", block = "10.64.0.0/30" }]
workload = [
  { name = "web", image = "web.tar", args = ["a", "b"], env = { A = "1", B = "2" } },
]
[bgp]
as = 65100
hold-time = "30s"
[[bgp.peer]]
name = "tor1"
address = "10.0.0.1"
as = 65001

[[device]]
match.name = "gw"
bgp = { as = 65101, peer = [{ name = "tor2", address = "10.0.0.2", as = 65002 }, { name = "tor1", max-prefixes = 5 }] }
[[device.uplink]]
name = "u1"
match = { mac = "52:54:00:01:00:0b" }
[[device.uplink]]
name = "u0"
address = ["10.0.0.11/24", "10.0.9.11/24"]
[[device.workload]]
name = "web"
args = []
env = { B = "3", C = "4" }
`
	c, warnings, err := Parse("f", []byte(file), Identity{Name: "gw"})
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	if diff := cmp.Diff([]Uplink{
		{
			Link: Link{
				Name: "u0", Match: LinkMatch{Name: "eth0"}, MTU: 9000,
				Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.11/24"), netip.MustParsePrefix("10.0.9.11/24")},
			},
			Router: netip.MustParseAddr("10.0.0.1"),
		},
		{Link: Link{Name: "u1", Match: LinkMatch{MAC: mac(t, "52:54:00:01:00:0b")}, MTU: 1500}, DHCP: true},
	}, c.Uplinks, equal()); diff != "" {
		t.Errorf("uplinks (-want +got)\n%s", diff)
	}
	tor1, tor2 := session(TypeToR, 65001), session(TypeToR, 65002)
	tor1.MaxPrefixes = 5
	for _, s := range []*Session{&tor1, &tor2} {
		s.HoldTime, s.Keepalive = 30*time.Second, 10*time.Second
	}
	if diff := cmp.Diff([]Peer{
		{Name: "tor1", Address: netip.MustParseAddr("10.0.0.1"), Session: tor1},
		{Name: "tor2", Address: netip.MustParseAddr("10.0.0.2"), Session: tor2},
	}, c.BGP.Peers, equal()); diff != "" {
		t.Errorf("peers (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]Workload{{
		Name: "web", Image: "web.tar", Args: []string{}, Replicas: 1, Restart: RestartAlways, StopTimeout: 10 * time.Second,
		Env: map[string]string{"A": "1", "B": "3", "C": "4"},
	}}, c.Workloads); diff != "" {
		t.Errorf("workloads (-want +got)\n%s", diff)
	}
	if c.Gateway.Name != "common" || c.BGP.AS != 65101 || c.BGP.HoldTime.String() != "30s" {
		t.Errorf("gateway %s, AS %d, hold time %s", c.Gateway.Name, c.BGP.AS, c.BGP.HoldTime)
	}
}

// fleet is a file for n gateways, each in all the others' list.
func fleet(n int) []byte {
	var gateways, devices strings.Builder
	for i := range n {
		a, b := i/200, i%200+10
		fmt.Fprintf(&gateways, "[[bgp.gateway]]\nname = \"gw-%d\"\naddress = \"10.%d.0.%d\"\nas = %d\n", i, a, b, 65100+i)
		fmt.Fprintf(&devices, "[[device]]\nmatch.name = \"gw-%d\"\nbgp.as = %d\nuplink = [{ name = \"u0\", address = [\"10.%d.0.%d/24\"] }]\npool = [{ name = \"pods\", block = \"10.64.%d.%d/28\" }]\n",
			i, 65100+i, a, b, i/16, i%16*16)
	}
	return []byte("schema = 1\nuplink = [{ name = \"u0\", match.name = \"eth0\" }]\npool = [{ name = \"pods\", prefix = \"10.64.0.0/16\" }]\n" +
		gateways.String() + devices.String())
}

func TestFleet(t *testing.T) {
	const n = 50
	devices, err := ParseAll("fleet.toml", fleet(n))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if d.Label != d.Config.Gateway.Name || len(d.Config.BGP.GatewayPeers) != n-1 {
			t.Errorf("device %s: gateway %s with %d others", d.Label, d.Config.Gateway.Name, len(d.Config.BGP.GatewayPeers))
		}
	}
	if len(devices) != n {
		t.Errorf("%d devices", len(devices))
	}
}

func BenchmarkFleet(b *testing.B) {
	file := fleet(200)
	for b.Loop() {
		if _, err := ParseAll("fleet.toml", file); err != nil {
			b.Fatal(err)
		}
	}
}
