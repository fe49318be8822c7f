package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"time"
)

// Gateway is what the server asks; the daemon implements it. Calls come from
// many goroutines.
type Gateway interface {
	// View is the newest state. It waits for one that is newer than the revision, until
	// ctx ends; 0 waits for nothing.
	View(ctx context.Context, after uint64) View
	// Peers are the view's, with what has to be asked for.
	Peers(ctx context.Context) []Peer
	Explain(ctx context.Context, p netip.Prefix) (Explanation, error)
	Operator
}

// Operator is what changes something.
type Operator interface {
	Configure(ctx context.Context, c Change) (Changed, error)
	Order(ctx context.Context, o Order) error
	AddPod(ctx context.Context, name string) (Pod, error)
	RemovePod(ctx context.Context, name string) error
}

// View is the whole state at one moment.
type View struct {
	Status Status
	Peers  []Peer
	// Routes are made when they are asked for: there may be 100,000.
	Routes func() []Route
	Pods   []Pod
}

const (
	// requestTimeout bounds a request from its first octet to the end of the answer:
	// one who does not read holds a connection for no longer.
	requestTimeout = 30 * time.Second
	// newsTimeout is how long a question for what is newer waits at most; then the answer
	// is what there is.
	newsTimeout = 20 * time.Second
)

// Listen opens the socket; a file left by an earlier life is replaced.
func Listen(socket string) (net.Listener, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// clients is how many connections the socket has at once.
const clients = 256

// Serve answers until ctx ends.
func Serve(ctx context.Context, l net.Listener, g Gateway, metrics http.Handler, log *slog.Logger) error {
	return serve(ctx, &http.Server{
		Handler: bounded(handler(g, metrics)), ReadHeaderTimeout: requestTimeout, IdleTimeout: requestTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}, limit(l, clients, clients))
}

func serve(ctx context.Context, s *http.Server, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return ctx.Err()
}

// bounded gives each request its deadlines. A handler that streams may set others.
func bounded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		deadline := time.Now().Add(requestTimeout)
		c := http.NewResponseController(w)
		// They fail on a connection that is gone, where nothing is left to bound.
		_, _ = c.SetReadDeadline(deadline), c.SetWriteDeadline(deadline)
		h.ServeHTTP(w, r)
	})
}

func handler(g Gateway, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	view := func(pattern string, pick func(View) any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			after, err := revision(r)
			if err != nil {
				respond(w, nil, badRequest{err})
				return
			}
			ctx, cancel := context.WithTimeout(r.Context(), newsTimeout)
			defer cancel()
			respond(w, pick(g.View(ctx, after)), nil)
		})
	}
	view("GET /v1/status", func(v View) any { return v.Status })
	mux.HandleFunc("GET /v1/peers", func(w http.ResponseWriter, r *http.Request) { respond(w, g.Peers(r.Context()), nil) })
	mux.Handle("GET /metrics", metrics)
	view("GET /v1/routes", func(v View) any { return v.Routes() })
	view("GET /v1/pods", func(v View) any { return v.Pods })
	mux.HandleFunc("GET /v1/explain", func(w http.ResponseWriter, r *http.Request) {
		p, err := ParseQuery(r.URL.Query().Get("prefix"))
		if err != nil {
			respond(w, nil, badRequest{err})
			return
		}
		e, err := g.Explain(r.Context(), p)
		respond(w, e, err)
	})
	mux.HandleFunc("POST /v1/configuration", configure(g))
	mux.HandleFunc("POST /v1/orders", order(g))
	mux.HandleFunc("PUT /v1/pods/{name}", func(w http.ResponseWriter, r *http.Request) {
		p, err := g.AddPod(r.Context(), r.PathValue("name"))
		respond(w, p, err)
	})
	mux.HandleFunc("DELETE /v1/pods/{name}", func(w http.ResponseWriter, r *http.Request) {
		respond(w, struct{}{}, g.RemovePod(r.Context(), r.PathValue("name")))
	})
	return mux
}

// revision is what ?after=N asks for: the answer when there is something newer.
func revision(r *http.Request) (uint64, error) {
	text := r.URL.Query().Get("after")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("after=%q: expected a revision, as in the status", text)
	}
	return n, nil
}

// ParseQuery reads an address (as a prefix of its full length) or a prefix.
func ParseQuery(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q: expected an address or a prefix, e.g. 10.64.3.9 or 10.64.3.0/26", s)
	}
	return p.Masked(), nil
}

// badRequest is an error of the caller's.
type badRequest struct{ error }

func respond(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		code := http.StatusInternalServerError
		switch {
		case errors.As(err, new(badRequest)):
			code = http.StatusBadRequest
		case errors.As(err, new(BadFile)):
			code = http.StatusUnprocessableEntity
		}
		w.WriteHeader(code)
		v = problem{err.Error()}
	}
	// What it tells is that the client has gone.
	if routes, ok := v.([]Route); ok {
		_ = encodeRoutes(w, routes)
		return
	}
	_ = json.NewEncoder(w).Encode(v)
}

// encodeRoutes writes them one by one: as a whole, 100,000 would be 30 MB of memory for
// each client that does not read its answer.
func encodeRoutes(w io.Writer, all []Route) error {
	buffered := bufio.NewWriterSize(w, 32<<10)
	encoder, before := json.NewEncoder(buffered), "["
	if len(all) == 0 {
		_, _ = buffered.WriteString(before)
	}
	for _, r := range all {
		_, _ = buffered.WriteString(before) // Flush has its error.
		if err := encoder.Encode(r); err != nil {
			return err
		}
		before = ","
	}
	_, _ = buffered.WriteString("]\n")
	return buffered.Flush()
}

// problem is the body of an answer that is not 200.
type problem struct {
	Error string `json:"error"`
}
