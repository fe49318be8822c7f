package config

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const diffBase = `schema = 1
[gateway]
name = "gw-a"
[[uplink]]
name = "uplink0"
match = { name = "eth0" }
address = ["10.0.1.11/24"]
router = "10.0.1.1"
[[uplink]]
name = "uplink1"
match = { name = "eth1" }
address = ["10.0.2.11/24"]
[bgp]
as = 65101
router-id = "10.0.1.11"
[[bgp.peer]]
name = "tor1"
address = "10.0.1.1"
as = 65001
[[pool]]
name = "pods"
prefix = "10.64.0.0/16"
block = "10.64.1.0/26"
[[workload]]
name = "web"
image = "web.tar"
env = { A = "1" }
[management]
console-password = "$6$netdlab$G5Dn5oeJyLv7r.0yPqJFISyoAj.IyiOWW49gNinyvReVhdC69lMkyuBkir628fhJC9pzR/6PNTqzuJVp6.lhn0"
`

func TestDiff(t *testing.T) {
	parse := func(text string) *Config {
		t.Helper()
		c, _, err := Parse("x.toml", []byte(text), Identity{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	uplink1 := diffBase[strings.Index(diffBase, "[[uplink]]\nname = \"uplink1"):strings.Index(diffBase, "[bgp]")]
	tests := []struct {
		name    string
		replace []string
		want    []string
	}{
		{"nothing", nil, nil},
		{"a default spelt out", []string{"as = 65101", "as = 65101\nport = 179"}, nil},
		{"values", []string{"as = 65001", "as = 65002\nmax-prefixes = 5", `["10.0.1.11/24"]`, `["10.0.1.11/24", "10.0.9.1/32"]`}, []string{
			"bgp.peer[tor1].as: 65001 -> 65002", "bgp.peer[tor1].max-prefixes: 10000 -> 5",
			`uplink[uplink0].address: ["10.0.1.11/24"] -> ["10.0.1.11/24", "10.0.9.1/32"]`,
		}},
		{"a key that goes, and one that comes", []string{"router = \"10.0.1.1\"\n", "", `{ A = "1" }`, `{ B = "2" }`}, []string{
			`- uplink[uplink0].router: "10.0.1.1"`, `- workload[web].env.A: "1"`, `+ workload[web].env.B: "2"`,
		}},
		{"a table that goes", []string{uplink1, ""}, []string{
			`- uplink[uplink1]: address = ["10.0.2.11/24"], dhcp = false, match = { name = "eth1" }, mtu = 1500, name = "uplink1"`,
		}},
		{"a table that is renamed, and its order", []string{uplink1, "", "[[uplink]]\nname = \"uplink0", uplink1 + "[[uplink]]\nname = \"uplink0"}, []string{
			"uplink: in the order uplink1, uplink0",
		}},
		{"secrets are not shown", []string{"$6$netdlab$G", "$6$netdlab$H"}, []string{"management.console-password: another"}},
		{"a secret that goes", []string{diffBase[strings.Index(diffBase, "[management]"):], ""}, []string{"- management: { console-password = (not shown) }"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := diffBase
			for i := 0; i < len(tt.replace); i += 2 {
				if !strings.Contains(text, tt.replace[i]) {
					t.Fatalf("%q is not there", tt.replace[i])
				}
				text = strings.Replace(text, tt.replace[i], tt.replace[i+1], 1)
			}
			if diff := cmp.Diff(tt.want, Diff(parse(diffBase), parse(text))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Every value that a file can have is seen: against an empty base each one of the
// reference file is a line.
func TestDiffOfReference(t *testing.T) {
	data, err := os.ReadFile("../../configs/reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	devices, err := ParseAll("reference.toml", data)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if lines := Diff(d.Config, d.Config); lines != nil {
			t.Errorf("device %s differs from itself: %q", d.Label, lines)
		}
	}
	if lines := Diff(devices[0].Config, devices[1].Config); len(lines) < 5 {
		t.Errorf("two devices differ in %q", lines)
	}
}
