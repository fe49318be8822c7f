package daemon

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// Routes of before are kept for longer than from a peer's End-of-RIB to the routes that it
// was to be the end of: FRR sends those a second later, others were seen to take three. A
// peer that does not come back is not waited for for ever.
func TestSettle(t *testing.T) {
	for _, tt := range []struct {
		name string
		all  bool
		want time.Duration
	}{{"all have told all", true, settlePause}, {"one is missing", false, settleDeadline}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sessions{log: slog.New(slog.DiscardHandler), life: time.Now()}
				begin := time.Now()
				for !s.settled {
					s.settle(tt.all)
					time.Sleep(100 * time.Millisecond)
				}
				if took := time.Since(begin); took < tt.want || took > tt.want+time.Second || tt.want <= 3*time.Second {
					t.Errorf("settled after %s, want %s, which is more than 3 s", took, tt.want)
				}
			})
		})
	}
}
