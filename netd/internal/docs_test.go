package internal_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// documents are those that say where things are.
func documents() []string { return []string{"README.md", "netd/DESIGN.md", "netd/HACKING.md"} }

var goFile = regexp.MustCompile("`([a-z0-9_/]+\\.go)`")

// lost are the Go files that a text names and that are not there. A name may leave out
// folders at its front.
func lost(text string, files []string) []string {
	var lost []string
	for _, name := range goFile.FindAllStringSubmatch(text, -1) {
		there := func(file string) bool { return strings.HasSuffix("/"+file, "/"+name[1]) }
		if !slices.ContainsFunc(files, there) {
			lost = append(lost, name[1])
		}
	}
	return lost
}

// A reader who looks for a file that was renamed finds nothing, and believes the rest
// no more.
func TestDocuments(t *testing.T) {
	var files []string
	for _, s := range tree(t, "../..") {
		files = append(files, s.file)
	}
	for _, doc := range documents() {
		text, err := os.ReadFile(filepath.Join("../..", doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range lost(string(text), files) {
			t.Errorf("%s names %s, which is not there", doc, name)
		}
	}
}

// The rule detects what it is for.
func TestLost(t *testing.T) {
	files := []string{"netd/internal/daemon/round.go", "netd/internal/bgp/child/answer.go"}
	got := lost("`round.go`, `daemon/round.go`, `netd/internal/daemon/reconcile.go`, `child/answer.go`, `wire/answer.go`, `nd.go`", files)
	if diff := gocmp.Diff([]string{"netd/internal/daemon/reconcile.go", "wire/answer.go", "nd.go"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
