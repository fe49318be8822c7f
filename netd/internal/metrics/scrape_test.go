package metrics

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// However many ask, the gateway is looked at once a second; what is told then is not
// older than that.
func TestScrapesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		s := New("1.0", func(context.Context) Facts {
			looks++
			time.Sleep(100 * time.Millisecond)
			return Facts{Problems: looks}
		})
		ask := func(want string) {
			t.Helper()
			answer := httptest.NewRecorder()
			s.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
			if answer.Code != 200 || !strings.Contains(answer.Body.String(), want+"\n") {
				t.Errorf("no %s in %d\n%s", want, answer.Code, answer.Body)
			}
		}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { ask("netd_problems 1") })
		}
		all.Wait()
		time.Sleep(fresh - time.Millisecond)
		ask("netd_problems 1")
		time.Sleep(2 * time.Millisecond)
		ask("netd_problems 2")
		if looks != 2 {
			t.Errorf("looked %d times", looks)
		}
		// Who has gone waits for nobody, and what can not be gathered is told.
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		<-s.scrapes.turn
		answer := httptest.NewRecorder()
		s.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(gone, "GET", "/metrics", nil))
		if answer.Code != 500 {
			t.Errorf("gone: %d", answer.Code)
		}
	})
}
