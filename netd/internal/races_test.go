package internal_test

import (
	"go/ast"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// goroutine tells whether a file starts one: by go, by something's method Go, or as a
// test that runs beside others.
func goroutine(s source) bool {
	starts := false
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			starts = true
		case *ast.SelectorExpr:
			starts = starts || n.Sel.Name == "Go" || n.Sel.Name == "Parallel"
		}
		return true
	})
	return starts
}

// unraced are the packages that the Makefile tests without the race detector.
func unraced(makefile string) []string {
	line := regexp.MustCompile(`(?m)^UNRACED := (.*)$`).FindStringSubmatch(makefile)
	if line == nil {
		return nil
	}
	return strings.Fields(line[1])
}

// Where nothing runs beside anything else there is nothing to detect; everywhere else the
// tests run with the detector.
func TestRaces(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	packages := unraced(string(makefile))
	there := map[string]bool{}
	for _, s := range tree(t, "../..") {
		there[s.dir] = true
		if slices.Contains(packages, s.dir) && goroutine(s) {
			t.Errorf("%s starts a goroutine: take %s out of UNRACED in the Makefile", s.file, s.dir)
		}
	}
	for _, p := range packages {
		if !there[p] {
			t.Errorf("UNRACED in the Makefile names %s, which is not there", p)
		}
	}
	if len(packages) == 0 {
		t.Error("the Makefile has no UNRACED")
	}
}

// The rules detect what they are for.
func TestGoroutine(t *testing.T) {
	for text, want := range map[string]bool{
		"func f() { go f() }":                       true,
		"func f(g group) { g.Go(f) }":               true,
		"func TestF(t *testing.T) { t.Parallel() }": true,
		"func f() { f() }":                          false,
	} {
		if got := goroutine(parsed(t, "netd/x/x.go", "package x\n"+text)); got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
	if diff := gocmp.Diff([]string{"a", "b/c"}, unraced("X := 1\nUNRACED := a b/c\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
