package daemon

import (
	"context"
	"sync"

	"netd/netd/internal/api"
	"netd/netd/internal/bgp"
	"netd/netd/internal/pod"
	"netd/netd/internal/route"
)

// view is what the loop shows; it is never changed afterwards. What costs is made when
// somebody asks, once.
type view struct {
	revision  uint64
	status    api.Status
	peers     []api.Peer
	decisions *route.Decisions
	accepted  map[string]route.Count // by peer
	routes    func() []api.Route
	pods      map[string]pod.Pod
	// speaker may be asked for more; nil until there is one.
	speaker *bgp.Speaker
}

// board has the view that questions are answered from: they never wait for a round.
type board struct {
	mu   sync.Mutex // guards what follows, and is held for an assignment
	now  *view
	next chan struct{} // closed when another view is there
}

func newBoard() *board {
	return &board{now: &view{routes: func() []api.Route { return nil }}, next: make(chan struct{})}
}

// publish shows another view.
func (b *board) publish(v *view) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v.revision = b.now.revision + 1
	b.now = v
	close(b.next)
	b.next = make(chan struct{})
}

func (b *board) view() *view {
	v, _ := b.look()
	return v
}

func (b *board) look() (*view, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now, b.next
}

// after waits for a view that is newer than a revision, or for ctx to end.
func (b *board) after(ctx context.Context, revision uint64) *view {
	for {
		v, next := b.look()
		if v.revision > revision {
			return v
		}
		select {
		case <-next:
		case <-ctx.Done():
			return v
		}
	}
}
