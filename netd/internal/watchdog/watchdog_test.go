package watchdog

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestDog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var d Dog
		var silent atomic.Int64 // nanoseconds
		go d.Run(ctx, 100*time.Millisecond, time.Second, func(s time.Duration) { silent.Store(int64(s)) })
		for range 30 {
			time.Sleep(100 * time.Millisecond)
			d.Feed()
		}
		synctest.Wait()
		if s := time.Duration(silent.Load()); s != 0 {
			t.Fatalf("fed ten times a second, and late by %s", s)
		}
		time.Sleep(1200 * time.Millisecond)
		synctest.Wait()
		if s := time.Duration(silent.Load()); s < time.Second || s > 1200*time.Millisecond {
			t.Errorf("not fed for 1.2 s, and late by %s", s)
		}
		d.Feed()
		d.Rest()
		silent.Store(0)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if s := time.Duration(silent.Load()); s != 0 {
			t.Errorf("it rests, and is late by %s", s)
		}
	})
}
