package config

import (
	"bytes"
	"fmt"

	"github.com/BurntSushi/toml"
)

// span says where a key and its value stand in the file, as offsets. A table that
// was opened by a header or by a dotted key has no value as written: val == end.
type span struct {
	key      int
	val, end int
	table    map[string]*span
	list     []*span
}

// child returns the span of a key, made at offset at if there is none yet.
func (s *span) child(key string, at int) *span {
	if c := s.table[key]; c != nil {
		return c
	}
	if s.table == nil {
		s.table = make(map[string]*span)
	}
	c := &span{key: at}
	s.table[key] = c
	return c
}

// last is the table that a header's further keys go to.
func (s *span) last() *span {
	if n := len(s.list); n > 0 {
		return s.list[n-1]
	}
	return s
}

// scanner finds the spans of a valid file. On any other text its result is of no use,
// but it does not panic, and takes no more time and memory: it is run first, because the
// library's grow with the square of the depth.
type scanner struct {
	data   []byte
	pos    int
	root   *span
	depth  int      // of the table or array that is being read
	values int      // up to here, with the tables that they are in
	beyond *problem // the first limit that was met
}

// scan returns the spans of a valid TOML file, and what is beyond a limit, or nil.
func scan(data []byte) (root *span, beyond *problem) {
	s := &scanner{data: data, root: &span{}}
	table := s.root
	for {
		s.skip(" \t\r\n")
		switch {
		case s.pos >= len(s.data):
			return s.root, s.beyond
		case s.peek('['):
			table = s.header()
		default:
			s.pair(table)
		}
	}
}

// enter goes down some levels from what stands at an offset, none for one more value of
// an array. If that is beyond a limit, the rest of the file is not read.
func (s *scanner) enter(levels, at int) bool {
	s.depth += levels
	s.values += max(levels, 1)
	switch {
	case s.beyond != nil:
	case s.depth > maxDepth:
		s.beyond = &problem{at: at, key: "file", value: "nested too deeply", text: fmt.Sprintf("expected at most %d tables and arrays in each other", maxDepth)}
	case s.values > maxValues:
		s.beyond = &problem{at: at, key: "file", value: "too many values", text: fmt.Sprintf("expected at most %d", maxValues)}
	default:
		return true
	}
	s.pos = len(s.data)
	return false
}

// header reads [a.b] or [[a.b]] and returns its table.
func (s *scanner) header() *span {
	at := s.pos
	s.pos++
	array := s.peek('[')
	if array {
		s.pos++
	}
	t := s.root
	keys, _ := s.key()
	s.depth = 0
	if !s.enter(len(keys), at) {
		return t
	}
	for _, k := range keys[:len(keys)-1] {
		t = t.child(k, at).last()
	}
	t = t.child(keys[len(keys)-1], at)
	if array {
		t.list = append(t.list, &span{key: at})
		t = t.last()
	} else {
		t.key = at // a super-table may come after its sub-tables
	}
	for s.pos < len(s.data) && s.data[s.pos] != '\n' {
		s.pos++
	}
	return t
}

// pair reads key = value into a table.
func (s *scanner) pair(t *span) {
	keys, at := s.key()
	if !s.enter(len(keys), at[0]) {
		return
	}
	for i, k := range keys {
		t = t.child(k, at[i])
	}
	s.skip(" \t")
	s.pos = min(s.pos+1, len(s.data)) // the equals sign
	s.skip(" \t")
	s.value(t)
	s.depth -= len(keys)
}

// key reads a dotted key and returns its parts and where each starts.
func (s *scanner) key() (parts []string, at []int) {
	for {
		s.skip(" \t")
		start := s.pos
		at = append(at, start)
		switch {
		case s.peek('"'), s.peek('\''):
			s.quoted()
			parts = append(parts, unquoteKey(s.data[start:s.pos]))
		default:
			s.until(" \t\r\n.=]")
			parts = append(parts, string(s.data[start:s.pos]))
		}
		s.skip(" \t")
		if !s.peek('.') {
			return parts, at
		}
		s.pos++
	}
}

// unquoteKey leaves TOML's escapes to the library.
func unquoteKey(quoted []byte) string {
	var m map[string]any
	if _, err := toml.Decode(string(quoted)+" = 0", &m); err == nil {
		for k := range m {
			return k
		}
	}
	return string(quoted)
}

// value reads a value into sp.
func (s *scanner) value(sp *span) {
	sp.val = s.pos
	switch {
	case s.peek('"'), s.peek('\''):
		s.quoted()
		sp.end = s.pos
	case s.peek('['):
		if !s.enter(1, s.pos) {
			return
		}
		s.elements(']', func() {
			if !s.enter(0, s.pos) {
				return
			}
			e := &span{key: s.pos}
			sp.list = append(sp.list, e)
			s.value(e)
		})
		s.depth--
		sp.end = s.pos
	case s.peek('{'):
		s.elements('}', func() { s.pair(sp) })
		sp.end = s.pos
	default:
		s.until(",]}#\r\n")
		sp.end = sp.val + len(bytes.TrimRight(s.data[sp.val:s.pos], " \t"))
	}
}

// elements reads what is between brackets.
func (s *scanner) elements(closing byte, element func()) {
	s.pos++
	for {
		s.skip(" \t\r\n,")
		if s.pos >= len(s.data) {
			return
		}
		if s.peek(closing) {
			s.pos++
			return
		}
		start := s.pos
		element()
		if s.pos == start { // not valid TOML: go on all the same
			s.pos++
		}
	}
}

// quoted reads a string of any of the four kinds.
func (s *scanner) quoted() {
	q := s.data[s.pos]
	quote := []byte{q}
	if bytes.HasPrefix(s.data[s.pos:], []byte{q, q, q}) {
		quote = []byte{q, q, q}
	}
	s.pos += len(quote)
	for s.pos < len(s.data) && !bytes.HasPrefix(s.data[s.pos:], quote) {
		if q == '"' && s.data[s.pos] == '\\' {
			s.pos++
		}
		s.pos++
	}
	s.pos = min(s.pos+len(quote), len(s.data))
	// Up to two quotes may stand before the closing three.
	for i := 0; i < 2 && len(quote) == 3 && s.peek(q); i++ {
		s.pos++
	}
}

// skip passes over any of the octets in set; where set has a newline, over
// comments too.
func (s *scanner) skip(set string) {
	comments := bytes.IndexByte([]byte(set), '\n') >= 0
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case comments && c == '#':
			s.until("\n")
		case bytes.IndexByte([]byte(set), c) >= 0:
			s.pos++
		default:
			return
		}
	}
}

// until passes over everything but the octets in set.
func (s *scanner) until(set string) {
	for s.pos < len(s.data) && bytes.IndexByte([]byte(set), s.data[s.pos]) < 0 {
		s.pos++
	}
}

func (s *scanner) peek(c byte) bool { return s.pos < len(s.data) && s.data[s.pos] == c }
