package child

import (
	"context"
	"log/slog"
	"sync"
)

// reasons are why sessions ended: what peers said (RFC 9003), and hold timers that
// expired, which GoBGP calls a graceful restart where the peer could make one. It has
// them in its log only, so this is a handler of that log.
type reasons struct {
	slog.Handler
	peer  string // whose log it is
	heard *heard
}

type heard struct {
	mu     sync.Mutex // guards byPeer
	byPeer map[string]ending
}

// ending is what the log says of a session's end.
type ending struct {
	words   string // the peer's
	opening string // why it did not even begin
	expired bool   // the hold timer has
}

func newReasons(h slog.Handler) *reasons {
	return &reasons{Handler: h, heard: &heard{byPeer: map[string]ending{}}}
}

// take returns what was heard of the peer's last end, once.
func (h *heard) take(peer string) ending {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.byPeer[peer]
	delete(h.byPeer, peer)
	return e
}

func (h *heard) note(peer string, e ending) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.byPeer[peer] = e
}

// Enabled lets through what the log itself may leave out.
func (r *reasons) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || r.Handler.Enabled(ctx, l)
}

func (r *reasons) Handle(ctx context.Context, record slog.Record) error {
	switch {
	case r.peer == "":
	case record.Message == "hold timer expired":
		r.heard.note(r.peer, ending{expired: true})
	case record.Message == "received notification":
		words := ""
		record.Attrs(func(a slog.Attr) bool {
			if a.Key == "Communicated-Reason" {
				words = a.Value.String()
			}
			return words == ""
		})
		r.heard.note(r.peer, ending{words: words})
	}
	if !r.Handler.Enabled(ctx, record.Level) {
		return nil
	}
	return r.Handler.Handle(ctx, record)
}

// WithAttrs notes whose log it is.
func (r *reasons) WithAttrs(attrs []slog.Attr) slog.Handler {
	peer := r.peer
	for _, a := range attrs {
		if a.Key == "Key" {
			peer = a.Value.String()
		}
	}
	return &reasons{r.Handler.WithAttrs(attrs), peer, r.heard}
}

func (r *reasons) WithGroup(name string) slog.Handler {
	return &reasons{r.Handler.WithGroup(name), r.peer, r.heard}
}
