// Package randconf writes configurations that nobody has thought of, for tests: from good
// files, with a few values, lines and tables changed, doubled and left out. What it writes
// depends on the seed alone. It knows the file's form and no key: new ones come with
// configs/reference.toml, which has all of them.
package randconf

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Maker changes files.
type Maker struct {
	files []string            // the texts of good files
	keys  map[string][]string // lines of reference.toml, by their table's header
	words map[string][]string // strings of all files, by their shape
}

var (
	header = regexp.MustCompile(`^\[\[?([a-z.-]+)\]?\]`)
	pair   = regexp.MustCompile(`^[a-z0-9-]+ = `)
	token  = regexp.MustCompile(`"[^"]*"|\b\d+\b|\btrue\b|\bfalse\b`)
)

// shapes are of strings that may stand in each other's place.
func shapes() []struct{ name, pattern string } {
	return []struct{ name, pattern string }{
		{"time", `^\d+(ms|s|m|h)$`},
		{"address", `^\d+\.\d+\.\d+\.\d+$`},
		{"prefix", `^\d+\.\d+\.\d+\.\d+/\d+$`},
		{"address6", `^[0-9a-f]*:[0-9a-f:]*:[0-9a-f:]*$`},
		{"prefix6", `^[0-9a-f]*:[0-9a-f:]*/\d+$`},
		{"name", `^[a-z][a-z0-9.-]*$`},
	}
}

// edges are values at the ends of what there is, by their shape.
func edges() map[string][]string {
	return map[string][]string{
		"time":     {"0s", "50ms", "1s", "3s", "9s", "60s", "300s", "4095s", "65535s"},
		"address":  {"10.0.1.1", "10.0.1.11", "10.64.0.1", "192.0.2.1", "127.0.0.1"},
		"prefix":   {"10.0.1.11/24", "10.0.1.11/31", "10.0.1.11/32", "10.0.3.11/24", "10.0.0.0/8", "10.64.1.0/32", "10.64.0.0/16"},
		"address6": {"2001:db8:1::1", "fe80::1", "2001:db8:64::1"},
		"prefix6":  {"2001:db8:1::11/64", "2001:db8:9::1/127", "2001:db8:64::/48", "2001:db8:64:1::/128"},
		"name":     {"localhost", "eth0", "eth1", "uplink0", "uplink1", "bond0", "lo", "netd-x", "gw-a", "tor1", "a", "default"},
		"number":   {"0", "1", "2", "3", "68", "100", "179", "255", "576", "1280", "1400", "1500", "1790", "3784", "4094", "4789", "9000", "9216", "23456", "65001", "65101", "65535", "16777215", "4294967294"},
	}
}

// New reads the good files below a folder of configurations.
func New(configs string) (*Maker, error) {
	m := &Maker{keys: map[string][]string{}, words: map[string][]string{}}
	var paths []string
	for _, pattern := range []string{"reference.toml", "examples/*.toml", "testdata/good-*.toml"} {
		some, err := filepath.Glob(filepath.Join(configs, pattern))
		if err != nil || len(some) == 0 {
			return nil, fmt.Errorf("no %s in %s: %v", pattern, configs, err)
		}
		paths = append(paths, some...)
	}
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		m.files = append(m.files, string(data))
		for _, s := range token.FindAllString(string(data), -1) {
			if word := strings.Trim(s, `"`); word != s {
				m.words[shape(word)] = append(m.words[shape(word)], word)
			}
		}
		table := ""
		for line := range strings.Lines(string(data)) {
			if h := header.FindStringSubmatch(line); h != nil {
				table = h[1]
			} else if i == 0 && pair.MatchString(line) {
				m.keys[table] = append(m.keys[table], line)
			}
		}
	}
	return m, nil
}

func shape(word string) string {
	for _, s := range shapes() {
		if regexp.MustCompile(s.pattern).MatchString(word) {
			return s.name
		}
	}
	return ""
}

// Text is the configuration of a seed. Most are bad ones.
func (m *Maker) Text(seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 8))
	lines := strings.SplitAfter(m.files[r.IntN(len(m.files))], "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "#") || strings.TrimSpace(l) == "" })
	for range 1 + r.IntN(4) {
		lines = m.change(r, lines)
	}
	return strings.Join(lines, "")
}

// change changes one thing.
func (m *Maker) change(r *rand.Rand, lines []string) []string {
	at := r.IntN(len(lines))
	switch what := r.IntN(10); {
	case what < 5: // a value
		lines[at] = m.line(r, lines[at])
	case what < 8: // a key that was not there
		table := ""
		for i := range at + 1 {
			if h := header.FindStringSubmatch(lines[i]); h != nil {
				table = h[1]
			}
		}
		if keys := m.keys[strings.TrimPrefix(table, "device.")]; len(keys) > 0 && header.MatchString(lines[at]) {
			line := keys[r.IntN(len(keys))]
			key, _, _ := strings.Cut(line, "=")
			end := at + 1
			for end < len(lines) && !header.MatchString(lines[end]) {
				if strings.HasPrefix(lines[end], key) {
					return lines
				}
				end++
			}
			lines = slices.Insert(lines, at+1, m.line(r, line))
		}
	case what < 9: // a line less
		if pair.MatchString(lines[at]) && strings.Count(lines[at], "[") == strings.Count(lines[at], "]") && strings.Count(lines[at], "{") == strings.Count(lines[at], "}") {
			lines = slices.Delete(lines, at, at+1)
		}
	default: // a table twice, the second one a little different
		if strings.HasPrefix(lines[at], "[[") {
			end := at + 1
			for end < len(lines) && !header.MatchString(lines[end]) {
				end++
			}
			again := slices.Clone(lines[at:end])
			for i := range again {
				again[i] = m.line(r, again[i])
			}
			lines = slices.Insert(lines, end, again...)
		}
	}
	return lines
}

// line changes a value of a line, if it has one.
func (m *Maker) line(r *rand.Rand, line string) string {
	key, value, ok := strings.Cut(line, " = ")
	values := token.FindAllStringIndex(value, -1)
	if !ok || len(values) == 0 || header.MatchString(line) {
		return line
	}
	at := values[r.IntN(len(values))]
	return key + " = " + value[:at[0]] + m.other(r, value[at[0]:at[1]]) + value[at[1]:]
}

// other is a value in the place of one.
func (m *Maker) other(r *rand.Rand, value string) string {
	word := strings.Trim(value, `"`)
	switch {
	case value == "true":
		return "false"
	case value == "false":
		return "true"
	case word == value:
		return pick(r, edges()["number"])
	case r.IntN(2) == 0 && edges()[shape(word)] != nil:
		return `"` + pick(r, edges()[shape(word)]) + `"`
	}
	return `"` + pick(r, m.words[shape(word)]) + `"`
}

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }
