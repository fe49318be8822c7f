package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReadFile: what is no configuration is refused unread.
func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(os.WriteFile(at("good"), []byte("schema = 1\n"), 0o600), os.WriteFile(at("huge"), nil, 0o600),
		os.Truncate(at("huge"), 1<<40), syscall.Mkfifo(at("pipe"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		at("good"):  "",
		at("huge"):  ":1:1: file: 1099511627776 octets: expected at most 1048576",
		at("pipe"):  ":1:1: file: a pipe: expected a regular file",
		dir:         ":1:1: file: a folder: expected a regular file",
		"/dev/zero": ":1:1: file: a device: expected a regular file",
	} {
		data, err := ReadFile(path)
		var errs Errors
		switch {
		case want == "" && (err != nil || string(data) != "schema = 1\n"):
			t.Errorf("%s: %q, %v", path, data, err)
		case want != "" && (!errors.As(err, &errs) || err.Error() != path+want):
			t.Errorf("got %v, want %s%s", err, path, want)
		}
	}
	_, err = ReadFile(at("none"))
	if want := "open " + at("none") + ": no such file or directory"; !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestTooLarge(t *testing.T) {
	_, _, err := Parse("f", make([]byte, 2<<20), Identity{})
	if want := "f:1:1: file: 2097152 octets: expected at most 1048576"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestLimits: a file of 32 KB could take all memory.
func TestLimits(t *testing.T) {
	const n = 160_000
	deep := func(at string) string {
		return "f:" + at + ": file: nested too deeply: expected at most 32 tables and arrays in each other"
	}
	many := func(at string) string { return "f:" + at + ": file: too many values: expected at most 150000" }
	for _, tt := range []struct{ name, text, want string }{
		{"tables", "schema = 1\nx = " + strings.Repeat("{a=", n) + "1" + strings.Repeat("}", n), deep("2:99")},
		{"tables without an end", "x = " + strings.Repeat("{a=", n), deep("1:99")},
		{"arrays", "x = " + strings.Repeat("[", n) + strings.Repeat("]", n), deep("1:36")},
		{"arrays over lines", "x = " + strings.Repeat("[ #]\n", n), deep("32:1")},
		{"dots", "x" + strings.Repeat(".a", n) + " = 1", deep("1:1")},
		{"dots in a header", "[x" + strings.Repeat(".a", n) + "]", deep("1:1")},
		{"dots in a header of an array", "[[x" + strings.Repeat(".a", n) + "]]", deep("1:1")},
		{"some of each", "[[x" + strings.Repeat(".a", 10) + "]]\ny" + strings.Repeat(".a", 10) + " = " + strings.Repeat("[{a=", 10), deep("2:45")},
		{"many values", "x = [\n" + strings.Repeat("1,\n", n), many("150000:1")},
		{"many tables", strings.Repeat("[[a]]\n", n), many("150001:1")},
		{"many tables by dots", strings.Repeat("x"+strings.Repeat(".a", 19)+" = 1\n", n/10), many("7501:1")},
		{"as deep as may be", "schema = 1\nx" + strings.Repeat(".a", 15) + " = " + strings.Repeat("[", 16) + strings.Repeat("]", 16), ""},
		{"in a string", `x = "` + strings.Repeat("[{", n) + `"`, ""},
		{"in a comment", "#" + strings.Repeat("[{", n), ""},
		{"one after the other", "x = [" + strings.Repeat("[[]],", 1000) + "]", ""},
	} {
		_, err := ParseAll("f", []byte(tt.text))
		switch {
		case err == nil:
			t.Errorf("%s: no error", tt.name)
		case tt.want == "" && strings.Contains(err.Error(), "too deeply"), tt.want != "" && err.Error() != tt.want:
			t.Errorf("%s: got %.200v, want %s", tt.name, err, tt.want)
		}
	}
}
