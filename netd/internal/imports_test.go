package internal_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// owner says who may import a third-party library, and why nobody else.
type owner struct {
	library  string
	packages []string
	reason   string
}

// owners: the first library that is the beginning of an import decides.
func owners() []owner {
	return []owner{
		{"github.com/osrg/gobgp", []string{"netd/internal/bgp"}, "GoBGP's types stay in bgp, which is the one place to change when its API does"},
		{"github.com/vishvananda", []string{"netd/internal/rtnl"}, "rtnl repeats interrupted dumps and names what was attempted; a raw call does neither"},
		{"github.com/google/nftables", []string{"netd/internal/policy"}, "the table netd is replaced as a whole, by policy"},
		{"github.com/mdlayher/netlink", []string{"netd/internal/policy"}, "it is what google/nftables stands on; routes and links go by rtnl"},
		{"github.com/containerd", []string{"containers", "firmware/bench"}, "containerd's API is containers' own, the daemon sees pods; bench builds ctr, to measure against"},
		{"github.com/opencontainers", []string{"containers"}, "image and runtime formats are containers' own"},
		{"github.com/BurntSushi/toml", []string{"netd/config"}, "what is configured is a config.Config, checked as a whole"},
		{"go.etcd.io/bbolt", []string{"netd/internal/store", "containers"}, "store keeps netd's state; containers opens containerd's own databases"},
		{"github.com/prometheus", []string{"netd/internal/metrics"}, "metrics names and labels every metric; the others hand it plain numbers"},
		{"github.com/insomniacslk/dhcp", []string{"netd/internal/dhcp"}, "a lease is dhcp's"},
		{"github.com/mdlayher/packet", []string{"netd/internal/arp", "netd/internal/dhcp"}, "they alone hear what is not for an address of ours"},
	}
}

// ranks: a package imports what is below it. Packages of one rank do not know one
// another.
func ranks() map[string]int {
	return map[string]int{
		// What several share, pure: filter and rib are words, the others a few lines each.
		"netd/layout": -2, "netd/wake": -2, // constants, and a channel
		"netd/internal/address": -1, "netd/internal/filter": -1, "netd/internal/rib": -1, "netd/retry": -1, "netd/internal/watchdog": -1, "netd/internal/heap": 0,
		"netd/outlet":            -1,
		"netd/internal/bgp/wire": -1, // what two processes say to each other
		"netd/config":            0, "netd/internal/ipam": 0, "netd/internal/store": 0, "netd/internal/rtnl": 0, "netd/internal/ownnet": 0,
		"netd/internal/arp": 0, "netd/internal/cage": 0, "netd/internal/dhcp": 0, "netd/internal/rawbgp": 0, "netd/internal/randconf": 0, "netd/internal/bgp/gobgp": 0,
		"netd/internal/link": 1, "netd/internal/pod": 1, "netd/internal/route": 1, "netd/internal/policy": 1,
		"netd/internal/bgp": 1, "netd/internal/bfd": 1, "netd/internal/radv": 1, "netd/internal/api": 1, "netd/internal/metrics": 1,
		"netd/internal/intent": 2, // pure
		"netd/internal/daemon": 3, "netd/internal/cli": 3,
		"netd/internal/bgp/child": 3, // a process of its own: only main starts it
		"netd":                    4,

		"containers/archive": -1, "containers/runc": -1,
		"containers": 0, "containers/debroot": 0, "containers/mkarchive": 0, "containers/shim": 0,

		"firmware/debian": -1, "firmware/gpt": -1, "firmware/ext4": -1, "firmware/kmod": -1, "firmware/uki": -1,
		"firmware/bench/feed": -1, "firmware/bench/report": -1,
		"firmware/boot": 0, "firmware/flash": 0,
		"firmware/boot/stage1": 1, "firmware/image": 1, "firmware/qemutest": 1, "firmware/qemutest/vmrun": 1, "firmware/bench/guest": 1,
		"firmware/lab/patience/again": 0,
		"firmware/lab":                2, "firmware/mkimage": 2, "firmware/qemutest/run": 2,
		"firmware/bench": 3, "firmware/bench/routing": 3, "firmware/demo": 3,
	}
}

const rankReason = "packages import downwards only, and not their neighbours: the daemon translates between them"

// edge is one import: a folder (from the top of the tree), and what it imports.
type edge struct {
	from, file, imports string
}

// offence returns what is wrong with an import, or "".
func offence(e edge) string {
	test := strings.HasSuffix(e.file, "_test.go")
	within := func(dir string) bool { return e.from == dir || strings.HasPrefix(e.from, dir+"/") }
	for _, o := range owners() {
		if e.imports != o.library && !strings.HasPrefix(e.imports, o.library+"/") {
			continue
		}
		if !slices.ContainsFunc(o.packages, within) {
			return fmt.Sprintf("%s: imports %s, which belongs to %s: %s", e.file, e.imports, strings.Join(o.packages, " and "), o.reason)
		}
		return ""
	}
	forTests := []string{"netd/internal/ownnet", "netd/internal/rawbgp", "netd/internal/randconf", "firmware/lab/patience"}
	to, own := strings.CutPrefix(e.imports, "netd/")
	switch {
	case !own:
		return ""
	case slices.Contains(forTests, to) && !test && !slices.Contains(forTests, e.from) && !within("firmware/lab") && !within("firmware/qemutest"):
		return fmt.Sprintf("%s: imports %s, which is for tests only", e.file, e.imports)
	case test:
		return "" // A test may put together what the daemon does.
	}
	fromRank, known := ranks()[e.from]
	toRank, ranked := ranks()[to]
	switch {
	case (within("netd") || within("containers") || within("firmware")) && !known:
		return fmt.Sprintf("%s: package %s has no rank: add it to this test and to HACKING.md", e.file, e.from)
	case known && ranked && toRank >= fromRank:
		return fmt.Sprintf("%s: imports %s, rank %d, from rank %d: %s", e.file, e.imports, toRank, fromRank, rankReason)
	}
	return ""
}

// edges are the imports of all files.
func edges(sources []source) []edge {
	var edges []edge
	for _, s := range sources {
		for _, spec := range s.ast.Imports {
			edges = append(edges, edge{s.dir, s.file, strings.Trim(spec.Path.Value, "\"")})
		}
	}
	return edges
}

func TestImports(t *testing.T) {
	sources := tree(t, "../..")
	edges := edges(sources)
	for _, e := range edges {
		if wrong := offence(e); wrong != "" {
			t.Error(wrong)
		}
	}
	// Each rule is about something: an owner that does not import its library
	// is a rule that has gone stale.
	for _, o := range owners() {
		for _, p := range o.packages {
			if o.library != "github.com/mdlayher/netlink" && !slices.ContainsFunc(edges, func(e edge) bool {
				return (e.from == p || strings.HasPrefix(e.from, p+"/")) && strings.HasPrefix(e.imports, o.library)
			}) {
				t.Errorf("%s owns %s and does not import it", p, o.library)
			}
		}
	}
	for p := range ranks() {
		if !slices.ContainsFunc(sources, func(s source) bool { return s.dir == p }) {
			t.Errorf("package %s has a rank and is not there", p)
		}
	}
}

// The rules detect what they are for.
func TestOffences(t *testing.T) {
	tests := []struct {
		edge edge
		want string
	}{
		{
			edge{"netd/internal/daemon", "netd/internal/daemon/x.go", "github.com/osrg/gobgp/v4/api"},
			"netd/internal/daemon/x.go: imports github.com/osrg/gobgp/v4/api, which belongs to netd/internal/bgp: " + owners()[0].reason,
		},
		{
			edge{"netd/internal/pod", "netd/internal/pod/x_test.go", "github.com/vishvananda/netlink"},
			"netd/internal/pod/x_test.go: imports github.com/vishvananda/netlink, which belongs to netd/internal/rtnl: " + owners()[1].reason,
		},
		{
			edge{"firmware/lab", "firmware/lab/x.go", "github.com/BurntSushi/toml"},
			"firmware/lab/x.go: imports github.com/BurntSushi/toml, which belongs to netd/config: " + owners()[6].reason,
		},
		{
			edge{"netd/internal/daemon", "netd/internal/daemon/x.go", "go.etcd.io/bbolt"},
			"netd/internal/daemon/x.go: imports go.etcd.io/bbolt, which belongs to netd/internal/store and containers: " + owners()[7].reason,
		},
		{
			edge{"netd/internal/pod", "netd/internal/pod/x.go", "netd/netd/internal/route"},
			"netd/internal/pod/x.go: imports netd/netd/internal/route, rank 1, from rank 1: " + rankReason,
		},
		{
			edge{"netd/internal/rtnl", "netd/internal/rtnl/x.go", "netd/netd/internal/daemon"},
			"netd/internal/rtnl/x.go: imports netd/netd/internal/daemon, rank 3, from rank 0: " + rankReason,
		},
		{
			edge{"netd/internal/link", "netd/internal/link/x.go", "netd/netd/internal/ownnet"},
			"netd/internal/link/x.go: imports netd/netd/internal/ownnet, which is for tests only",
		},
		{
			edge{"netd/internal/link", "netd/internal/link/x.go", "netd/firmware/lab/patience"},
			"netd/internal/link/x.go: imports netd/firmware/lab/patience, which is for tests only",
		},
		{edge{"netd/internal/ownnet", "netd/internal/ownnet/x.go", "netd/firmware/lab/patience"}, ""},
		{
			edge{"netd/internal/util", "netd/internal/util/x.go", "netd/netd/config"},
			"netd/internal/util/x.go: package netd/internal/util has no rank: add it to this test and to HACKING.md",
		},
		{
			edge{"firmware/util", "firmware/util/x.go", "netd/netd/config"},
			"firmware/util/x.go: package firmware/util has no rank: add it to this test and to HACKING.md",
		},
		{
			edge{"firmware/boot", "firmware/boot/x.go", "netd/firmware/image"},
			"firmware/boot/x.go: imports netd/firmware/image, rank 1, from rank 0: " + rankReason,
		},
		{edge{"netd/internal/bgp", "netd/internal/bgp/x.go", "github.com/osrg/gobgp/v4/api"}, ""},
		{edge{"containers", "containers/x.go", "go.etcd.io/bbolt"}, ""},
		{edge{"containers/archive", "containers/archive/x.go", "github.com/opencontainers/go-digest"}, ""},
		{edge{"netd/internal/daemon", "netd/internal/daemon/x.go", "netd/containers"}, ""},
		{edge{"netd/internal/pod", "netd/internal/pod/x_test.go", "netd/netd/internal/link"}, ""},
		{edge{"netd/internal/pod", "netd/internal/pod/x.go", "netd/netd/internal/rtnl"}, ""},
	}
	for _, tt := range tests {
		if diff := gocmp.Diff(tt.want, offence(tt.edge)); diff != "" {
			t.Errorf("%s importing %s (-want +got):\n%s", tt.edge.from, tt.edge.imports, diff)
		}
	}
}
