package child

import (
	"context"
	"log/slog"
	"sync"
)

// reasons are what peers said when they ended sessions (RFC 9003). GoBGP has them in
// its log only, so this is a handler of that log.
type reasons struct {
	slog.Handler
	peer  string // whose log it is
	heard *heard
}

type heard struct {
	mu     sync.Mutex // guards byPeer
	byPeer map[string]string
}

func newReasons(h slog.Handler) *reasons {
	return &reasons{Handler: h, heard: &heard{byPeer: map[string]string{}}}
}

// take returns the peer's last words, once.
func (h *heard) take(peer string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	words := h.byPeer[peer]
	delete(h.byPeer, peer)
	return words
}

// Enabled lets through what the log itself may leave out.
func (r *reasons) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || r.Handler.Enabled(ctx, l)
}

func (r *reasons) Handle(ctx context.Context, record slog.Record) error {
	if r.peer != "" && record.Message == "received notification" {
		words := ""
		record.Attrs(func(a slog.Attr) bool {
			if a.Key == "Communicated-Reason" {
				words = a.Value.String()
			}
			return words == ""
		})
		r.heard.mu.Lock()
		r.heard.byPeer[r.peer] = words
		r.heard.mu.Unlock()
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
