package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Diff tells how one configuration differs from another, a line for each value, as
// errors call them:
//
//	bgp.hold-time: "9s" -> "30s"
//	+ bgp.peer[tor2]: address = "10.0.1.2", as = 65002, …
//	- uplink[uplink1].router: "10.0.2.1"
//
// It compares what is in effect: a default that is spelt out makes no difference.
func Diff(before, after *Config) []string {
	var d diff
	d.tables("", before.tree(), after.tree())
	return d.lines
}

func (c *Config) tree() map[string]any {
	var t map[string]any
	if _, err := toml.Decode(string(c.TOML()), &t); err != nil {
		panic(fmt.Sprintf("the effective configuration does not parse: %v", err)) // a mistake in TOML, which a test holds
	}
	return t
}

type diff struct{ lines []string }

func (d *diff) add(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// tables compares two tables; path is theirs.
func (d *diff) tables(path string, before, after map[string]any) {
	keys := maps.Clone(before)
	maps.Copy(keys, after)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		at := join(path, key)
		was, had := before[key]
		is, has := after[key]
		wasList, wasTables := was.([]map[string]any)
		isList, isTables := is.([]map[string]any)
		wasTable, wasOne := was.(map[string]any)
		isTable, isOne := is.(map[string]any)
		switch {
		case reflect.DeepEqual(was, is):
		case wasTables || isTables:
			d.lists(at, wasList, isList)
		case wasOne && isOne:
			d.tables(at, wasTable, isTable)
		case !had:
			d.add("+ %s: %s", at, shownValue(key, is))
		case !has:
			d.add("- %s: %s", at, shownValue(key, was))
		case strings.HasSuffix(key, "password"):
			d.add("%s: another", at)
		default:
			d.add("%s: %s -> %s", at, shownValue(key, was), shownValue(key, is))
		}
	}
}

// lists compares arrays of tables, whose elements have names or are told apart by
// what comes first in them.
func (d *diff) lists(path string, before, after []map[string]any) {
	was, is := labels(before), labels(after)
	for i, label := range was {
		if !slices.Contains(is, label) {
			d.add("- %s[%s]: %s", path, label, shownTable(before[i]))
		}
	}
	for i, label := range is {
		at := fmt.Sprintf("%s[%s]", path, label)
		if j := slices.Index(was, label); j >= 0 {
			d.tables(at, before[j], after[i])
		} else {
			d.add("+ %s: %s", at, shownTable(after[i]))
		}
	}
	stay := func(of, in []string) []string {
		return slices.DeleteFunc(slices.Clone(of), func(l string) bool { return !slices.Contains(in, l) })
	}
	if now := stay(is, was); !slices.Equal(stay(was, is), now) {
		d.add("%s: in the order %s", path, strings.Join(now, ", "))
	}
}

func labels(list []map[string]any) []string {
	ls := make([]string, len(list))
	for i, e := range list {
		ls[i] = fmt.Sprint(i + 1)
		for _, key := range []string{"name", "prefix", "address"} {
			if v, ok := e[key].(string); ok {
				ls[i] = v
				break
			}
		}
	}
	return ls
}

// shownValue is a value as it would be written, on one line; never a secret.
func shownValue(key string, v any) string {
	switch v := v.(type) {
	case string:
		if strings.HasSuffix(key, "password") {
			return "(not shown)"
		}
		return quote(v)
	case map[string]any:
		return "{ " + shownTable(v) + " }"
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = shownValue(key, e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case []map[string]any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = shownValue(key, e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(v)
}

func shownTable(t map[string]any) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(t)) {
		parts = append(parts, key+" = "+shownValue(key, t[key]))
	}
	return strings.Join(parts, ", ")
}
