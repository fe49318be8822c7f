package bgp

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"netd/netd/internal/watchdog"
)

// A process is killed once it has beaten and beats no more, or beats and its GoBGP does
// not answer; a person is told how long it was silent.
func TestHung(t *testing.T) {
	for _, tt := range []struct {
		name    string
		least   time.Duration // until it is killed
		most    time.Duration
		problem string
		watch   func(ctx context.Context, s *Speaker, kill func() error)
	}{
		{"no beats", time.Second, 1500 * time.Millisecond, "the BGP speaker has been silent for 1", func(ctx context.Context, s *Speaker, kill func() error) {
			p := newPulse()
			p.beat()
			_ = s.watchPulse(ctx, newLife(nil, false), p, kill)
		}},
		{"it has not begun", time.Hour, time.Hour, "", func(ctx context.Context, s *Speaker, kill func() error) {
			_ = s.watchPulse(ctx, newLife(nil, false), newPulse(), kill)
		}},
		{"no answers", coreSilence, coreSilence + 2*time.Second, "the BGP speaker has not answered for 2", func(ctx context.Context, s *Speaker, kill func() error) {
			_ = s.watchCore(ctx, new(watchdog.Dog), kill)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				s := New(Options{Log: slog.New(slog.DiscardHandler)}, Wanted{Config: Config{Peers: []Peer{{Session: Session{HoldTime: 3 * time.Second}}}}}, false)
				begin, kills, took := time.Now(), 0, time.Hour
				tt.watch(ctx, s, func() error {
					kills, took = kills+1, time.Since(begin)
					return nil
				})
				problem := ""
				if err := s.Take().Problem; err != nil {
					problem = err.Error()
				}
				if took < tt.least || took > tt.most || kills > 1 || !strings.HasPrefix(problem, tt.problem) || (problem == "") != (kills == 0) {
					t.Errorf("killed %d times, after %s, want %s to %s; problem %q", kills, took, tt.least, tt.most, problem)
				}
			})
		})
	}
}
