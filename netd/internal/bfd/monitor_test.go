package bfd

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The kernel tells the time of a packet by the wall clock. Whatever that is set to, a
// packet is as old as it is, or at most as old as the last look at the socket.
func TestArrived(t *testing.T) {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	now := time.Now()
	for _, tt := range []struct {
		name   string
		age    time.Duration // by the wall clock
		looked time.Duration // ago
		want   time.Duration // ago
	}{
		{"just now", 0, 100 * time.Millisecond, 0},
		{"read late", 80 * time.Millisecond, 100 * time.Millisecond, 80 * time.Millisecond},
		{"read after a standstill", 89 * time.Second, 90 * time.Second, 89 * time.Second},
		{"a day forward", day, 100 * time.Millisecond, 100 * time.Millisecond},
		{"a year forward", year + time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond},
		{"a day back", -day, 100 * time.Millisecond, 0},
		{"a year back", time.Millisecond - year, 100 * time.Millisecond, 0},
	} {
		got := arrived(now, now.Add(-tt.age).UnixNano(), now.Add(-tt.looked))
		if diff := cmp.Diff(tt.want, now.Sub(got)); diff != "" {
			t.Errorf("%s: its age (-want +got):\n%s", tt.name, diff)
		}
	}
	if got := arrived(now, 0, now.Add(-time.Second)); !got.Equal(now) {
		t.Errorf("without the kernel's time: %s before now", now.Sub(got))
	}
}
