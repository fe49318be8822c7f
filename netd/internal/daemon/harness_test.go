//go:build net || vm

package daemon_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/firmware/lab/patience"
)

// root is the checkout.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func binary(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(root(t), "bin/amd64/netd")
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("no binary to test (make build makes it): %v", err)
	}
	return bin
}

func newNet(ctx context.Context, t *testing.T) *lab.Net {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab-") // t.TempDir is closed to the speaker's user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n, err := lab.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			dump(t, n)
		}
		if err := n.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return n
}

// dump prints what the lab saw.
func dump(t *testing.T, n *lab.Net) {
	logs, _ := filepath.Glob(filepath.Join(n.Dir, "*.log"))
	for _, l := range logs {
		b, _ := os.ReadFile(l)
		t.Logf("=== %s\n%s", filepath.Base(l), b[max(0, len(b)-6000):])
	}
}

func within(t *testing.T, d time.Duration, what string, cond func(context.Context) error) {
	t.Helper()
	ctx, cancel := patience.Context(t.Context(), d)
	defer cancel()
	if err := lab.Until(ctx, what, cond); err != nil {
		t.Fatal(err)
	}
}

var received = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// loss reads ping's summary.
func loss(t *testing.T, out string) (sent, lost int) {
	t.Helper()
	m := received.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("ping has no summary:\n%s", out)
	}
	sent, _ = strconv.Atoi(m[1])
	got, _ := strconv.Atoi(m[2])
	return sent, sent - got
}
