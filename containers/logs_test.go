package containers

import (
	"os"
	"strings"
	"testing"
)

func TestLogLimit(t *testing.T) {
	for pods, want := range map[int]int64{0: 1 << 20, 16: 1 << 20, 17: 512 << 10, 250: 64 << 10} {
		if got := logLimit(32<<20, pods); got != want {
			t.Errorf("%d pods: got %d, want %d", pods, got, want)
		}
	}
	if got := logLimit(1<<10, 1); got != minLog {
		t.Errorf("little room: got %d", got)
	}
	sum := int64(0)
	for pods := range 250 { // one after the other
		sum += 2 * logLimit(32<<20, pods+1)
	}
	if sum > 3*32<<20 {
		t.Errorf("all together: %d octets", sum)
	}
}

func TestLastLine(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"":                               "",
		"one\ntwo\n\n":                   "two",
		"a\x1b[31mred\x07":               "a[31mred",
		strings.Repeat("x", 600) + "\ny": "y",
	} {
		if err := os.WriteFile(logPath(dir, "p"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := lastLine(dir, "p"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := lastLine(dir, "absent"); got != "" {
		t.Errorf("absent: got %q", got)
	}
}

func TestExitError(t *testing.T) {
	for _, tt := range []struct {
		e    exitError
		want string
	}{
		{exitError{code: 0}, "exited with code 0"},
		{exitError{code: 3, last: "bye"}, "exited with code 3: bye"},
		{exitError{code: 137}, "ended by SIGKILL"},
		{exitError{code: 128}, "exited with code 128"},
		{exitError{code: 255}, "exited with code 255"},
	} {
		if got := tt.e.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
