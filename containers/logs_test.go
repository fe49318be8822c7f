package containers

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTurnLogs(t *testing.T) {
	dir := t.TempDir()
	write := func(pod, text string) {
		t.Helper()
		if err := os.WriteFile(logPath(dir, pod), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a", "0123456789")
	write("b", "short")
	// As the shim does.
	shim, err := os.OpenFile(logPath(dir, "a"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer shim.Close()
	if err := turnLogs(dir, []string{"a", "b", "absent"}, 6*8); err != nil {
		t.Fatal(err)
	}
	if _, err := shim.WriteString("after"); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(dir + "/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(b)
	}
	if diff := cmp.Diff(map[string]string{"a.log": "after", "a.log.1": "23456789", "b.log": "short"}, got); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	removeLogs(dir, "a")
	if err := turnLogs(dir, nil, 0); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left: %v", entries)
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
