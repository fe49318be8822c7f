package retry

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBackoff(t *testing.T) {
	b := Backoff{First: 100 * time.Millisecond, Last: 300 * time.Millisecond}
	var got []time.Duration
	for _, lasted := range []time.Duration{0, 0, 0, 0, time.Second, 300 * time.Millisecond} {
		got = append(got, b.Next(lasted)/time.Millisecond)
	}
	b.Reset()
	got = append(got, b.Next(0)/time.Millisecond)
	if diff := cmp.Diff([]time.Duration{100, 200, 300, 300, 100, 200, 100}, got); diff != "" {
		t.Errorf("pauses in ms (-want +got):\n%s", diff)
	}
}

func TestSteady(t *testing.T) {
	b := Backoff{First: time.Second, Last: time.Minute, Steady: 10 * time.Second}
	var got []time.Duration
	for _, lasted := range []time.Duration{0, 10, 11} {
		got = append(got, b.Next(lasted*time.Second)/time.Second)
	}
	if diff := cmp.Diff([]time.Duration{1, 2, 1}, got); diff != "" {
		t.Errorf("pauses in seconds (-want +got):\n%s", diff)
	}
}

func TestSleep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if !Sleep(ctx, time.Microsecond) {
		t.Error("a pause that passed is told as one that was cut off")
	}
	cancel()
	if Sleep(ctx, time.Hour) {
		t.Error("a pause goes on after its context")
	}
}
