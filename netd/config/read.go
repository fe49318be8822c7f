package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// val is a value that was read: what it is and where it stands.
type val[T any] struct {
	v  T
	ok bool  // v may be used: it was given and is right, or it is the default
	n  *node // nil if it was not given
}

// want is what a key takes.
type want[T any] struct {
	what string // "a number from 1 to 10"
	eg   string // as TOML
	read func(n *node) (T, *wrong)
}

// wrong says why a value is not what a key takes, if that is not plain, and
// which example would fit this value better than the usual one.
type wrong struct{ why, eg string }

// reader collects the problems of one tree.
type reader struct {
	problems []problem
	// known has every key that a file may have, by its path without the elements'
	// names, and whether it has a default. The test of reference.toml reads it.
	known map[string]bool
}

// table is a table that is being read.
type table struct {
	r    *reader
	n    *node
	kind string   // the path without the elements' names
	keys []string // that were asked for
	// quiet is set when the table has the wrong type: its keys are not missing.
	quiet bool
	// lacks has what to say of mandatory keys that are missing, until done: one that
	// was misspelt is reported once.
	lacks map[string]string
}

func (r *reader) add(c class, n *node, value, text string) {
	r.problems = append(r.problems, problem{class: c, at: n.at, key: n.path, value: value, text: text})
}

// conflict reports a value that does not fit another one.
func (r *reader) conflict(n *node, format string, args ...any) {
	r.add(isConflict, n, n.src, fmt.Sprintf(format, args...))
}

func (t *table) missing(key, text string) {
	if t.quiet {
		return
	}
	if t.lacks == nil {
		t.lacks = make(map[string]string)
	}
	t.lacks[key] = text
}

// child returns a key's node, or nil, and notes that the key is known.
func (t *table) child(key string, hasDefault bool) *node {
	t.keys = append(t.keys, key)
	t.r.known[join(t.kind, key)] = hasDefault
	return t.n.table[key]
}

// table returns the table of a key, which is empty if it was not given.
func (t *table) table(key string) *table {
	n := t.child(key, false)
	sub := &table{r: t.r, kind: join(t.kind, key), quiet: t.quiet}
	if n != nil && n.kind != aTable {
		eg := fmt.Sprintf("[%s]", headerName(n.path))
		if t.n.path != "" {
			eg = key + " = { … }"
		}
		t.r.add(isBad, n, n.src, "expected a table, e.g. "+eg)
		sub.quiet, n = true, nil
	}
	if n == nil {
		n = &node{path: join(t.n.path, key), at: t.n.at, kind: aTable}
	}
	sub.n = n
	return sub
}

// tables returns the elements of an array of tables.
func (t *table) tables(key string) []*table {
	kind := join(t.kind, key)
	n := t.child(key, false)
	if n == nil {
		return nil
	}
	if !n.isTables() {
		header := headerName(n.path)
		t.r.add(isBad, n, n.src, fmt.Sprintf("expected an array of tables, e.g. [[%s]]", header))
		return []*table{{r: t.r, kind: kind, quiet: true, n: &node{path: n.path, at: n.at, kind: aTable}}}
	}
	var ts []*table
	for _, e := range n.list {
		ts = append(ts, &table{r: t.r, n: e, kind: kind})
	}
	return ts
}

// headerName is a path as it is written in a header: without elements' names.
func headerName(path string) string {
	var b strings.Builder
	depth := 0
	for _, r := range path {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case depth == 0:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// done reports the keys that nobody asked for, and those that are missing.
func (t *table) done() {
	for _, key := range slices.Sorted(maps.Keys(t.n.table)) {
		if slices.Contains(t.keys, key) {
			continue
		}
		slices.Sort(t.keys)
		text := "expected one of " + strings.Join(t.keys, ", ")
		if len(t.keys) == 1 {
			text = "expected only " + t.keys[0]
		}
		if s := nearest(key, t.keys); s != "" {
			text += fmt.Sprintf("; did you mean %q?", s)
			delete(t.lacks, s)
		}
		t.r.add(isBad, t.n.table[key], "unknown key", text)
	}
	for key, text := range t.lacks {
		t.r.problems = append(t.r.problems, problem{
			class: isMissing, at: t.n.at, key: join(t.n.path, key), value: "missing", text: text,
		})
	}
}

// optional reads a key that may be left out and then has no value.
func optional[T any](t *table, key string, w want[T]) val[T] {
	return readNode(t.r, t.child(key, false), w)
}

// required reads a key that must be given.
func required[T any](t *table, key string, w want[T]) val[T] {
	n := t.child(key, false)
	if n == nil {
		t.missing(key, fmt.Sprintf("expected %s, e.g. %s = %s", w.what, key, w.eg))
	}
	return readNode(t.r, n, w)
}

// withDefault reads a key that may be left out.
func withDefault[T any](t *table, key string, w want[T], def T) val[T] {
	n := t.child(key, true)
	if n == nil {
		return val[T]{v: def, ok: true}
	}
	return readNode(t.r, n, w)
}

func readNode[T any](r *reader, n *node, w want[T]) val[T] {
	if n == nil {
		return val[T]{}
	}
	v, bad := w.read(n)
	if bad == nil {
		return val[T]{v: v, ok: true, n: n}
	}
	text := "expected " + w.what
	if bad.why != "" {
		text = bad.why + ": " + text
	}
	eg := w.eg
	if bad.eg != "" {
		eg = bad.eg
	}
	if eg != "" {
		text += ", e.g. " + eg
	}
	r.add(isBad, n, n.src, text)
	return val[T]{n: n}
}

// elements reads an array. The result's ok says that it was given and is an
// array; each element has its own.
func elements[T any](t *table, key string, w want[T]) val[[]val[T]] {
	n := t.child(key, false)
	if n == nil {
		return val[[]val[T]]{}
	}
	if n.kind != anArray {
		eg := w.eg
		if _, bad := w.read(n); bad == nil {
			eg = n.src // right but for the brackets
		}
		t.r.add(isBad, n, n.src, fmt.Sprintf("expected an array, e.g. [%s]", eg))
		return val[[]val[T]]{n: n}
	}
	a := val[[]val[T]]{ok: true, n: n}
	for _, e := range n.list {
		a.v = append(a.v, readNode(t.r, e, w))
	}
	return a
}

// usable returns the values of the good elements; nil only if the key was not
// given.
func usable[T any](a val[[]val[T]]) []T {
	if !a.ok {
		return nil
	}
	vs := make([]T, 0, len(a.v))
	for _, e := range a.v {
		if e.ok {
			vs = append(vs, e.v)
		}
	}
	return vs
}

// nearest returns the key that was probably meant, or "".
func nearest(key string, keys []string) string {
	norm := strings.ReplaceAll(strings.ToLower(key), "_", "-")
	best, bestDistance := "", max(1, len(norm)/3)
	for _, k := range keys {
		if d := distance(norm, k); d <= bestDistance && (best == "" || d < bestDistance) {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is Levenshtein's: how many octets to insert, delete or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
