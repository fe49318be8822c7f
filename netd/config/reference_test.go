package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReference holds reference.toml to what it says: it has every key, and what
// it calls a default is the default.
func TestReference(t *testing.T) {
	data := load(t, "reference.toml")
	p, errs := parse("reference.toml", data)
	if errs != nil {
		t.Fatal(errs)
	}
	isDefault := regexp.MustCompile(`(?m)^([a-z-]+) = .*# default$\n`)

	root, errs := p.decode()
	if errs != nil {
		t.Fatal(errs)
	}
	has := map[string]bool{}
	kinds(root, "", has)
	marked := map[string]bool{}
	for _, m := range isDefault.FindAllSubmatch(data, -1) {
		marked[string(m[1])] = true
	}
	for _, key := range slices.Sorted(maps.Keys(p.known)) {
		if !has[key] {
			t.Errorf("%s is not there", key)
		}
		if last := key[strings.LastIndexByte(key, '.')+1:]; p.known[key].def != "" && !marked[last] {
			t.Errorf("%s has a default and no line that says so", key)
		}
	}

	with, err := ParseAll("reference.toml", data)
	if err != nil {
		t.Fatal(err)
	}
	without, err := ParseAll("reference.toml", isDefault.ReplaceAll(data, nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(with, without, equal()); diff != "" {
		t.Errorf("(-with +without the lines that say default)\n%s", diff)
	}
}

// kinds notes the path of every key without the elements' names.
func kinds(n *node, path string, has map[string]bool) {
	for key, c := range n.table {
		has[join(path, key)] = true
		kinds(c, join(path, key), has)
	}
	for _, e := range n.list {
		kinds(e, path, has)
	}
}
