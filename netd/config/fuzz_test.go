package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

func seeds(f *testing.F) {
	for _, pattern := range []string{"/*.toml", "/examples/*.toml", "/testdata/*.toml"} {
		files, err := filepath.Glob(configs + pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
}

// FuzzParse parses anything without a panic, says of an error where it is, and
// prints what is good so that it parses to the same.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		devices, err := ParseAll("f", data)
		if err != nil {
			checkErrors(t, err, data)
			return
		}
		for _, d := range devices {
			again, _, err := Parse("printed", d.Config.TOML(), Identity{})
			if err != nil {
				t.Fatalf("printed:\n%s\n%v", d.Config.TOML(), err)
			}
			if diff := cmp.Diff(d.Config, again, equal()); diff != "" {
				t.Fatalf("printed:\n%s\n(-parsed +printed and parsed)\n%s", d.Config.TOML(), diff)
			}
		}
	})
}

func checkErrors(t *testing.T, err error, data []byte) {
	t.Helper()
	errs, ok := err.(Errors)
	if !ok || len(errs) == 0 {
		t.Fatalf("error of type %T: %v", err, err)
	}
	lines := strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n")
	for _, e := range errs {
		if e.Line < 1 || e.Line > len(lines) || e.Col < 1 || e.Col > len(lines[e.Line-1])+1 {
			t.Fatalf("no such place: %v", e)
		}
		if strings.Contains(e.Error(), "\n") {
			t.Fatalf("more than one line: %q", e)
		}
	}
}

// FuzzScan finds every key that the library finds, where it stands in the file.
func FuzzScan(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = []byte(strings.TrimPrefix(string(data), "\ufeff"))
		if notUTF8(data) >= 0 {
			return
		}
		spans, beyond := scan(data) // of anything
		if beyond != nil {
			return
		}
		var values map[string]any
		if _, err := toml.Decode(string(data), &values); err != nil || len(data) > 1<<14 {
			return
		}
		checkSpans(t, values, spans, data)
	})
}

// checkSpans compares a value with its span, and decodes it again from there.
func checkSpans(t *testing.T, v any, sp *span, data []byte) {
	t.Helper()
	if sp == nil {
		t.Fatalf("no span for %v", v)
	}
	if sp.val != sp.end {
		var again map[string]any
		if _, err := toml.Decode("v = "+string(data[sp.val:sp.end]), &again); err != nil {
			t.Fatalf("span of %v: %q: %v", v, data[sp.val:sp.end], err)
		}
		if !cmp.Equal(again["v"], v, cmp.Comparer(sameFloat)) {
			t.Fatalf("span of %v is of %v", v, again["v"])
		}
	}
	switch v := v.(type) {
	case map[string]any:
		if len(v) != len(sp.table) {
			t.Fatalf("%d spans for %v", len(sp.table), v)
		}
		for k, e := range v {
			c := sp.table[k]
			checkSpans(t, e, c, data)
			if at := string(data[c.key:]); !strings.HasPrefix(at, "[") && !strings.HasPrefix(at, k) && at[0] != '"' && at[0] != '\'' {
				t.Fatalf("key %q at %.20q", k, at)
			}
		}
	case []map[string]any:
		for i, e := range v {
			if i >= len(sp.list) {
				t.Fatalf("%d spans for %v", len(sp.list), v)
			}
			checkSpans(t, e, sp.list[i], data)
		}
	case []any:
		if len(v) != len(sp.list) {
			t.Fatalf("%d spans for %v", len(sp.list), v)
		}
		for i, e := range v {
			checkSpans(t, e, sp.list[i], data)
		}
	}
}

// sameFloat takes not-a-number for itself.
func sameFloat(a, b float64) bool { return a == b || a != a && b != b }
