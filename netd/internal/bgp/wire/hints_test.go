package wire

import (
	"strings"
	"testing"
)

// FuzzHint: what is understood is written the same way, and what is not is an error.
func FuzzHint(f *testing.F) {
	for _, line := range []string{
		"all", "peer 10.0.1.1 7", "10.64.3.0/26", "2001:db8::/64", "peer fe80::1%eth0 1",
		"", "10.0.0.0", "10.0.0.0/33", "peer", "peer 10.0.1.1", "peer x 1", "peer 10.0.1.1 -1",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		h, err := ParseHint(line)
		if err != nil {
			if h != (Hint{}) {
				t.Errorf("%q is an error and understood as %+v", line, h)
			}
			return
		}
		again, err := ParseHint(strings.TrimSuffix(string(h.Append(nil)), "\n"))
		if err != nil || again != h {
			t.Errorf("%q is understood as %+v, and what is written of that as %+v, %v", line, h, again, err)
		}
	})
}

func TestNoHints(t *testing.T) {
	for _, line := range []string{"", "10.0.0.0", "10.0.0.0/33", "peer", "peer 10.0.1.1", "peer x 1", "peer 10.0.1.1 -1", "all "[:2]} {
		if _, err := ParseHint(line); err == nil {
			t.Errorf("%q is no error", line)
		}
	}
}
