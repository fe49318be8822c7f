// Package retry is the pause between one try and the next of what may fail for long.
// Below all; it knows nobody, and firmware and containers use it too.
package retry

import (
	"cmp"
	"context"
	"time"
)

// Backoff is a pause that doubles from First to Last. After a try that went well for
// longer than Steady (Last, if it is 0) it begins anew.
type Backoff struct {
	First, Last, Steady time.Duration
	next                time.Duration
}

// Next is the pause after a try that lasted so long.
func (b *Backoff) Next(lasted time.Duration) time.Duration {
	if b.next == 0 || lasted > cmp.Or(b.Steady, b.Last) {
		b.next = b.First
	}
	pause := b.next
	b.next = min(2*b.next, b.Last)
	return pause
}

// Reset lets the next pause be First.
func (b *Backoff) Reset() { b.next = 0 }

// Sleep waits for d. It is false if ctx ends before.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
