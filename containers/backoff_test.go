package containers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBackoff(t *testing.T) {
	var b backoff
	var got []time.Duration
	for range 8 {
		got = append(got, b.next(0)/time.Second)
	}
	got = append(got, b.next(59*time.Second)/time.Second, b.next(time.Minute)/time.Second, b.next(time.Second)/time.Second)
	want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60, 1, 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("delays in seconds (-want +got):\n%s", diff)
	}
}
