package child

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A connection is an orphan once its peer has been without a session for long enough.
func TestOrphans(t *testing.T) {
	begin := time.Unix(1767225600, 0)
	of := func(descriptor int, remote string) connection {
		return connection{descriptor, netip.MustParseAddrPort(remote)}
	}
	a, b := of(7, "10.0.1.1:40000"), of(8, "10.0.1.2:40000")
	idle := map[netip.Addr]time.Duration{netip.MustParseAddr("10.0.1.1"): orphanGrace}
	opening := map[netip.Addr]time.Duration{netip.MustParseAddr("10.0.1.1"): openGrace}
	o := orphans{}
	for i, step := range []struct {
		at     time.Duration
		now    []connection
		graces map[netip.Addr]time.Duration
		want   []connection
	}{
		{0, []connection{a, b}, idle, nil},
		{time.Second, []connection{a, b}, idle, nil},
		{2 * time.Second, []connection{a, b}, idle, []connection{a}},
		{3 * time.Second, []connection{b}, idle, nil},                 // it is gone
		{4 * time.Second, []connection{a, b}, idle, nil},              // and another has its place
		{5 * time.Second, []connection{a, b}, nil, nil},               // which is a session now
		{9 * time.Second, []connection{a, b}, opening, nil},           // that waits for an OPEN
		{18 * time.Second, []connection{a, b}, opening, nil},          //
		{19 * time.Second, []connection{a}, opening, []connection{a}}, // in vain
	} {
		got := o.due(step.now, step.graces, begin.Add(step.at))
		if diff := cmp.Diff(step.want, got, cmp.Comparer(func(x, y connection) bool { return x == y })); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
}
