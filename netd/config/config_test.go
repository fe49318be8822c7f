package config

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const configs = "../../configs"

// equal compares netip's types, whose zone pointers cmp can not look into.
func equal() cmp.Option {
	return cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})
}

func load(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(configs, path))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// roundTrip checks that a Config's TOML parses to the same Config.
func roundTrip(t *testing.T, c *Config) {
	t.Helper()
	again, _, err := Parse("printed.toml", c.TOML(), Identity{})
	if err != nil {
		t.Fatalf("printed:\n%s\n%v", c.TOML(), err)
	}
	if diff := cmp.Diff(c, again, equal()); diff != "" {
		t.Fatalf("printed:\n%s\n(-parsed +printed and parsed)\n%s", c.TOML(), diff)
	}
}

// session is one with all defaults.
func session(kind PeerType, as uint32) Session {
	hops := 64
	if kind == TypeToR {
		hops = 1
	}
	return Session{
		Type: kind, AS: as, Multihop: hops, HoldTime: 9 * time.Second, Keepalive: 3 * time.Second, ConnectRetry: 5 * time.Second,
		MaxPrefixes: 10000, MaxPrefixesWarn: 80, MaxPrefixesRestart: 5 * time.Minute,
	}
}

func TestLab(t *testing.T) {
	data, err := ReadFile(configs + "/examples/lab.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, warnings, err := Parse("lab.toml", data, Identity{Name: "gw-c"})
	if err != nil {
		t.Fatal(err)
	}
	hash := got.Management.ConsolePassword
	if !strings.HasPrefix(hash, "$6$netdlab$") {
		t.Errorf("console-password is %q", hash)
	}
	want := &Config{
		Gateway: Gateway{Name: "gw-c"},
		Uplinks: []Uplink{{
			Link: Link{
				Name: "uplink0", Match: LinkMatch{Name: "eth0"}, MTU: 1500,
				Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.2.13/24")},
			},
			Router: netip.MustParseAddr("10.0.2.1"),
		}},
		BGP: BGP{
			AS: 65103, RouterID: netip.MustParseAddr("10.0.2.13"), Port: 179,
			HoldTime: 9 * time.Second, Keepalive: 3 * time.Second, ConnectRetry: 5 * time.Second, RestartTime: 120 * time.Second,
			Peers: []Peer{{Name: "tor2", Address: netip.MustParseAddr("10.0.2.1"), Session: session(TypeToR, 65002)}},
			GatewayPeers: []Peer{
				{Name: "gw-a", Address: netip.MustParseAddr("10.0.1.11"), Session: session(TypeGateway, 65101)},
				{Name: "gw-b", Address: netip.MustParseAddr("10.0.1.12"), Session: session(TypeGateway, 65102)},
			},
		},
		Tunnel: Tunnel{Type: TunnelIPIP, LeaveDelay: time.Second},
		Pools: []Pool{{
			Name: "pods", Prefix: netip.MustParsePrefix("10.64.0.0/16"), Block: netip.MustParsePrefix("10.64.3.0/26"), Encapsulation: EncapsulateCrossSubnet,
		}},
		Workloads:  []Workload{{Name: "web", Image: "web.tar", Replicas: 1, Restart: RestartAlways, StopTimeout: 10 * time.Second}},
		Management: Management{ConsolePassword: hash},
	}
	if diff := cmp.Diff(want, got, equal()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
}

// TestGood parses every good file, for each of its devices, and prints it.
func TestGood(t *testing.T) {
	files, err := filepath.Glob(configs + "/examples/*.toml")
	if err != nil || len(files) < 3 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	good, err := filepath.Glob(configs + "/testdata/good-*.toml")
	if err != nil || len(good) < 5 {
		t.Fatalf("good files: %v, %v", good, err)
	}
	files = append(append(files, good...), configs+"/reference.toml")
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			devices, err := ParseAll(filepath.Base(file), data)
			if err != nil {
				t.Fatal(err)
			}
			warnings := ""
			for _, d := range devices {
				roundTrip(t, d.Config)
				for _, w := range d.Warnings {
					warnings += w.String() + "\n"
				}
			}
			golden(t, strings.TrimSuffix(file, ".toml")+".warn", warnings)
		})
	}
}
