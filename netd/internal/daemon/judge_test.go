package daemon

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/bfd"
)

func (v ruling) String() string {
	return [...]string{"no loss", "lost", "excused", "waiting"}[v]
}

// TestJudge: what becomes known of a loss at time 0, one step after another, and the
// verdicts.
func TestJudge(t *testing.T) {
	failed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tor := bfd.Session{Peer: "tor1"}
	silent := bfd.Status{Session: tor, State: bfd.Down, Failed: failed, Reason: bfd.DiagTimeExpired.String()}
	down := bfd.Status{Session: tor, State: bfd.Down, Failed: failed, Reason: bfd.DiagNeighborDown.String(), RemoteDiag: bfd.DiagNeighborDown}
	with := func(s bfd.Status, change func(*bfd.Status)) bfd.Status { change(&s); return s }
	independent := func(s *bfd.Status) { s.Independent = true }
	up := session{Established: true, Graceful: true, Since: failed.Add(-time.Hour)}
	plain := session{Established: true, Since: failed.Add(-time.Hour)}
	ended := func(d time.Duration) session { return session{Since: failed.Add(d), Stale: true} }
	gone := session{Since: failed} // by NOTIFICATION, or reset: nothing is kept
	back := session{Established: true, Graceful: true, Since: failed.Add(time.Second)}
	type step struct {
		at   time.Duration
		bfd  bfd.Status
		bgp  session
		want ruling
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"a silent peer is lost at once", []step{{0, silent, up, lost}, {0, silent, gone, lost}}},
		{"a peer that dies in silence, BGP first", []step{{0, silent, ended(-900 * time.Millisecond), excused}}},
		{"the same, and BGP's word comes late", []step{{0, silent, up, lost}, {time.Second, silent, ended(-900 * time.Millisecond), excused}}},
		{"a silent peer that could not be reset: its hold time ends", []step{{0, silent, up, lost}, {8 * time.Second, silent, ended(8 * time.Second), lost}}},
		{"Down, BGP first", []step{{0, down, ended(-3 * time.Millisecond), excused}, {30 * time.Second, down, back, excused}}},
		{"Down, BGP soon after", []step{{0, down, up, waiting}, {6 * time.Millisecond, down, ended(5 * time.Millisecond), excused}, {time.Minute, down, gone, excused}}},
		{"Down, and BGP's word is read late", []step{{0, down, up, waiting}, {wordTime, down, up, lost}, {time.Second, down, ended(5 * time.Millisecond), excused}}},
		{"Down, and no word of BGP", []step{{0, down, up, waiting}, {wordTime - 1, down, up, waiting}, {wordTime, down, up, lost}, {time.Minute, down, back, lost}}},
		{"Down, and BGP ends with a NOTIFICATION", []step{{0, down, up, waiting}, {time.Millisecond, down, gone, lost}}},
		{"Down by a peer that does not restart gracefully", []step{{0, down, plain, lost}}},
		{"Down by a peer that hears us no more", []step{{0, with(down, func(s *bfd.Status) { s.RemoteDiag = bfd.DiagTimeExpired }), up, lost}}},
		{"independent BFD", []step{{0, with(down, independent), up, lost}, {0, with(silent, independent), ended(-time.Second), lost}}},
		{"a peer that BGP does not know", []step{{0, down, session{}, lost}}},
		{"after the loss another one", []step{
			{0, down, ended(0), excused},
			{time.Minute, bfd.Status{Session: tor, State: bfd.Up}, back, noLoss},
			{2 * time.Minute, with(silent, func(s *bfd.Status) { s.Failed = failed.Add(2 * time.Minute) }), back, lost},
		}},
		{"another loss without a look in between", []step{
			{0, down, ended(0), excused},
			{2 * time.Minute, with(down, func(s *bfd.Status) { s.Failed = failed.Add(2 * time.Minute) }), back, waiting},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var j judge
			var got, want []string
			for _, s := range c.steps {
				before, is := j.rule(failed.Add(s.at), s.bfd, s.bgp)
				if kept := j.of(s.bfd); kept != is {
					t.Errorf("at %s it rules %q and keeps %q (before: %q)", s.at, is, kept, before)
				}
				got, want = append(got, is.String()), append(want, s.want.String())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestJudgeBegins: BFD with a peer that restarts begins when its BGP is back.
func TestJudgeBegins(t *testing.T) {
	failed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	down := bfd.Status{Session: bfd.Session{Peer: "tor1"}, State: bfd.Down, Failed: failed, Reason: bfd.DiagNeighborDown.String()}
	away := session{Since: failed, Stale: true}
	back := session{Established: true, Graceful: true, Since: failed.Add(5 * time.Second)}
	var j judge
	if j.begins(failed, "tor1", away) {
		t.Error("nothing was excused yet")
	}
	j.rule(failed, down, away)
	for _, c := range []struct {
		at   time.Duration
		bgp  session
		want bool
	}{
		{time.Second, away, true},
		{5 * time.Second, back, true},
		{5*time.Second + returnTime, back, false},
		{time.Minute, session{Since: failed}, false}, // its restart time is over
	} {
		if got := j.begins(failed.Add(c.at), "tor1", c.bgp); got != c.want {
			t.Errorf("at %s, BGP %+v: %v", c.at, c.bgp, got)
		}
	}
}
