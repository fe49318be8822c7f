package config

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// isDefault is a line with a value that need not be given.
var isDefault = regexp.MustCompile(`(?m)^([a-z-]+) = .*# default\n`)

// TestReference holds reference.toml to the keys' descriptions: it has every one, and no
// other, which would be an error; where there is a default it has that one and says so;
// and it is explained, with its limits.
func TestReference(t *testing.T) {
	data := load(t, "reference.toml")
	p, errs := parse("reference.toml", data)
	if errs != nil {
		t.Fatal(errs)
	}
	root, problems := p.decode()
	if problems != nil {
		t.Fatal(problems)
	}
	f := reference{lines: strings.Split(string(data), "\n"), nodes: map[string][]*node{}}
	f.collect(root, "")
	for _, key := range slices.Sorted(maps.Keys(p.known)) {
		a := p.known[key]
		switch {
		case f.nodes[key] == nil:
			t.Errorf("%s is not there", key)
		case a.def != "" && !slices.ContainsFunc(f.nodes[key], func(n *node) bool { return f.isDefault(n, a.def) }):
			t.Errorf("%s has no line that says what its default is, %s", key, a.def)
		case a.leaf:
			for _, wrong := range f.explained(key, a) {
				t.Errorf("%s: %s", key, wrong)
			}
		}
	}
}

// TestReferenceDefaults: what reference.toml calls a default changes nothing.
func TestReferenceDefaults(t *testing.T) {
	data := load(t, "reference.toml")
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

// reference is the text with the values in it, by their paths without elements' names.
type reference struct {
	lines []string
	nodes map[string][]*node
}

func (f reference) collect(n *node, path string) {
	for key, c := range n.table {
		f.nodes[join(path, key)] = append(f.nodes[join(path, key)], c)
		f.collect(c, join(path, key))
	}
	for _, e := range n.list {
		f.collect(e, path)
	}
}

// isDefault tells whether a line has the default, and says that it is.
func (f reference) isDefault(n *node, def string) bool {
	same := n.src == def
	if have, ok := duration(n.src); ok {
		want, _ := duration(def)
		same = have == want
	}
	return same && strings.HasSuffix(f.lines[n.line-1], "# default")
}

// explained says what is not told of a key. A gateway's and a range's keys are as a
// peer's, and those of all of them as [bgp]'s, unless they say more.
func (f reference) explained(key string, a about) []string {
	doc := f.doc(key)
	for _, kind := range []string{"gateway", "range"} {
		if rest, ok := strings.CutPrefix(key, "bgp."+kind+"."); ok {
			doc += f.doc("bgp.peer." + rest)
		}
	}
	if doc == "" {
		return []string{"no comment above it"}
	}
	var wrong []string
	if a.required && !strings.Contains(strings.ToLower(doc), "required") {
		wrong = append(wrong, "not said that it is required")
	}
	last := key[strings.LastIndexByte(key, '.')+1:]
	all := doc + f.doc("bgp."+last)
	if strings.HasSuffix(last, "as") {
		all += f.doc("bgp.as")
	}
	for _, limit := range limits(a.what) {
		if !said(all, limit) {
			wrong = append(wrong, fmt.Sprintf("%s is not in its comment: %s", limit, doc))
		}
	}
	return wrong
}

// doc is the comment above a key or the run of lines in which it is, or above the header
// of that.
func (f reference) doc(key string) string {
	var doc bytes.Buffer
	for _, n := range f.nodes[key] {
		i := n.line - 2
		for i >= 0 && f.lines[i] != "" && f.lines[i][0] != '#' {
			i--
		}
		end := i
		for i >= 0 && strings.HasPrefix(f.lines[i], "#") {
			i--
		}
		for _, l := range f.lines[i+1 : end+1] {
			fmt.Fprintln(&doc, strings.TrimLeft(l, "# "))
		}
	}
	return doc.String()
}

// limits are the ends of a range, or the words of which one is taken.
func limits(what string) []string {
	if m := regexp.MustCompile(`from (\S+) to (\S+)`).FindStringSubmatch(what); m != nil {
		return m[1:]
	}
	if strings.HasPrefix(what, "one of ") {
		return regexp.MustCompile(`"[^"]+"`).FindAllString(what, -1)
	}
	return nil
}

// said tells whether a text has a limit, a time in whichever unit.
func said(text, limit string) bool {
	want, isTime := duration(limit)
	for _, word := range regexp.MustCompile(`"[^"]+"|[0-9]+`).FindAllString(text, -1) {
		have, ok := duration(word)
		if word == limit || isTime && ok && have == want {
			return true
		}
	}
	return false
}

func duration(quoted string) (time.Duration, bool) {
	s, ok := strings.CutPrefix(quoted, `"`)
	d, err := time.ParseDuration(strings.TrimSuffix(s, `"`))
	return d, ok && err == nil
}
