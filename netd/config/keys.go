package config

import (
	"fmt"
	"strings"
)

// Every key is described once, by a line of a method called keys of the type that it
// is a field of:
//
//	withDefault(t, "gtsm", &s.GTSM, boolean(), false)
//
// which says its name, where its value goes, what it takes (type, range, example), and
// its default. The method is run for two ends. On a table that is read it fills the
// fields and reports what is wrong; on one that is written it leaves the fields as they
// are and puts their values into the table. So a new key is a field, its line in keys
// and its place in reference.toml, which a test holds to this.
//
// The functions return the value with its place in the file (val): keys keeps it, in a
// raw struct, if it is compared with another one.

// about is what a key's description says, for the tests.
type about struct {
	leaf     bool   // it has a value, not a table
	required bool   // of a table that is there
	what     string // what it takes
	eg       string // an example as TOML
	list     bool   // it takes an array of them
	// def is the default as TOML; empty if there is none, or none that is a plain value.
	def string
}

// required is a key that must be given.
func required[T any](t *table, key string, p *T, w want[T]) val[T] {
	if t.out != nil {
		return wrote(t, key, p)
	}
	n := t.child(key, about{leaf: true, required: true, what: w.what, eg: w.eg})
	if n == nil {
		t.missing(key, fmt.Sprintf("expected %s, e.g. %s = %s", w.what, key, w.eg))
	}
	return readInto(t.r, n, p, w)
}

// optional is a key that may be left out and then has no value, which is T's zero.
func optional[T any](t *table, key string, p *T, w want[T]) val[T] {
	if t.out != nil {
		if isZero(*p) {
			return val[T]{}
		}
		return wrote(t, key, p)
	}
	return readInto(t.r, t.child(key, about{leaf: true, what: w.what, eg: w.eg}), p, w)
}

// withDefault is a key that may be left out and then has the value def.
func withDefault[T any](t *table, key string, p *T, w want[T], def T) val[T] {
	if t.out != nil {
		return wrote(t, key, p)
	}
	n := t.child(key, about{leaf: true, what: w.what, eg: w.eg, def: tomlOf(def)})
	if n == nil {
		*p = def
		return val[T]{v: def, ok: true}
	}
	return readInto(t.r, n, p, w)
}

// elements is a key that takes an array, and may be left out, which gives nil. The
// result's ok says that it was given and is an array; each element has its own, and
// only the good ones get into *p.
func elements[T any](t *table, key string, p *[]T, w want[T]) val[[]val[T]] {
	return elementsBut(t, key, p, w, func(n *node) string {
		if _, bad := w.read(n); bad == nil {
			return "[" + n.src + "]" // right but for the brackets
		}
		return "[" + w.eg + "]"
	})
}

// words is an array of what a shell takes apart itself.
func words(t *table, key string, p *[]string, w want[string]) val[[]val[string]] {
	return elementsBut(t, key, p, w, func(n *node) string {
		if s, ok := n.value.(string); ok && strings.TrimSpace(s) != "" {
			return tomlOf(strings.Fields(s))
		}
		return "[" + w.eg + "]"
	})
}

// elementsBut is elements with an example for what is no array.
func elementsBut[T any](t *table, key string, p *[]T, w want[T], example func(*node) string) val[[]val[T]] {
	if t.out != nil {
		if *p != nil {
			t.out.add(key, *p)
		}
		return val[[]val[T]]{}
	}
	n := t.child(key, about{leaf: true, what: w.what, eg: w.eg, list: true})
	if n == nil {
		return val[[]val[T]]{}
	}
	if n.kind != anArray {
		t.r.add(isBad, n, n.src, "expected an array, e.g. "+example(n))
		return val[[]val[T]]{n: n}
	}
	a := val[[]val[T]]{ok: true, n: n}
	for _, e := range n.list {
		a.v = append(a.v, readNode(t.r, e, w))
	}
	*p = usable(a)
	return a
}

// filled is an array that has to have something in it.
func filled[T any](t *table, key string, p *[]T, w want[T]) val[[]val[T]] {
	a := elements(t, key, p, w)
	if a.ok && len(a.v) == 0 {
		t.r.add(isBad, a.n, a.n.src, fmt.Sprintf("expected at least one, e.g. [%s]; leave the key out to ask for nothing", w.eg))
	}
	return a
}

// each is an array of tables, whose elements keys describes. It returns what keys does
// for each element that is read.
func each[C, R any](t *table, key string, list *[]C, keys func(*C, *table) R) []R {
	if t.out != nil {
		for _, c := range *list {
			keys(&c, t.sub(key, nil, "[["+join(t.kind, key)+"]]"))
		}
		return nil
	}
	var raw []R
	for _, e := range t.tables(key) {
		var c C
		raw, *list = append(raw, keys(&c, e)), append(*list, c)
	}
	return raw
}

func wrote[T any](t *table, key string, p *T) val[T] {
	t.out.add(key, *p)
	return val[T]{v: *p, ok: true}
}

func readInto[T any](r *reader, n *node, p *T, w want[T]) val[T] {
	v := readNode(r, n, w)
	*p = v.v
	return v
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
