package daemon

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"netd/netd/internal/api"
)

const (
	// What was put back a third time within fightEnds is a fight with somebody: a problem
	// that a person is told, until it has stood for so long.
	fightBegins = 3
	fightEnds   = 5 * time.Minute
	// fightLog is how often a line tells of one.
	fightLog = time.Minute
)

// repairs are what somebody else had changed of what netd keeps in the kernel, and netd
// has put back since the agent's start.
type repairs struct {
	total  int
	last   time.Time
	what   string // the last
	fights map[string]*fight
}

// fight is what was put back lately.
type fight struct {
	times, untold int
	last, logged  time.Time
}

// repaired tells of what was put back together: in one line, and of a fight less often.
func (h *health) repaired(now time.Time, what ...string) {
	r := &h.repairs
	maps.DeleteFunc(r.fights, func(_ string, f *fight) bool { return now.Sub(f.last) > fightEnds })
	var tell []string
	for _, w := range what {
		f := r.fights[w]
		if f == nil {
			f = &fight{}
			if r.fights == nil {
				r.fights = map[string]*fight{}
			}
			r.fights[w] = f
		}
		f.times, f.untold, f.last = f.times+1, f.untold+1, now
		r.total, r.last, r.what = r.total+1, now, w
		if f.times <= fightBegins || now.Sub(f.logged) >= fightLog {
			if tell = append(tell, w); f.untold > 1 {
				tell[len(tell)-1] += fmt.Sprintf(" (%d times)", f.untold)
			}
			f.untold, f.logged = 0, now
		}
	}
	if len(tell) > 0 {
		h.log.Warn("somebody else has changed what netd keeps; it is put back", "what", strings.Join(tell, "; "))
	}
}

// fought are the problems that somebody changes something again and again.
func (h *health) fought(now time.Time) []string {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(h.repairs.fights)) {
		if f := h.repairs.fights[what]; f.times >= fightBegins && now.Sub(f.last) < fightEnds {
			all = append(all, fmt.Sprintf("somebody keeps changing what netd keeps: %s was put back %d times within %s", what, f.times, fightEnds))
		}
	}
	return all
}

// shown is what the API tells of repairs; nil if there were none.
func (r *repairs) shown() *api.Repairs {
	if r.total == 0 {
		return nil
	}
	return &api.Repairs{Times: r.total, Last: r.last, What: r.what}
}
