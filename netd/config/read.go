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

// wrong is a value that its key does not take: why, if that does not show by itself, and
// eg, an example that fits better than the key's usual one.
type wrong struct{ why, eg string }

// reader collects the problems of one tree.
type reader struct {
	problems []problem
	// known has every key that a file may have, by its path without the elements'
	// names.
	known map[string]about
	// guessed has the keys that are there, by their paths, under wrong names.
	guessed map[string]bool
}

// table is a table that is being read or written.
type table struct {
	r    *reader
	n    *node
	out  *section // that is written to; nil if the table is read
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

// told says whether a problem of a value is known: one mistake gives one error.
func (r *reader) told(n *node) bool {
	return slices.ContainsFunc(r.problems, func(p problem) bool { return p.at == n.at && p.key == n.path })
}

// untell takes back what was said of a value, because it only follows from something else.
func (r *reader) untell(n *node) {
	r.problems = slices.DeleteFunc(r.problems, func(p problem) bool { return p.at == n.at && p.key == n.path })
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
func (t *table) child(key string, a about) *node {
	t.keys = append(t.keys, key)
	t.r.known[join(t.kind, key)] = a
	return t.n.table[key]
}

// table returns the table of a key, which is empty if it was not given. It is written
// with a header of its own.
func (t *table) table(key string) *table {
	if t.out != nil {
		return t.sub(key, nil, "["+join(t.kind, key)+"]")
	}
	return t.sub(key, t.child(key, about{}), "")
}

// inline is the same, written as { … }.
func (t *table) inline(key string) *table {
	if t.out != nil {
		return t.sub(key, nil, "")
	}
	return t.table(key)
}

// orNone is a table that may be left out as a whole, which means something else than an
// empty one. n is what the file has of it, when reading; c is what is to be written,
// when writing. The keys go to what to points at; there is the same, or nil if the table
// was left out.
func orNone[C any](t *table, key string, n *node, c *C) (sub *table, to, there *C) {
	sub = t.sub(key, n, "")
	switch {
	case c != nil:
		return sub, c, c
	case n != nil:
		c = new(C)
		return sub, c, c
	}
	sub.quiet = true
	sub.out.discard()
	return sub, new(C), nil
}

// sub makes the table of a key: of the node n when reading, under the header when
// writing.
func (t *table) sub(key string, n *node, header string) *table {
	sub := &table{r: t.r, kind: join(t.kind, key), quiet: t.quiet, out: t.out.sub(key, header)}
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
	n := t.child(key, about{})
	if n == nil {
		return nil
	}
	if !n.isTables() {
		header, src, text := headerName(n.path), n.src, "expected an array of tables, e.g. [[%s]]"
		if n.kind == aTable && src == "(table)" {
			src, text = "["+header+"]", "expected [[%s]], with two brackets, as there may be more than one"
		}
		t.r.add(isBad, n, src, fmt.Sprintf(text, header))
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
		h := hintFor(t.kind, key, t.keys)
		delete(t.lacks, h.stands)
		if h.key != "" {
			delete(t.lacks, h.key)
			t.r.guess(join(t.kind, h.key))
		}
		t.r.add(isBad, t.n.table[key], "unknown key", unknownText(h, t.keys))
	}
	for key, text := range t.lacks {
		t.r.problems = append(t.r.problems, problem{
			class: isMissing, at: t.n.at, key: join(t.n.path, key), value: "missing", text: text,
		})
	}
}

// guess notes that a table or a key is there under another name: what is missing in it
// only follows from that.
func (r *reader) guess(kind string) {
	if r.guessed == nil {
		r.guessed = make(map[string]bool)
	}
	r.guessed[kind] = true
	r.problems = slices.DeleteFunc(r.problems, func(p problem) bool {
		return p.class == isMissing && strings.HasPrefix(p.key, kind+".")
	})
}

// Nearest returns the word that was probably meant: with a third of its octets inserted,
// deleted or changed at most (or one of them); "" if there is none.
func Nearest(key string, keys []string) string {
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
