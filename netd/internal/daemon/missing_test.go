package daemon

import (
	"testing"
	"time"

	"netd/netd/internal/bgp"
	"netd/netd/internal/bgp/gobgp"
)

// A session that does not come up is a problem, with its reason, and not before it could
// have come up.
func TestMissing(t *testing.T) {
	now := time.Now()
	old := now.Add(-time.Minute)
	for name, c := range map[string]struct {
		life time.Time // of the speaker
		peer bgp.PeerState
		want string
	}{
		"up":          {old, bgp.PeerState{State: "Established", Since: old, Reason: "hold timer expired"}, ""},
		"never":       {old, bgp.PeerState{State: "Active", Reason: "connection refused"}, "has no session: connection refused"},
		"not a word":  {old, bgp.PeerState{State: "Active"}, "has no session: nothing has been heard of it"},
		"just begun":  {now, bgp.PeerState{State: "Active", Reason: "connection refused"}, ""},
		"just lost":   {old, bgp.PeerState{State: "Idle", Since: now, Reason: "hold timer expired"}, ""},
		"lost":        {old, bgp.PeerState{State: "Idle", Since: old, Reason: "hold timer expired"}, "has no session: hold timer expired"},
		"by hand":     {old, bgp.PeerState{State: "Idle", Since: old, Shutdown: true}, ""},
		"up again":    {old, bgp.PeerState{State: "Idle", Since: old, Reason: gobgp.EndedHere}, ""},
		"refuses us":  {now, bgp.PeerState{State: "Idle", Reason: gobgp.Refused + " our OPEN"}, gobgp.Refused + " our OPEN"},
		"a new start": {now, bgp.PeerState{State: "Active", Since: old}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sessions{life: c.life}
			if got := s.missing(c.peer); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
