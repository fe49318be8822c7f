package internal_test

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// file is what a file of the agent may know of the project, and why that is all.
type file struct {
	imports []string // packages; those without a folder are of netd/internal
	reason  string
	// part says that the file is a part's: it has this type, and knows neither the Daemon
	// nor another part.
	part string
}

// daemonFiles are those of netd/internal/daemon. config is in few of them: what a key of
// the file means is intent's to know, and the agent loads a configuration, compares it
// and hands it on.
func daemonFiles() map[string]file {
	return map[string]file{
		"options.go": {[]string{"netd/config", "netd/layout"}, "it finds the files and loads the first good one", ""},
		"ports.go":   {[]string{"netd/config"}, "it reads the board's file", ""},
		"loop.go":    {[]string{"rtnl", "watchdog", "netd/wake"}, "it has events and jobs, and does not know what they are about", ""},
		"tasks.go":   {nil, "it has goroutines, whatever they do", ""},
		"watch.go":   {[]string{"rtnl", "netd/layout", "netd/retry"}, "it passes rtnetlink's events on, and answers none", ""},
		"box.go":     {[]string{"intent", "netd/layout"}, "it writes what a box as a whole is called", ""},

		"settings.go": {[]string{"netd/config", "intent", "netd/wake"}, "it has the configuration and the orders, and leaves to intent what they mean", "settings"},
		"uplinks.go":  {[]string{"dhcp", "intent", "link", "pod", "radv", "rtnl", "netd/layout"}, "it has links, and nothing that is spoken over them", "uplinks"},
		"carrier.go":  {[]string{"link", "rtnl"}, "it looks at carriers; who is lost with one is the round's to say", "uplinks"},
		"lease.go":    {[]string{"arp", "dhcp", "intent", "netd/wake"}, "it keeps leases", "uplinks"},
		"claims.go":   {[]string{"arp", "intent", "link", "netd/wake"}, "it knows who has our addresses, too, and gives none up", "uplinks"},
		"tunnels.go":  {[]string{"intent", "link", "route", "rtnl"}, "it has tunnels; which routes lead there is the plan's to say", "tunnels"},
		"policies.go": {[]string{"intent", "link", "policy", "rtnl", "netd/retry", "netd/wake"}, "it has what the kernel forwards and drops", "policies"},
		"pods.go":     {[]string{"ipam", "pod", "route", "store"}, "it has the pods' networks; what runs in them is the runtime's", "pods"},
		"podfit.go":   {[]string{"intent", "pod"}, "it changes the networks of pods that are there", "pods"},
		"sessions.go": {[]string{"bfd", "bgp", "intent", "rib", "route", "netd/wake"}, "it has the sessions, and no hand in the kernel", "sessions"},
		"farewell.go": {[]string{"bfd", "bgp", "intent"}, "it orders two ends", "sessions"},
		"paths.go":    {[]string{"bfd", "bgp"}, "it takes in what BFD finds", "sessions"},
		"judge.go":    {[]string{"bfd"}, "it is pure, and without a clock", "judge"},
		"routes.go":   {[]string{"api", "intent", "link", "rib", "route", "rtnl", "netd/layout"}, "it has the plan, whoever told the paths", "routes"},
		"exporter.go": {[]string{"api", "metrics", "route"}, "it counts and tells, and asks nobody", "exporter"},
		"repairs.go":  {[]string{"api"}, "it has what was put back, whatever that was", "health"},
		"health.go":   {[]string{"netd/layout"}, "it has what went wrong, wherever that was", "health"},
		"board.go":    {[]string{"api", "bgp", "pod", "route"}, "it has the view, made of what the packages know", "board"},

		"daemon.go": {
			[]string{"containers", "api", "dhcp", "intent", "ipam", "metrics", "pod", "radv", "route", "rtnl", "store", "netd/wake"},
			"it puts the parts together", "",
		},
		"round.go":   {[]string{"intent", "route", "rtnl"}, "it has the order of the parts; each knows itself what it does", ""},
		"change.go":  {[]string{"netd/config", "api"}, "it reads a new configuration and says what it changes", ""},
		"trial.go":   {[]string{"api"}, "it swaps configurations as they are", ""},
		"orders.go":  {[]string{"api", "intent"}, "it has a person's orders, and leaves to intent what they mean", ""},
		"gateway.go": {[]string{"containers", "api", "metrics", "pod", "route", "rtnl"}, "it answers the API", ""},
		"show.go":    {[]string{"api", "bgp", "intent", "pod", "route", "rtnl"}, "it puts into the API's words what the packages know", ""},
		"view.go":    {[]string{"api"}, "it puts into the API's words what the parts have", ""},
		"screen.go":  {[]string{"api", "netd/layout"}, "it shows what the board does, to who has not logged in", ""},
		"doc.go":     {nil, "it is for readers", ""},
	}
}

const (
	partReason   = "parts do not know one another, so that each can be read by itself; the Daemon hands on plain values"
	configReason = "what a configuration's fields mean is said in package intent, once"
)

// trespasses are what a file of the agent knows and is not to.
func trespasses(s source, files map[string]file) []string {
	name := path.Base(s.file)
	f, known := files[name]
	if !known {
		return []string{name + " is not in this test: say what it may import, and why that is all"}
	}
	var found []string
	for _, spec := range s.ast.Imports {
		p, own := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), "netd/")
		if own && !slices.Contains(f.imports, strings.TrimPrefix(p, "netd/internal/")) {
			found = append(found, fmt.Sprintf("%s imports %s: %s", name, p, f.reason))
		}
	}
	others := map[string]bool{"Daemon": true, "gateway": true}
	for _, other := range files {
		others[other.part] = other.part != "" && other.part != "judge"
	}
	refuse := func(e ast.Expr) {
		if id, ok := e.(*ast.Ident); ok && f.part != "" && others[id.Name] && id.Name != f.part {
			found = append(found, fmt.Sprintf("%s knows %s: %s", name, id.Name, partReason))
		}
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StarExpr: // The parts are never passed by value: each holds what is its own.
			refuse(n.X)
		case *ast.CompositeLit:
			refuse(n.Type)
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.SelectorExpr); ok && x.Sel.Name == "config" {
				found = append(found, fmt.Sprintf("%s reads config.%s: %s", name, n.Sel.Name, configReason))
			}
		}
		return true
	})
	return found
}

func TestParts(t *testing.T) {
	const dir = "netd/internal/daemon"
	files := daemonFiles()
	unused := map[string][]string{}
	for name, f := range files {
		unused[name] = f.imports
	}
	seen := map[string]bool{}
	for _, s := range tree(t, "../..") {
		if s.dir != dir || s.test() {
			continue
		}
		name := path.Base(s.file)
		seen[name] = true
		for _, wrong := range trespasses(s, files) {
			t.Error(wrong)
		}
		for _, e := range edges([]source{s}) {
			p := strings.TrimPrefix(strings.TrimPrefix(e.imports, "netd/"), "netd/internal/")
			unused[name] = slices.DeleteFunc(slices.Clone(unused[name]), func(i string) bool { return i == p })
		}
	}
	// A rule that has gone stale is taken away.
	for name := range files {
		if !seen[name] {
			t.Errorf("%s is in this test and not in %s", name, dir)
		}
		if left := unused[name]; len(left) > 0 {
			t.Errorf("%s may import %s and does not", name, strings.Join(left, ", "))
		}
	}
}

// The rules detect what they are for.
func TestTrespasses(t *testing.T) {
	files := map[string]file{
		"routes.go":  {[]string{"route", "netd/layout"}, "it has the plan", "routes"},
		"tunnels.go": {[]string{"link"}, "it has tunnels", "tunnels"},
		"round.go":   {nil, "it has the order", ""},
	}
	tests := []struct {
		file, text string
		want       []string
	}{
		{"routes.go", `import ("fmt"; "netd/netd/internal/route"; "netd/netd/layout")`, nil},
		{"routes.go", `import "netd/netd/config"`, []string{"routes.go imports netd/config: it has the plan"}},
		{"routes.go", `import "netd/netd/internal/bgp"`, []string{"routes.go imports netd/internal/bgp: it has the plan"}},
		{"routes.go", `func (r *routes) apply(tunnels []string) {}`, nil},
		{"routes.go", `func (r *routes) apply(t *tunnels) {}`, []string{"routes.go knows tunnels: " + partReason}},
		{"routes.go", `type routes struct { t *tunnels }`, []string{"routes.go knows tunnels: " + partReason}},
		{"routes.go", `var _ = tunnels{}`, []string{"routes.go knows tunnels: " + partReason}},
		{"routes.go", `func (d *Daemon) apply() {}`, []string{"routes.go knows Daemon: " + partReason}},
		{"round.go", `func (d *Daemon) apply() { f(&tunnels{}) }`, nil},
		{"round.go", `func f() { f(d.loaded.config) }`, nil},
		{"round.go", `func f() { f(d.loaded.config.Pools) }`, []string{"round.go reads config.Pools: " + configReason}},
		{"new.go", ``, []string{"new.go is not in this test: say what it may import, and why that is all"}},
	}
	for _, tt := range tests {
		got := trespasses(parsed(t, "netd/internal/daemon/"+tt.file, "package daemon\n"+tt.text), files)
		if diff := gocmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", tt.file, tt.text, diff)
		}
	}
}
