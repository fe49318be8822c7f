// Package outlet is a writer that never waits for its reader: a console that takes no
// octet, or a pipe that nobody empties, must not stop who only wants to say something.
// Below all; it knows nobody.
package outlet

import (
	"context"
	"fmt"
	"io"
	"sync"

	"netd/netd/wake"
)

// Outlet passes on what is written to it. What finds no room is lost, and counted; the
// reader is told so when it reads again.
type Outlet struct {
	to    io.Writer
	room  int
	again wake.Signal

	mu    sync.Mutex // guards what follows, and is held for a copy
	kept  []byte
	lost  int           // writes
	empty chan struct{} // closed when all was passed on
}

// New makes an Outlet with room for so many octets, and starts to pass on.
func New(to io.Writer, room int) *Outlet {
	o := &Outlet{to: to, room: room, again: wake.New(), empty: make(chan struct{})}
	close(o.empty)
	go o.run()
	return o
}

// Write never waits and never fails.
func (o *Outlet) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.kept)+len(b) > o.room {
		o.lost++
		return len(b), nil
	}
	if len(o.kept) == 0 {
		o.empty = make(chan struct{})
	}
	o.kept = append(o.kept, b...)
	o.again.Send()
	return len(b), nil
}

// run passes on. What it is at stays in kept until it was taken, so that Flush sees it.
func (o *Outlet) run() {
	for range o.again {
		for {
			o.mu.Lock()
			now, lost := o.kept, o.lost
			o.lost = 0
			o.mu.Unlock()
			if len(now) == 0 {
				break
			}
			_, _ = o.to.Write(now) // Nobody else could be told.
			if lost > 0 {
				_, _ = fmt.Fprintf(o.to, "netd: %d messages were lost here, as nobody read them\n", lost)
			}
			o.mu.Lock()
			if o.kept = append([]byte(nil), o.kept[len(now):]...); len(o.kept) == 0 {
				close(o.empty)
			}
			o.mu.Unlock()
		}
	}
}

// Flush waits until all was passed on, or ctx ends.
func (o *Outlet) Flush(ctx context.Context) {
	o.mu.Lock()
	empty := o.empty
	o.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}
