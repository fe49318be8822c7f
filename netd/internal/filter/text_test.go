package filter

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	kinds := map[string]func(string) (string, error){
		"range":     func(s string) (string, error) { r, err := ParseRange(s); return r.String(), err },
		"community": func(s string) (string, error) { p, err := ParseCommunity(s, true); return p.String(), err },
		"plain":     func(s string) (string, error) { p, err := ParseCommunity(s, false); return p.String(), err },
		"large":     func(s string) (string, error) { p, err := ParseLarge(s, true); return p.String(), err },
		"as path":   func(s string) (string, error) { p, err := ParseASPattern(s); return p.String(), err },
	}
	tests := []struct{ kind, text, want string }{ // want: as printed, or the error
		{"range", "10.0.0.0/8", "10.0.0.0/8"},
		{"range", "10.0.0.0/8 le 24", "10.0.0.0/8 le 24"},
		{"range", "10.0.0.0/8 ge 16", "10.0.0.0/8 ge 16"},
		{"range", "10.0.0.0/8 ge 16 le 24", "10.0.0.0/8 ge 16 le 24"},
		{"range", "10.0.0.0/8 ge 8", "10.0.0.0/8 le 32"},
		{"range", "10.0.0.0/8 ge 8 le 8", "10.0.0.0/8"},
		{"range", "10.0.0.0/8 ge 32", "10.0.0.0/8 ge 32"},
		{"range", "0.0.0.0/0", "0.0.0.0/0"},
		{"range", "2001:db8::/32 ge 48 le 64", "2001:db8::/32 ge 48 le 64"},
		{"range", "10.0.0.0/8 le 4", "error: lengths that are not 8 <= ge <= le <= 32"},
		{"range", "10.0.0.0/8 ge 24 le 16", "error: lengths that are not 8 <= ge <= le <= 32"},
		{"range", "10.0.0.0/8 le 33", "error: lengths that are not 8 <= ge <= le <= 32"},
		{"range", "10.0.0.1/8", "error: bits set after the prefix length"},
		{"range", "10.0.0.0", "error: not a prefix"},
		{"range", "10.0.0.0/8 24", "error: not of the form PREFIX [ge N] [le N]"},
		{"range", "10.0.0.0/8 le 16 ge 12", "error: not of the form PREFIX [ge N] [le N]"},
		{"range", "10.0.0.0/8 le 024", `error: "024" is not a number from 0 to 128`},
		{"community", "65000:1", "65000:1"},
		{"community", "65000:*", "65000:*"},
		{"community", "65535:0", "graceful-shutdown"},
		{"community", "no-export", "no-export"},
		{"community", "65536:1", `error: "65536" is not a number from 0 to 65535`},
		{"community", "65000", "error: not 2 numbers with colons between them"},
		{"community", "no_export", "error: not 2 numbers with colons between them"},
		{"plain", "65000:*", `error: "*" is not a number from 0 to 65535`},
		{"large", "65000:1:2", "65000:1:2"},
		{"large", "4200000000:*:*", "4200000000:*:*"},
		{"large", "65000:1", "error: not 3 numbers with colons between them"},
		{"as path", "65001 * 65103", "65001 * 65103"},
		{"as path", "? 65001", "? 65001"},
		{"as path", "", ""},
		{"as path", "65001  65002", `error: "" is not a number from 0 to 4294967295`},
		{"as path", "0", "error: AS 0 is in no path (RFC 7607)"},
		{"as path", "* *", `error: "* *" is "*"`},
		{"as path", "^65001_", `error: "^65001_" is not a number from 0 to 4294967295`},
		{"as path", strings.Repeat("1 ", 32) + "1", "error: more than 32 words"},
	}
	for _, tt := range tests {
		got, err := kinds[tt.kind](tt.text)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != tt.want {
			t.Errorf("%s %q: %s, want %s", tt.kind, tt.text, got, tt.want)
		}
	}
}

func TestASPattern(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{"", []string{""}, []string{"1"}},
		{"*", []string{"", "1", "1 2 3"}, nil},
		{"?", []string{"1", "4294967295"}, []string{"", "1 2"}},
		{"1", []string{"1"}, []string{"", "11", "1 1", "2"}},
		{"1 *", []string{"1", "1 2", "1 1 1"}, []string{"", "2 1", "11 2"}},
		{"* 1", []string{"1", "2 1", "1 2 1"}, []string{"", "1 2", "11", "2 21"}},
		{"* 1 *", []string{"1", "2 1 3", "1 1"}, []string{"", "11", "2 3"}},
		{"1 * 2 ? 3", []string{"1 2 9 3", "1 7 8 2 9 3", "1 2 2 2 3"}, []string{"1 2 3", "1 2 9 3 4", "1 9 3"}},
		{"* 1 * 2", []string{"1 2", "9 1 9 1 9 2"}, []string{"2 1", "1"}},
	}
	for _, tt := range tests {
		p, err := ParseASPattern(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		re := regexp.MustCompile(p.Regexp())
		for want, paths := range map[bool][]string{true: tt.yes, false: tt.no} {
			for _, path := range paths {
				if got := p.matches(numbers(path)); got != want {
					t.Errorf("%q matches %q: %v, want %v", tt.pattern, path, got, want)
				}
				if got := re.MatchString(path); got != want {
					t.Errorf("%q as %s matches %q: %v, want %v", tt.pattern, re, path, got, want)
				}
			}
		}
	}
}

func numbers(path string) []uint32 {
	var ns []uint32
	for w := range strings.FieldsSeq(path) {
		n, _ := strconv.ParseUint(w, 10, 32)
		ns = append(ns, uint32(n))
	}
	return ns
}

func TestLengthRegexp(t *testing.T) {
	for _, tt := range []struct {
		least, most int
		path        string
		want        bool
	}{
		{0, 1, "", true},
		{0, 1, "7", true},
		{0, 1, "7 7", false},
		{1, 0, "", false},
		{1, 0, "7", true},
		{1, 0, "7 7 7", true},
		{2, 3, "7", false},
		{2, 3, "7 7", true},
		{2, 3, "7 7 7 7", false},
		{255, 255, strings.TrimSpace(strings.Repeat("7 ", 255)), true},
	} {
		if got := regexp.MustCompile(LengthRegexp(tt.least, tt.most)).MatchString(tt.path); got != tt.want {
			t.Errorf("%d to %d of %q: %v, want %v", tt.least, tt.most, tt.path, got, tt.want)
		}
	}
}

// Whatever can be read prints as what reads the same, and its regular expression is
// one, with the meaning of the pattern.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8 ge 16 le 24", "::/0 le 64", "65000:*", "no-export", "65000:1:*", "65001 * ? 65103", "", "*"} {
		f.Add(s, "65001 7 65103")
	}
	f.Fuzz(func(t *testing.T, s, path string) {
		if r, err := ParseRange(s); err == nil {
			if again, err := ParseRange(r.String()); err != nil || again != r {
				t.Errorf("%q prints as %q, which reads as %v (%v)", s, r, again, err)
			}
		}
		for _, parse := range []func(string, bool) (Pattern, error){ParseCommunity, ParseLarge} {
			if p, err := parse(s, true); err == nil {
				if again, err := parse(p.String(), true); err != nil || !slices.Equal(again, p) {
					t.Errorf("%q prints as %q, which reads as %v (%v)", s, p, again, err)
				}
				regexp.MustCompile(p.Regexp())
			}
		}
		if p, err := ParseASPattern(s); err == nil {
			if again, err := ParseASPattern(p.String()); err != nil || !slices.Equal(again, p) {
				t.Errorf("%q prints as %q, which reads as %v (%v)", s, p, again, err)
			}
			ns := numbers(path)
			words := make([]string, len(ns))
			for i, n := range ns {
				words[i] = strconv.FormatUint(uint64(n), 10)
			}
			text := strings.Join(words, " ")
			if re := regexp.MustCompile(p.Regexp()); re.MatchString(text) != p.matches(ns) {
				t.Errorf("%q as %s: %v for %q, want %v", s, re, re.MatchString(text), text, p.matches(ns))
			}
		}
	})
}
