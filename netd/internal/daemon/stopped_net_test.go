//go:build net

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/netd/internal/api"
)

// stop stops a process until the test ends or it is killed.
func (s *site) stop(pid int) {
	s.Helper()
	s.must(syscall.Kill(pid, syscall.SIGSTOP))
	s.Cleanup(func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.Errorf("let %d go on: %v", pid, err)
		}
	})
}

// answered asks an agent for its status until its stop function, which returns the
// longest time that an answer took.
func (s *site) answered(gw string) func() time.Duration {
	ctx, cancel := context.WithCancel(s.Context())
	longest := make(chan time.Duration, 1)
	client := api.NewClient(filepath.Join(s.hosts[gw].Path("run"), "netd.sock"))
	go func() {
		most := time.Duration(0)
		for ctx.Err() == nil {
			begin := time.Now()
			var status api.Status
			if err := client.Get(ctx, "/v1/status", &status); err != nil && ctx.Err() == nil {
				s.Errorf("status: %v", err)
				break
			}
			if took := time.Since(begin); ctx.Err() == nil {
				most = max(most, took)
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
		longest <- most
	}()
	return func() time.Duration {
		cancel()
		return <-longest
	}
}

// answerLimit is what an answer from the view may take on a machine whose cores are busy
// with all of a lab.
const answerLimit = 100 * time.Millisecond

// replaced waits until a gateway has another speaker than that one.
func (s *site) replaced(gw string, was int, limit time.Duration) {
	s.Helper()
	within(s.T, limit, "another speaker on "+gw, func(context.Context) error {
		now, err := s.speaker(gw)
		if err == nil && now == was {
			err = fmt.Errorf("it is %d still", now)
		}
		return err
	})
}

// A speaker that is stopped hangs nothing: what loses packets does so for no longer than
// with one that runs, requests are answered, and it is replaced within the hold time.
func TestStoppedSpeaker(t *testing.T) {
	s, _ := twoUplinks(t)
	hold := 9 * time.Second
	stop := func() int {
		t.Helper()
		within(t, time.Minute, "all sessions of gw-a", s.gw["gw-a"].Established)
		pid, err := s.speaker("gw-a")
		s.must(err)
		s.stop(pid)
		return pid
	}
	quickly := func(what string, args ...string) {
		t.Helper()
		begin := time.Now()
		if out, err := s.gw["gw-a"].Ask(t.Context(), args[0], args[1:]...); err != nil {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%s took %s", what, took)
		}
	}

	t.Run("carrier", func(t *testing.T) {
		pid := 0
		longest := s.answered("gw-a")
		sent, lost := s.oneWay("gw-a", "gw-c", 4, func() {
			pid = stop()
			s.run("tor1", "ip link set gw-a down")
		})
		t.Logf("%d of %d packets lost; an answer took %s at most", lost, sent, longest())
		if lost > 200 {
			t.Errorf("%d of %d packets lost, at 1,000 a second: want at most 200", lost, sent)
		}
		s.replaced("gw-a", pid, hold)
		s.run("tor1", "ip link set gw-a up")
	})
	t.Run("requests", func(t *testing.T) {
		pid := stop()
		longest := s.answered("gw-a")
		config, err := os.ReadFile(s.config)
		s.must(err)
		file := filepath.Join(s.net.Dir, "other.toml")
		s.must(os.WriteFile(file, []byte(strings.Replace(string(config), "schema = 1", "schema = 1\n# changed", 1)), 0o644))
		quickly("a pod", "pod", "add", "one-more")
		quickly("a reload", "reload")
		quickly("an order", "peer", "down", "tor1")
		quickly("its end", "peer", "up", "tor1")
		quickly("an explanation", "explain", "10.64.3.0/26")
		if most := longest(); most > answerLimit {
			t.Errorf("an answer took %s, want at most %s", most, answerLimit)
		}
		s.replaced("gw-a", pid, hold)
	})
	within(t, time.Minute, "all sessions of gw-a", s.gw["gw-a"].Established)
	s.allReach()
}
