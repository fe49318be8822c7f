package child

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
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

// Only what may be an orphan has GoBGP list its peers.
func TestConnectionsOfSessions(t *testing.T) {
	addr := netip.MustParseAddr
	s := sessions{up: map[netip.Addr]bool{}}
	s.note(addr("10.0.1.1"), bgp.BGP_FSM_ESTABLISHED)
	s.note(addr("fe80::1%a"), bgp.BGP_FSM_ESTABLISHED)
	s.note(addr("10.0.1.2"), bgp.BGP_FSM_OPENSENT)
	for remote, want := range map[string]bool{"10.0.1.1": true, "fe80::1": true, "10.0.1.2": false, "10.0.1.3": false} {
		if got := s.own([]connection{{7, netip.AddrPortFrom(addr(remote), 40000)}}); got != want {
			t.Errorf("a connection of %s: %v, want %v", remote, got, want)
		}
	}
	s.note(addr("fe80::1%b"), bgp.BGP_FSM_ACTIVE)
	if s.own([]connection{{7, netip.AddrPortFrom(addr("fe80::1"), 40000)}}) {
		t.Error("one of two peers with the same address is down")
	}
	s.note(addr("10.0.1.1"), bgp.BGP_FSM_IDLE)
	if s.own([]connection{{7, netip.AddrPortFrom(addr("10.0.1.1"), 40000)}}) || !s.own(nil) {
		t.Error("the session is down")
	}
}
