package containers

import "time"

const (
	backoffFirst = time.Second
	backoffMost  = time.Minute
	// backoffReset is how long a pod must run for its history to be forgotten.
	backoffReset = time.Minute
)

// backoff tells how long to wait before a pod is tried again: twice as long
// each time.
type backoff struct{ last time.Duration }

// next is the delay after the pod ran for ran, 0 if it did not start.
func (b *backoff) next(ran time.Duration) time.Duration {
	if ran >= backoffReset {
		b.last = 0
	}
	b.last = min(max(2*b.last, backoffFirst), backoffMost)
	return b.last
}
