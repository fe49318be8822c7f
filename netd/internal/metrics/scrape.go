package metrics

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// fresh is how old an answer may be. Whoever asks meanwhile gets the same one.
const fresh = time.Second

// scrapes makes each answer once for all who ask, so that neither how often it is asked
// for nor a client that does not read it costs the agent or the speaker anything.
type scrapes struct {
	registry prometheus.Gatherer
	turn     chan answer // has the last one while nobody makes another
}

// answer is never changed: many may be sending it.
type answer struct {
	text []byte
	made time.Time
}

// Handler answers scrapes, in the text format, which every Prometheus reads.
func (s *Set) Handler() http.Handler { return s.scrapes }

func newScrapes(r prometheus.Gatherer) *scrapes {
	s := &scrapes{registry: r, turn: make(chan answer, 1)}
	s.turn <- answer{}
	return s
}

// ServeHTTP answers one.
func (s *scrapes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := s.answer(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", string(expfmt.FmtText))
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // It tells that the client has gone.
}

func (s *scrapes) answer(ctx context.Context) ([]byte, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case last := <-s.turn:
		if time.Since(last.made) < fresh {
			s.turn <- last
			return last.text, nil
		}
		text, err := s.encode()
		if err != nil {
			s.turn <- answer{}
			return nil, fmt.Errorf("gather the metrics: %w", err)
		}
		s.turn <- answer{text, time.Now()}
		return text, nil
	}
}

func (s *scrapes) encode() ([]byte, error) {
	families, err := s.registry.Gather()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	encoder := expfmt.NewEncoder(&text, expfmt.FmtText)
	for _, f := range families {
		if err := encoder.Encode(f); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}
