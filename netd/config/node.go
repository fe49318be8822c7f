package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// node is a value of the file together with where it stands.
type node struct {
	path string // what errors call it: bgp.peer[tor1].as
	at   int    // offset of its key, or of its table's header
	line int    // the same, as a line
	src  string // as written, on one line
	kind kind
	// value is a scalar's: string, int64, float64, bool or time.Time.
	value any
	table map[string]*node
	list  []*node
}

type kind int

const (
	aScalar kind = iota
	aTable
	anArray
)

// newNode joins a decoded value with its span. A value without a span stands
// where its parent does.
func newNode(v any, sp *span, path string, t *text, parent *node) *node {
	n := &node{path: path, value: v}
	if sp == nil {
		sp = &span{key: parent.at}
	}
	n.line, _ = t.place(sp.key)
	n.at, n.src = sp.key, shown(t.data[sp.val:sp.end])
	if strings.HasSuffix(path, ".console-password") {
		n.src = "(not shown)" // it may be the password itself, by mistake
	}
	switch v := v.(type) {
	case map[string]any:
		n.setTable()
		for k, e := range v {
			n.table[k] = newNode(e, sp.table[k], join(path, k), t, n)
		}
	case []map[string]any:
		n.setArray("(array of tables)")
		for i, e := range v {
			n.element(i, e, sp, t)
		}
	case []any:
		n.setArray("(array)")
		for i, e := range v {
			n.element(i, e, sp, t)
		}
	}
	return n
}

func (n *node) setTable() {
	n.kind, n.value, n.table = aTable, nil, make(map[string]*node)
	if n.src == "" {
		n.src = "(table)"
	}
}

func (n *node) setArray(src string) {
	n.kind, n.value = anArray, nil
	if n.src == "" {
		n.src = src
	}
}

func (n *node) element(i int, v any, sp *span, t *text) {
	var esp *span
	if i < len(sp.list) {
		esp = sp.list[i]
	}
	path := fmt.Sprintf("%s[%s]", n.path, label(v, i))
	n.list = append(n.list, newNode(v, esp, path, t, n))
}

// label is what an array's element is called: by its name if it has one, else by
// its number, from 1.
func label(v any, i int) string {
	t, _ := v.(map[string]any)
	match, _ := t["match"].(map[string]any)
	for _, name := range []any{t["name"], match["name"], match["serial"], match["mac"]} {
		if s, ok := name.(string); ok && s != "" && len(s) <= 63 && isPrintable(s) && !strings.ContainsAny(s, "[]") {
			return s
		}
	}
	return "#" + strconv.Itoa(i+1)
}

// join names a key of a table.
func join(path, key string) string {
	key = quoteKey(key)
	if path == "" {
		return key
	}
	return path + "." + key
}

// shown cuts a value as written to what fits in a message.
func shown(src []byte) string {
	const most = 60
	s := strings.Join(strings.Fields(string(src)), " ")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '\ufffd' // It would be for the terminal.
		}
		return r
	}, s)
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// String names the node in another one's error.
func (n *node) String() string { return fmt.Sprintf("%s, line %d", n.path, n.line) }

// isTables says whether a node is an array of nothing but tables.
func (n *node) isTables() bool {
	for _, e := range n.list {
		if e.kind != aTable {
			return false
		}
	}
	return n.kind == anArray
}

// name is the name of an element of an array of tables.
func (n *node) name() string {
	if c := n.table["name"]; c != nil {
		s, _ := c.value.(string)
		return s
	}
	return ""
}

// merge lays a device's value over the common one, key being its name. The
// package's documentation has the rule. A match is a choice: merging one that
// says name with one that says mac would give both, so it is replaced.
func merge(common, device *node, key string) *node {
	switch {
	case common == nil:
		return device
	case device == nil:
		return common
	case key == "match":
		return device
	case common.kind == aTable && device.kind == aTable:
		m := *device
		m.table = make(map[string]*node)
		for k, c := range common.table {
			m.table[k] = merge(c, device.table[k], k)
		}
		for k, d := range device.table {
			m.table[k] = merge(common.table[k], d, k)
		}
		return &m
	case common.isTables() && device.isTables():
		m := *device
		m.list = mergeByName(common.list, device.list)
		return &m
	}
	return device
}

// mergeByName merges each element into the first common one of its name that was
// not merged yet (a name that the device gives twice must stay twice, to be
// reported), and appends the others.
func mergeByName(common, device []*node) []*node {
	merged := append([]*node(nil), common...)
	done := make([]bool, len(common))
next:
	for _, d := range device {
		for i, c := range common {
			if name := d.name(); !done[i] && name != "" && c.name() == name {
				merged[i], done[i] = merge(c, d, ""), true
				continue next
			}
		}
		merged = append(merged, d)
	}
	return merged
}
