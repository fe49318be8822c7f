// Package wake is how one goroutine tells another to look again: a channel that
// holds one signal. Who sends never waits, and signals that come before the other
// looks are one. Below all; it knows nobody, and firmware and containers use it too.
package wake

// Signal is sent with Send and received as any channel.
type Signal chan struct{}

// New makes a Signal that has not been sent.
func New() Signal { return make(Signal, 1) }

// Send makes the Signal ready. It never waits.
func (s Signal) Send() {
	select {
	case s <- struct{}{}:
	default:
	}
}
