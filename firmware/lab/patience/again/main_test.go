package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAgain(t *testing.T) {
	args := []string{"vmrun", "x.test", "-test.timeout=30m", "-test.run=^(TestA|TestB|TestC)$"}
	for _, tt := range []struct {
		name, out string
		want      []string
	}{
		{"all passed", "PASS\n", nil},
		{
			"two failed", "--- FAIL: TestA (0.1s)\n    x_test.go:1: no\n    --- FAIL: TestA/sub (0.1s)\n--- PASS: TestB (0.1s)\n--- FAIL: TestC (1s)\nFAIL\n",
			[]string{"vmrun", "x.test", "-test.timeout=30m", "-test.run=^(TestA|TestC)$"},
		},
		{"a panic", "--- FAIL: TestA (0.1s)\npanic: x\n", nil},
	} {
		if diff := cmp.Diff(tt.want, again(args, []byte(tt.out))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// What a program writes and how it ends is passed on.
func TestRun(t *testing.T) {
	code, out, err := run([]string{"sh", "-c", "echo seen; exit 3"})
	if diff := cmp.Diff("seen\n", string(out)); diff != "" || code != 3 || err != nil {
		t.Errorf("exit %d, %v (-want +got):\n%s", code, err, diff)
	}
	if _, _, err := run([]string{"/nowhere"}); err == nil {
		t.Error("a program that is not there has run")
	}
}
