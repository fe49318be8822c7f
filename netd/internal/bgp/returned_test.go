package bgp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A peer that was there before a restart is one of its own for as long as it may return,
// and until its session ends; one that is not of a range any more is not.
func TestReturning(t *testing.T) {
	c := Config{
		RestartTime: time.Minute, Ranges: []Range{{Name: "rack-7", Prefix: netip.MustParsePrefix("10.0.7.0/24"), Session: Session{AS: 65107}}},
		Peers: []Peer{{Name: "tor1", Address: netip.MustParseAddr("10.0.7.1")}},
	}
	up, gone, configured, elsewhere := netip.MustParseAddr("10.0.7.2"), netip.MustParseAddr("10.0.7.3"), c.Peers[0].Address, netip.MustParseAddr("10.0.8.1")
	l := newLife(nil, true)
	l.stand.up = map[netip.Addr]bool{up: true}
	names := func() (all []string) {
		for _, p := range l.returning(c) {
			if all = append(all, p.Name); p.Passive == p.Local.IsValid() {
				t.Errorf("%s: passive %v, from %s", p.Name, p.Passive, p.Local)
			}
		}
		return all
	}
	l.returned = []ranged{{up, netip.MustParseAddr("10.0.7.254")}, {Address: gone}, {Address: configured}, {Address: elsewhere}}
	if diff := cmp.Diff([]string{"rack-7[10.0.7.2]", "rack-7[10.0.7.3]"}, names()); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	l.started = l.started.Add(-2 * time.Minute)
	if diff := cmp.Diff([]string{"rack-7[10.0.7.2]"}, names()); diff != "" {
		t.Errorf("after the restart time (-want +got):\n%s", diff)
	}
	l.stand.up = nil
	if got := names(); got != nil || len(l.returned) > 0 {
		t.Errorf("after its session: %v", got)
	}
}
