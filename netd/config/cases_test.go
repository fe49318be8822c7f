package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCases compares what is said of files that people have written with what was read
// and found good: of mistakes, of other programs' files, and of things that look odd and
// are right. A file of cases has for each "-- NAME --", its text, "-- said --" and what
// is said of it. Run with -update to rewrite them, and read them.
func TestCases(t *testing.T) {
	files, err := filepath.Glob(configs + "/testdata/cases/*.txt")
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		parts := regexp.MustCompile(`(?m)^-- (\S+) --\n`).FindAllStringSubmatchIndex(string(data), -1)
		name, text := "", ""
		for i, at := range parts {
			end := len(data)
			if i+1 < len(parts) {
				end = parts[i+1][0]
			}
			if header := string(data[at[2]:at[3]]); header != "said" {
				name, text = header, string(data[at[1]:end])
				said.WriteString(string(data[at[0]:end]))
				continue
			}
			said.WriteString("-- said --\n" + check(name, text))
		}
		golden(t, file, said.String())
	}
}

// check is what netd check says of a file.
func check(name, text string) string {
	devices, err := ParseAll(name, []byte(text))
	if err != nil {
		return err.Error() + "\n"
	}
	said := ""
	for _, d := range devices {
		for _, w := range d.Warnings {
			said += "warning: " + w.String() + "\n"
		}
	}
	return said + "good\n"
}
