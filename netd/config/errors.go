package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong in a file, and where.
type Error struct {
	File      string
	Line, Col int // from 1; Col counts octets, as compilers do
	Key       string
	// Value is the value as written, or "missing" or "unknown key".
	Value string
	// Text says why (if it is not plain) and what was expected.
	Text string
}

// Error returns file:line:col: key: value: text.
func (e Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s: %s", e.File, e.Line, e.Col, e.Key, e.Value, e.Text)
}

// Errors are all the errors of a file, in the order of the file.
type Errors []Error

// Error returns one line for each error.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Warning is something in a good file that is probably not what was meant. It
// has the form of an Error.
type Warning struct{ Error }

// String returns file:line:col: key: value: text.
func (w Warning) String() string { return w.Error.Error() }

// class is how far a problem reaches.
type class int

const (
	isBad      class = iota // the value is wrong by itself
	isMissing               // a mandatory key is missing
	isConflict              // values do not fit together
	isWarning               // nothing is wrong
)

// problem is an Error before its place is known as line and column.
type problem struct {
	class            class
	at               int // offset in the file
	key, value, text string
}

// text finds lines in a file.
type text struct {
	file  string
	data  []byte
	lines []int // offset of each line's first octet
}

func newText(file string, data []byte) *text {
	t := &text{file: file, data: data, lines: []int{0}}
	for i, b := range data {
		if b == '\n' {
			t.lines = append(t.lines, i+1)
		}
	}
	return t
}

// place returns the line and column of an offset.
func (t *text) place(at int) (line, col int) {
	i, ok := slices.BinarySearch(t.lines, at)
	if !ok {
		i-- // lines[i-1] < at < lines[i]
	}
	return i + 1, at - t.lines[i] + 1
}

func (t *text) error(p problem) Error {
	line, col := t.place(p.at)
	return Error{File: t.file, Line: line, Col: col, Key: p.key, Value: p.value, Text: p.text}
}

// sortProblems sorts by position, then by text, so that the output of two runs is
// the same.
func sortProblems(ps []problem) {
	slices.SortStableFunc(ps, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key), cmp.Compare(a.text, b.text))
	})
}
