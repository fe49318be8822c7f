package config

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

// everyTable has one of everything, and of its values only what a file must have. None
// of them is a key's example.
const everyTable = `schema = 1
gateway.name = "gw-z"
[[uplink]]
name = "up"
match = { name = "lan9" }
address = ["10.0.1.12/24", "2001:db8:1::12/64"]
[[lan]]
name = "machines"
match = { name = "lan7" }
address = ["192.168.20.1/24"]
[[lan]]
name = "lan1"
match = { name = "lan6" }
address = ["192.168.21.1/24"]
[bgp]
as = 65100
[[bgp.peer]]
name = "tor1"
address = "10.0.1.2"
as = 64999
[[bgp.gateway]]
name = "gw-y"
address = "10.0.2.14"
as = 65099
[[bgp.range]]
name = "some"
prefix = "10.0.8.0/24"
as = 65098
[[bgp.filter]]
name = "from-tors"
[[bgp.filter.rule]]
name = "any"
action = "accept"
[[bgp.filter]]
name = "to-tors"
[[bgp.filter.rule]]
name = "any"
action = "accept"
[[bgp.announce]]
prefix = "198.51.100.0/24"
[[pool]]
name = "all"
prefix = "10.64.0.0/15"
block = "10.64.0.0/26"
[[workload]]
name = "app"
image = "app.tar"
`

// setups have what a key needs beside it: keys to set, and those without a value to
// take away.
func setups() map[string]map[string]string {
	vlan := map[string]string{"uplink.match": "", "uplink.vlan": `{ id = 7, parent = "lan8" }`}
	bond := map[string]string{"uplink.match": "", "uplink.bond": `{ members = ["lan8"] }`}
	lanVLAN := map[string]string{"lan.match": "", "lan.vlan": `{ id = 7, parent = "lan8" }`}
	lanBond := map[string]string{"lan.match": "", "lan.bond": `{ members = ["lan8"] }`}
	bridge := map[string]string{"lan.match": "", "lan.bridge": `{ members = ["lan8"] }`}
	vxlan := map[string]string{"tunnel.type": `"vxlan"`}
	return map[string]map[string]string{
		"uplink.match.mac":             {"uplink.match.name": ""},
		"uplink.dhcp":                  {"uplink.address": `["2001:db8:1::12/64"]`, "bgp.router-id": `"10.0.1.12"`},
		"uplink.vlan.id":               vlan,
		"uplink.vlan.parent":           vlan,
		"uplink.bond.mode":             bond,
		"uplink.bond.members":          bond,
		"lan.match.mac":                {"lan.match.name": ""},
		"lan.vlan.id":                  lanVLAN,
		"lan.vlan.parent":              lanVLAN,
		"lan.bond.mode":                lanBond,
		"lan.bond.members":             lanBond,
		"lan.bridge.members":           bridge,
		"tunnel.vni":                   vxlan,
		"tunnel.port":                  vxlan,
		"bgp.peer.interface":           {"bgp.peer.address": "", "uplink.name": `"uplink0"`},
		"bgp.gateway.reflector-client": {"bgp.gateway.as": "65100"},
		"bgp.range.reflector-client":   {"bgp.range.as": "65100"},
	}
}

// inputs have a value where neither example nor default leads to one.
func inputs() map[string]string {
	return map[string]string{
		"bgp.peer.name":               `"tor9"`,
		"bgp.peer.source":             `"10.0.1.12"`,
		"bgp.gateway.source":          `"10.0.1.12"`,
		"bgp.filter.name":             `"from-all"`,
		"management.console-password": `"$6$netdlab$G5Dn5oeJyLv7r.0yPqJFISyoAj.IyiOWW49gNinyvReVhdC69lMkyuBkir628fhJC9pzR/6PNTqzuJVp6.lhn0"`,
	}
}

// TestEveryKey sets every key that is described to another value than its default, and
// sees it in the Config, in the Config as TOML, and in a comparison of two.
func TestEveryKey(t *testing.T) {
	p, errs := parse("reference.toml", load(t, "reference.toml"))
	if errs != nil {
		t.Fatal(errs)
	}
	p.known["workload.env.A"] = about{leaf: true, what: "a string", eg: `"1"`}
	whole, _, err := Parse("f", []byte(everyTable), Identity{})
	if err != nil {
		t.Fatal(err)
	}
	reached := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(p.known)) {
		if !p.known[key].leaf || key == "schema" || strings.HasPrefix(key, "device.match.") {
			continue // these are not in a Config
		}
		base := decoded(t, everyTable)
		for k, v := range setups()[key] {
			set(t, base, k, v)
		}
		before, _, err := Parse("f", encoded(t, base), Identity{})
		if err != nil { // The key is what is left to be set.
			before = whole
		}
		after, tried := other(t, base, key, p.known[key], before)
		if after == nil {
			t.Errorf("%s: no value is seen in the Config: %s", key, strings.Join(tried, ", "))
			continue
		}
		roundTrip(t, after)
		last := key[strings.LastIndexByte(key, '.')+1:]
		if lines := Diff(before, after); !strings.Contains(strings.Join(lines, "\n"), last) {
			t.Errorf("%s: not seen in the comparison %q", key, lines)
		}
		reach(reflect.ValueOf(*after), "", reached)
	}
	for field, is := range reached {
		if !is {
			t.Errorf("%s is set by no key", field)
		}
	}
}

// other returns the Config of a tree with a key set so that it is another one than before,
// or what was tried.
func other(t *testing.T, tree map[string]any, key string, a about, before *Config) (after *Config, tried []string) {
	t.Helper()
	for _, v := range values(key, a) {
		set(t, tree, key, v)
		c, _, err := Parse("f", encoded(t, tree), Identity{})
		if err == nil && !cmp.Equal(before, c, equal()) {
			return c, nil
		}
		tried = append(tried, fmt.Sprintf("%s (%v)", v, err))
	}
	return nil, tried
}

// values are some that a key may take, as TOML.
func values(key string, a about) []string {
	if v := inputs()[key]; v != "" {
		return []string{v}
	}
	var vs []string
	if a.eg != "" {
		vs = append(vs, a.eg)
	}
	if i, err := strconv.Atoi(a.def); err == nil {
		vs = append(vs, strconv.Itoa(i+1), strconv.Itoa(i-1))
	}
	if s, err := strconv.Unquote(a.def); err == nil {
		if d, err := time.ParseDuration(s); err == nil {
			vs = append(vs, tomlOf(2*d))
		}
	}
	vs = append(vs, regexp.MustCompile(`"[^" ]+"`).FindAllString(a.what, -1)...)
	if a.def == "true" || a.def == "false" {
		vs = append(vs, map[string]string{"true": "false", "false": "true"}[a.def])
	}
	if a.list {
		for i := range vs {
			vs[i] = "[" + vs[i] + "]"
		}
	}
	return vs
}

// reach notes of every field of this package's structs whether it was once not zero.
func reach(v reflect.Value, field string, reached map[string]bool) {
	own := func(t reflect.Type) bool {
		return t.Kind() == reflect.Struct && t.PkgPath() == reflect.TypeFor[Config]().PkgPath()
	}
	switch {
	case v.Kind() == reflect.Pointer && own(v.Type().Elem()):
		if v.IsNil() {
			v = reflect.New(v.Type().Elem())
		}
		reach(v.Elem(), field, reached)
	case v.Kind() == reflect.Slice && own(v.Type().Elem()):
		reach(reflect.Zero(v.Type().Elem()), field, reached)
		for i := range v.Len() {
			reach(v.Index(i), field, reached)
		}
	case own(v.Type()):
		for i := range v.NumField() {
			reach(v.Field(i), v.Type().Name()+"."+v.Type().Field(i).Name, reached)
		}
	default:
		reached[field] = reached[field] || !v.IsZero()
	}
}

// set sets a key of a tree, in the first element of an array of tables, or takes it
// away.
func set(t *testing.T, tree map[string]any, key, value string) {
	t.Helper()
	dir, last := parent(tree, key)
	if value == "" {
		delete(dir, last)
		return
	}
	dir[last] = decoded(t, "v = "+value)["v"]
}

// parent returns the table of a key, which is made if it is not there, and the key's own
// name.
func parent(tree map[string]any, key string) (table map[string]any, last string) {
	parts := strings.Split(key, ".")
	for _, part := range parts[:len(parts)-1] {
		switch sub := tree[part].(type) {
		case map[string]any:
			tree = sub
		case []map[string]any:
			tree = sub[0]
		default:
			made := map[string]any{}
			tree[part] = made
			tree = made
		}
	}
	return tree, parts[len(parts)-1]
}

func decoded(t *testing.T, text string) map[string]any {
	t.Helper()
	var tree map[string]any
	if _, err := toml.Decode(text, &tree); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return tree
}

func encoded(t *testing.T, tree map[string]any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := toml.NewEncoder(&b).Encode(tree); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
