package child

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/bgp/wire"
	"netd/netd/retry"
)

// hintPause is the shortest time from one burst of hints to the next.
const hintPause = 5 * time.Millisecond

// hints are those that the agent has not been told yet.
type hints struct {
	wake chan struct{}

	mu        sync.Mutex // guards what follows
	all       bool
	prefixes  map[netip.Prefix]struct{}
	announced map[netip.Addr]uint64
	news      map[netip.Addr]bool // of announced
}

func newHints() *hints {
	return &hints{
		wake: make(chan struct{}, 1), prefixes: map[netip.Prefix]struct{}{},
		announced: map[netip.Addr]uint64{}, news: map[netip.Addr]bool{},
	}
}

// watch has GoBGP call whenever it learns something.
func (h *hints) watch(ctx context.Context, s *server.BgpServer) error {
	established := map[netip.Addr]bool{}
	return s.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnPathUpdate: func(paths []*apiutil.Path, _ time.Time) { h.paths(paths) },
		OnPathEor:    func(*apiutil.Path, time.Time) { h.everything() }, // What was stale goes.
		OnPeerUpdate: func(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
			p := e.Peer.State
			was := established[p.NeighborAddress]
			established[p.NeighborAddress] = p.SessionState == bgp.BGP_FSM_ESTABLISHED
			// A peer's paths become stale, or go, when its session ends, and again when
			// its restart time ends.
			if was && !established[p.NeighborAddress] || gobgp.IsLoss(&api.PeerState{DisconnectReason: p.DisconnectReason}) {
				h.everything()
			}
		},
	}, server.WatchUpdate(false, "", ""), server.WatchAdjInWithdraw(), server.WatchEor(false), server.WatchPeer())
}

func (h *hints) everything() {
	h.mu.Lock()
	h.all = true
	h.mu.Unlock()
	h.poke()
}

func (h *hints) paths(paths []*apiutil.Path) {
	h.mu.Lock()
	for _, p := range paths {
		if nlri, ok := p.Nlri.(*bgp.IPAddrPrefix); ok {
			h.prefixes[nlri.Prefix] = struct{}{}
		}
		if !p.Withdrawal {
			h.announced[p.PeerAddress]++
			h.news[p.PeerAddress] = true
		}
	}
	h.mu.Unlock()
	h.poke()
}

func (h *hints) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// beatPause is the time from one beat to the next: the agent takes silence for a hang.
const beatPause = 400 * time.Millisecond

// lines are the pipe, to which two write whole lines.
type lines struct {
	mu   sync.Mutex // guards pipe, also over a write: what waits then is for the agent to read
	pipe io.Writer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pipe.Write(b)
}

// beat says that this process lives until ctx or the pipe ends.
func beat(ctx context.Context, pipe io.Writer) error {
	line := wire.Hint{Beat: true}.Append(nil)
	for {
		if _, err := pipe.Write(line); err != nil {
			return fmt.Errorf("tell the agent of life: %w", err)
		}
		if !retry.Sleep(ctx, beatPause) {
			return ctx.Err()
		}
	}
}

// tell writes hints until ctx or the pipe ends. While the agent does not read, they
// gather, and there are never more than prefixes. Those that come after a rest are
// written at once.
func (h *hints) tell(ctx context.Context, pipe io.Writer) error {
	w := bufio.NewWriterSize(pipe, 64<<10)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.wake:
		}
		h.write(w)
		if err := w.Flush(); err != nil {
			return fmt.Errorf("tell the agent of changes: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(hintPause):
		}
	}
}

func (h *hints) write(w *bufio.Writer) {
	h.mu.Lock()
	all, prefixes := h.all, h.prefixes
	h.all, h.prefixes = false, map[netip.Prefix]struct{}{}
	peers := map[netip.Addr]uint64{}
	for a := range h.news {
		peers[a] = h.announced[a]
	}
	clear(h.news)
	h.mu.Unlock()
	// A failed write is kept by w until it is flushed.
	var line []byte
	put := func(hint wire.Hint) {
		if line = hint.Append(line[:0]); w.Available() < len(line) {
			_ = w.Flush() // Only whole lines: there are others who write.
		}
		_, _ = w.Write(line)
	}
	for a, n := range peers {
		put(wire.Hint{Peer: a, Announced: n})
	}
	for p := range prefixes {
		put(wire.Hint{Prefix: p})
	}
	if all {
		put(wire.Hint{All: true})
	}
}
