//go:build board

package lab

import (
	"os"
	"testing"
)

// TestPoints is make demo as a test: real images on emulated boards of both
// architectures, real BIRD.
func TestPoints(t *testing.T) {
	dir, err := os.MkdirTemp("", "netd-lab-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	network, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{Net: network, Root: "../..", Version: "test", Say: t.Logf}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.Explain())
		}
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	if err := l.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Points() {
		t.Run(p.Name, func(t *testing.T) {
			shown, err := p.Show(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Log(shown)
		})
	}
}
