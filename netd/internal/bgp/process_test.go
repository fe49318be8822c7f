package bgp

import (
	"bytes"
	"strings"
	"testing"
)

func TestLastWords(t *testing.T) {
	var out bytes.Buffer
	l := &lastWords{out: &out}
	for range 100 {
		if _, err := l.Write([]byte(strings.Repeat("x", 99) + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = l.Write([]byte("panic: at last\n"))
	if got := l.String(); !strings.HasSuffix(got, "\npanic: at last") || len(got) > tailOctets || out.Len() != 100*100+15 {
		t.Errorf("kept %d octets that end in %q, passed on %d", len(got), got[max(0, len(got)-20):], out.Len())
	}
}
