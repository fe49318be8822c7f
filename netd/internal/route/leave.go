package route

import (
	"fmt"
	"slices"
	"time"
)

// A ToR tells its gateways of a prefix before its own FIB has the route, and before the
// fabric behind it has: who goes native at once loses what he sends meanwhile. So a prefix
// that goes by a tunnel leaves it only when the ToR's way has stood for Facts.LeaveDelay.
// Until then its alike says since when the way stands, so all that wait alike share an
// outcome, and end their wait as one. A ToR that joins begins it anew for all, for flows
// would be spread over its way, too. What has no tunnel to stay in does not wait, nor does
// what goes to a gateway on a connected subnet: there is no fabric between.

// stay chooses the tunnel for prefixes that wait in it, in the place of the ToR's way that
// is best. It returns the chosen candidate's place.
func (d *Outcome) stay(best int, delay time.Duration) int {
	if d.alike.since.IsZero() || best < 0 || d.Candidates[best].class != byToR {
		return best
	}
	tunnel := slices.IndexFunc(d.Candidates, func(c Candidate) bool { return c.class == byTunnel && c.Kind != "" })
	if tunnel < 0 {
		return best
	}
	since := fmt.Sprintf("since %s", d.alike.since.UTC().Format("15:04:05.000Z"))
	d.Candidates[tunnel].Reason = fmt.Sprintf("in the tunnel until a ToR's way has stood for %s: %s routes it %s", delay, d.Candidates[best].Peer, since)
	for i := range d.Candidates {
		if c := &d.Candidates[i]; c.class == byToR {
			c.class = byYoungToR
			c.Reason = fmt.Sprintf("%s routes it %s: taken when that has stood for %s", c.Peer, since, delay)
		}
	}
	return tunnel
}

// leaves tells whether prefixes go by a ToR, and could go by a tunnel.
func (d *Outcome) leaves() bool {
	return d.Route != nil && d.has(func(c Candidate) bool { return c.Chosen && c.class == byToR }) &&
		d.has(func(c Candidate) bool { return c.Kind != "" && c.class == byTunnel })
}

func (d *Outcome) has(f func(c Candidate) bool) bool { return slices.ContainsFunc(d.Candidates, f) }

// since is from when on the ToR's way stands for which prefixes wait that had one outcome
// and would have another; zero if they do not wait.
func (t *Table) since(was, now *Outcome) time.Time {
	f := &t.judge.Facts
	if f.LeaveDelay <= 0 || was == nil || was.Route == nil || !was.Route.Kind.tunnelled() || !now.leaves() {
		return time.Time{}
	}
	if was.has(func(c Candidate) bool { return c.class == byToR }) {
		return time.Time{} // The way stands already: the tunnel was the mode's wish.
	}
	since := was.alike.since
	if since.IsZero() || now.has(func(c Candidate) bool { return c.class == byToR && !was.knows(c) }) {
		since = f.Now
	}
	end := since.Add(f.LeaveDelay)
	if !f.Now.Before(end) {
		return time.Time{}
	}
	if t.due.IsZero() || end.Before(t.due) {
		t.due = end
	}
	return since
}

// knows tells whether a ToR's way is among those that are waited for.
func (d *Outcome) knows(way Candidate) bool {
	return d.has(func(c Candidate) bool {
		return c.class == byYoungToR && c.Peer == way.Peer && c.NextHop == way.NextHop
	})
}

// after is the outcome of prefixes that are like this now, and had another before.
func (t *Table) after(was *Outcome, like alike) *Outcome {
	like.since = time.Time{}
	now := t.outcome(like)
	if like.since = t.since(was, now); like.since.IsZero() {
		return now
	}
	return t.outcome(like)
}

// Due is when to plan again even if nothing happens, because a wait is over; zero if
// none waits.
func (t *Table) Due() time.Time { return t.due }

// overdue tells whether a wait is over.
func (t *Table) overdue(now time.Time) bool { return !t.due.IsZero() && !now.Before(t.due) }
