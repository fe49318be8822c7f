package intent

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/config"
	"netd/netd/internal/bfd"
	"netd/netd/internal/bgp"
	"netd/netd/internal/dhcp"
	"netd/netd/internal/link"
)

var update = flag.Bool("update", false, "write the golden files anew")

const examples = "../../../configs/examples"

func load(t *testing.T, file, device string) *config.Config {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(examples, file))
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Parse(file, data, config.Identity{Name: device})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// here are the uplinks as the configuration has them, up.
func here(c *config.Config) []link.State {
	var all []link.State
	for i, u := range c.Uplinks {
		all = append(all, link.State{Name: u.Name, Index: i + 2, MTU: u.MTU, Carrier: true, Addresses: u.Addresses, Router: u.Router, Router6: u.Router6})
	}
	return all
}

// golden holds an intent against testdata/NAME.txt.
func golden(t *testing.T, name string, got Intent) {
	t.Helper()
	text := show(got)
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestExamples compiles each example as it stands, for the first of its gateways, with
// its uplinks up.
func TestExamples(t *testing.T) {
	devices := map[string]string{}
	files, err := filepath.Glob(filepath.Join(examples, "*.toml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".toml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			device := devices[name]
			if _, _, err := config.Parse(file, data, config.Identity{}); err != nil {
				device = "gw-a"
			}
			c := load(t, filepath.Base(file), device)
			golden(t, name, Compile(Sources{Config: c}, Facts{Uplinks: here(c)}))
		})
	}
}

// TestFacts compiles one configuration with what else may be known.
func TestFacts(t *testing.T) {
	ip, pfx := netip.MustParseAddr, netip.MustParsePrefix
	tests := []struct {
		name, file string
		edit       func(*Sources, *Facts)
	}{
		{"nothing-known", "unnumbered.toml", func(_ *Sources, f *Facts) { *f = Facts{} }},
		{"router-heard", "unnumbered.toml", func(_ *Sources, f *Facts) {
			f.Routers = map[string]netip.Addr{"uplink0": ip("fe80::1%uplink0")}
			f.LinkLocals = map[string]netip.Addr{"uplink0": ip("fe80::11")}
		}},
		{"ordered", "two-tors.toml", func(s *Sources, _ *Facts) {
			s.Orders = Orders{Drain: true, Down: map[string]string{"tor1": "rack 7 moves"}}
			s.ByHand = []string{"probe"}
		}},
		{"leased", "single.toml", func(s *Sources, f *Facts) {
			s.Config.Uplinks[0].DHCP, s.Config.Uplinks[0].Addresses = true, nil
			s.Leases = map[string]dhcp.Lease{"uplink0": {Address: pfx("10.9.0.7/24"), DNS: []netip.Addr{ip("10.9.0.2")}}}
			f.Uplinks[0].MTU = 1400
		}},
		{"name-servers-of-the-file", "single.toml", func(s *Sources, _ *Facts) {
			s.Config.DNS.Servers = []netip.Addr{ip("192.0.2.53"), ip("2001:db8::53")}
			s.Leases = map[string]dhcp.Lease{"uplink0": {Address: pfx("10.9.0.7/24"), DNS: []netip.Addr{ip("10.9.0.2")}}}
		}},
		{"leased-in-a-cloud", "single.toml", func(s *Sources, f *Facts) {
			s.Config.Uplinks[0].DHCP, s.Config.Uplinks[0].Addresses, s.Config.Uplinks[0].Router = true, nil, netip.Addr{}
			s.Leases = map[string]dhcp.Lease{"uplink0": {
				Address: pfx("10.9.0.7/32"), Router: ip("192.0.2.1"), Server: ip("192.0.2.1"),
				Routes: []dhcp.Route{{Prefix: pfx("198.51.100.0/24"), Router: ip("10.9.0.8")}, {Prefix: pfx("192.0.2.77/32")}},
			}}
			f.Uplinks[0].Addresses, f.Uplinks[0].Router = []netip.Prefix{pfx("10.9.0.7/32")}, ip("192.0.2.1")
		}},
		{"leased-in-the-pool", "single.toml", func(s *Sources, f *Facts) {
			s.Config.Uplinks[0].DHCP, s.Config.Uplinks[0].Addresses = true, nil
			s.Leases = map[string]dhcp.Lease{"uplink0": {Address: pfx("10.64.1.7/24"), Router: ip("10.64.1.1"), Server: ip("10.64.1.1")}}
		}},
		{"not-leased-yet", "single.toml", func(s *Sources, _ *Facts) {
			s.Config.Uplinks[0].DHCP, s.Config.Uplinks[0].Addresses = true, nil
		}},
		{"a-lost-link-leaves-bfd", "lab.toml", func(s *Sources, f *Facts) {
			for i := range s.Config.BGP.GatewayPeers {
				s.Config.BGP.GatewayPeers[i].BFD = &config.BFD{MinTx: time.Second, MinRx: time.Second, Multiplier: 3}
			}
			f.Uplinks[0].Addresses = nil
			f.BFD = []bfd.Status{{Session: bfd.Session{Peer: "gw-b", Local: ip("10.0.1.11"), Remote: ip("10.0.1.12")}}}
		}},
		{"met-in-a-range", "netd-reflector.toml", func(s *Sources, f *Facts) {
			s.Config.BGP.Ranges = []config.Range{{Name: "racks", Prefix: pfx("10.0.0.0/16"), Session: config.Session{
				Type: config.TypeGateway, AS: 65100, BFD: &config.BFD{MinTx: time.Second, MinRx: time.Second, Multiplier: 3},
			}}}
			f.NextHops = []netip.Addr{ip("10.0.1.77"), ip("192.0.2.1")}
			f.Peers = []bgp.PeerState{{Name: "racks[10.0.1.77]", Address: ip("10.0.1.77"), Range: "racks"}}
			f.BFD = []bfd.Status{{Session: bfd.Session{Peer: "racks[10.0.1.78]", Local: ip("10.0.1.11"), Remote: ip("10.0.1.78")}}}
		}},
		{"a-leaf-returns", "two-tors.toml", func(_ *Sources, f *Facts) { f.Returning = map[string]bool{"tor1": true} }},
		{"ports", "single.toml", func(s *Sources, f *Facts) {
			s.Config.Uplinks[0].Match = config.LinkMatch{Name: "port0"}
			f.Ports = map[string]net.HardwareAddr{"port0": {2, 0, 0, 0, 0, 7}, "port1": {2, 0, 0, 0, 0, 8}}
		}},
		{"no-password", "two-tors.toml", func(s *Sources, _ *Facts) {
			s.Config.BGP.Peers[0].PasswordFile, s.Config.BGP.Peers[0].GTSM = "/data/netd/tor1", true
			s.Config.BGP.Peers[1].PasswordFile, s.Config.BGP.Peers[1].GTSM = "/data/netd/tor2", true
			s.Passwords = map[string]string{"/data/netd/tor2": "secret"}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := load(t, tt.file, "gw-a")
			s, f := Sources{Config: c}, Facts{Uplinks: here(c)}
			tt.edit(&s, &f)
			golden(t, tt.name, Compile(s, f))
		})
	}
}

// show prints what is not zero, a line each.
func show(i Intent) string {
	var b strings.Builder
	walk(&b, "", reflect.ValueOf(i))
	return b.String()
}

func walk(b *strings.Builder, path string, v reflect.Value) {
	if v.IsZero() {
		return
	}
	if s, ok := v.Interface().(fmt.Stringer); ok {
		fmt.Fprintf(b, "%s %s\n", path, s)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		walk(b, path, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Anonymous {
				walk(b, path, v.Field(i))
			} else if f.IsExported() {
				walk(b, path+"."+f.Name, v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(b, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		for _, k := range keys {
			walk(b, fmt.Sprintf("%s[%v]", path, k), v.MapIndex(k))
		}
	default:
		fmt.Fprintf(b, "%s %v\n", path, v)
	}
}
