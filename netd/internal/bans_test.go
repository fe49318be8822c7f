package internal_test

import (
	"fmt"
	"go/ast"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// starters are the packages that may start programs (os/exec) outside tests, and
// which. PID 1 forks by hand: nothing else may wait for its children.
func starters() map[string]string {
	return map[string]string{
		"netd/internal/bgp":           "netd bgp",
		"netd/internal/bfd":           "netd bfd",
		"netd/internal/ownnet":        "for tests: programs inside a namespace",
		"firmware/debian":             "apt-get, dpkg-deb",
		"firmware/image":              "mksquashfs and the like",
		"firmware/qemutest":           "QEMU",
		"firmware/qemutest/vmrun":     "QEMU, and what unpacks its kernel",
		"firmware/lab":                "the lab's switches, captures, ip",
		"firmware/lab/patience/again": "go test, and again",
		"firmware/bench":              "unsquashfs and the like",
		"firmware/bench/routing":      "itself in a guest",
		"firmware/bench/guest":        "ctr",
	}
}

// ban is what no file may have, and what to do instead.
type ban struct{ what, instead string }

func bans() []ban {
	return []ban{
		{"os/exec", "only the packages in starters start programs"},
		{"slog.Default", "take a *slog.Logger; slog.New(slog.DiscardHandler) in a test"},
		{"time.Sleep", "a test waits for a condition with a deadline (ownnet.Within), or has time of its own (testing/synctest)"},
		{"init", "a constructor says when it runs"},
	}
}

// banned returns what of the bans is in a file.
func banned(s source) []string {
	var found []string
	for _, spec := range s.ast.Imports {
		if _, starts := starters()[s.dir]; spec.Path.Value == `"os/exec"` && !s.test() && !starts {
			found = append(found, "os/exec")
		}
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				found = append(found, "init")
			}
		case *ast.CallExpr:
			return selector(n.Fun) != "synctest.Test" // Inside, time is the test's own.
		case *ast.SelectorExpr:
			if name := selector(n); name == "slog.Default" || name == "time.Sleep" && s.test() {
				found = append(found, name)
			}
		}
		return true
	})
	return found
}

// selector is "package.Name" of such an expression, else "".
func selector(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name
		}
	}
	return ""
}

func TestBans(t *testing.T) {
	instead := map[string]string{}
	for _, b := range bans() {
		instead[b.what] = b.instead
	}
	starts := starters()
	for _, s := range tree(t, "../..") {
		for _, spec := range s.ast.Imports {
			if spec.Path.Value == `"os/exec"` && !s.test() {
				delete(starts, s.dir)
			}
		}
		for _, what := range banned(s) {
			t.Errorf("%s: %s: %s", s.file, what, instead[what])
		}
	}
	// A rule that has gone stale is taken away.
	for dir := range starts {
		t.Errorf("%s may start programs and does not", dir)
	}
}

// The bans detect what they are for.
func TestBanned(t *testing.T) {
	tests := []struct {
		file, text string
		want       []string
	}{
		{"netd/internal/link/x.go", `import "os/exec"`, []string{"os/exec"}},
		{"netd/internal/link/x_test.go", `import "os/exec"`, nil},
		{"firmware/lab/x.go", `import "os/exec"`, nil},
		{"netd/internal/link/x.go", `var log = slog.Default()`, []string{"slog.Default"}},
		{"netd/internal/link/x.go", `func f() { time.Sleep(1) }`, nil},
		{"netd/internal/link/x_test.go", `func f() { time.Sleep(1) }`, []string{"time.Sleep"}},
		{"netd/internal/link/x_test.go", `func f() { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }`, nil},
		{"netd/internal/link/x.go", `func init() {}; func (t T) init() {}`, []string{"init"}},
	}
	for _, tt := range tests {
		got := banned(parsed(t, tt.file, "package x\n"+strings.TrimSpace(tt.text)))
		if diff := gocmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", fmt.Sprintf("%s: %s", tt.file, tt.text), diff)
		}
	}
}
