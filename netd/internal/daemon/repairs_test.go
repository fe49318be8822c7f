package daemon

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/route"
)

// What is put back is told in a line, in a fight once a minute with how often it was, and the
// fight is a problem until it has rested.
func TestRepaired(t *testing.T) {
	var log bytes.Buffer
	h := health{log: slog.New(slog.NewTextHandler(&log, nil))}
	begin := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	h.repaired(begin)
	if h.repairs.shown() != nil || log.Len() > 0 {
		t.Errorf("nothing was repaired: %v\n%s", h.repairs.shown(), &log)
	}
	h.repaired(begin, "a", "b")
	for s := 1; s < 100; s++ {
		h.repaired(begin.Add(time.Duration(s)*time.Second), "b")
	}
	var told []string
	for line := range strings.Lines(log.String()) {
		_, what, _ := strings.Cut(line, " what=")
		told = append(told, strings.Trim(what, "\"\n"))
	}
	if diff := cmp.Diff([]string{"a; b", "b", "b", "b (60 times)"}, told); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if got := h.repairs.shown(); got == nil || got.Times != 101 || got.What != "b" || !got.Last.Equal(begin.Add(99*time.Second)) {
		t.Errorf("shown: %+v", got)
	}
	last := begin.Add(99 * time.Second)
	want := []string{"somebody keeps changing what netd keeps: b was put back 100 times within 5m0s"}
	if diff := cmp.Diff(want, h.fought(last.Add(fightEnds-time.Second))); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if got := h.fought(last.Add(fightEnds)); got != nil {
		t.Errorf("problems after a rest: %q", got)
	}
	h.repaired(last.Add(2*fightEnds), "c")
	if len(h.repairs.fights) != 1 {
		t.Errorf("what has rested is kept: %v", h.repairs.fights)
	}
}

// What was put back of routes is told with its number where there are several.
func TestPutBack(t *testing.T) {
	for want, res := range map[string]route.Result{
		"route 0.0.0.0/0":                                    {Added: 1},
		"route 0.0.0.0/0 and 1 next-hop object":              {Added: 1, NextHops: 1},
		"route 0.0.0.0/0 and 2 next-hop objects":             {Replaced: 1, NextHops: 2},
		"1 next-hop object":                                  {NextHops: 1},
		"2 next-hop objects":                                 {NextHops: 2},
		"3 routes, of them 0.0.0.0/0, and 1 next-hop object": {Added: 2, Deleted: 1, NextHops: 1},
		"2 routes, of them 0.0.0.0/0":                        {Added: 2},
	} {
		if got := putBack(res, netip.MustParsePrefix("0.0.0.0/0")); got != want {
			t.Errorf("%+v: %q, want %q", res, got, want)
		}
	}
}
