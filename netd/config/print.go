package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// TOML returns the Config as a file for this one box, with every value spelt out.
// It parses to the same Config.
func (c *Config) TOML() []byte {
	t := &table{r: &reader{known: make(map[string]about)}, n: &node{kind: aTable}, out: &section{}}
	own := *c
	own.keys(t, val[string]{})
	var b bytes.Buffer
	t.out.write(&b)
	return b.Bytes()
}

// section is a table that is being written. Its own values come before its tables, as
// TOML wants them.
type section struct {
	header    string // [bgp]; empty for one that is written as { … }, and for the file
	values    []entry
	tables    []*section
	discarded bool
}

// entry is a value, or a table that is written like one.
type entry struct {
	key, value string
	table      *section
}

func (s *section) add(key string, v any) {
	s.values = append(s.values, entry{key: quoteKey(key), value: tomlOf(v)})
}

// sub is the section of a table in this one.
func (s *section) sub(key, header string) *section {
	if s == nil {
		return nil
	}
	sub := &section{header: header}
	if header == "" {
		s.values = append(s.values, entry{key: quoteKey(key), table: sub})
	} else {
		s.tables = append(s.tables, sub)
	}
	return sub
}

// discard leaves the section out.
func (s *section) discard() {
	if s != nil {
		s.discarded = true
	}
}

// lines are the own values. A table of none is left out.
func (s *section) lines() []string {
	var lines []string
	for _, e := range s.values {
		value := e.value
		if e.table != nil {
			own := e.table.lines()
			if own == nil || e.table.discarded {
				continue
			}
			value = "{ " + strings.Join(own, ", ") + " }"
		}
		lines = append(lines, e.key+" = "+value)
	}
	return lines
}

func (s *section) write(b *bytes.Buffer) {
	lines := s.lines()
	if s.header != "" && lines != nil {
		fmt.Fprintf(b, "\n%s\n", s.header)
	}
	for _, l := range lines {
		fmt.Fprintln(b, l)
	}
	for _, t := range s.tables {
		t.write(b)
	}
}

// isZero tells whether a value is its type's zero.
func isZero(v any) bool { return reflect.ValueOf(v).IsZero() }

// tomlOf writes a value of any key as TOML.
func tomlOf(v any) string {
	switch v := v.(type) {
	case interface{ toml() string }:
		return v.toml()
	case time.Duration:
		if v%time.Second == 0 {
			return quote(plainSeconds(v))
		}
		return quote(plainMilliseconds(v))
	case fmt.Stringer:
		return quote(v.String())
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.String:
		return quote(r.String())
	case reflect.Pointer:
		return tomlOf(r.Elem().Interface())
	case reflect.Slice:
		all := make([]string, r.Len())
		for i := range all {
			all[i] = tomlOf(r.Index(i).Interface())
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	return fmt.Sprint(v) // a number, or true or false
}

func plainSeconds(d time.Duration) string {
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

func plainMilliseconds(d time.Duration) string {
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

// quoteKey quotes a key where TOML needs it.
func quoteKey(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !isBare(r) }) {
		return quote(s)
	}
	return s
}

func isBare(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

// quote returns a basic string of TOML. strconv.Quote knows escapes that TOML does
// not have.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
