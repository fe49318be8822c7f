package outlet

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// slow takes nothing before it is let.
type slow struct {
	let chan struct{}
	mu  sync.Mutex
	got bytes.Buffer
}

func (s *slow) Write(b []byte) (int, error) {
	<-s.let
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Write(b)
}

func TestOutlet(t *testing.T) {
	s := &slow{let: make(chan struct{})}
	o := New(s, 100)
	for range 20 { // The tenth and what follows find no room.
		if n, err := io.WriteString(o, "0123456789"); n != 10 || err != nil {
			t.Fatalf("a write: %d, %v", n, err)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	o.Flush(over) // does not wait for who does not read
	close(s.let)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o.Flush(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	want := strings.Repeat("0123456789", 10)
	got := strings.ReplaceAll(s.got.String(), "netd: 10 messages were lost here, as nobody read them\n", "")
	if got != want || len(s.got.String()) == len(want) {
		t.Errorf("passed on:\n%s", s.got.String())
	}
}
