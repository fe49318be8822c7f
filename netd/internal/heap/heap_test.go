package heap

import (
	"context"
	"runtime/metrics"
	"testing"
	"time"

	"netd/firmware/lab/patience"
)

func TestPercent(t *testing.T) {
	const mib = 1 << 20
	for live, want := range map[uint64]int{0: 300, 10 * mib: 300, 24 * mib: 300, 48 * mib: 100, 96 * mib: 100, 500 * mib: 100} {
		if got := percent(live); got != want {
			t.Errorf("of %d MiB: %d, want %d", live/mib, got, want)
		}
	}
}

// What was allocated and dropped is back with the kernel soon after.
func TestGivesBack(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		Pace(ctx)
	}()
	held := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64() + s[1].Value.Uint64()
	}
	garbage := make([][]byte, 0, 40)
	for range 40 {
		garbage = append(garbage, make([]byte, 1<<20))
	}
	if n := held(); n < 40<<20 {
		t.Fatalf("%d octets are held of 40 MiB", n)
	}
	clear(garbage)
	wait, stop := patience.Context(t.Context(), 30*time.Second)
	defer stop()
	for held() > 20<<20 {
		select {
		case <-wait.Done():
			t.Fatalf("%d octets are held still", held())
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	<-done
}
