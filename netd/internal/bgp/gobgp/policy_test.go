package gobgp

import (
	"net/netip"
	"strings"
	"testing"

	"netd/netd/internal/filter"
)

// From peers that GoBGP can not tell apart nothing is learned.
func TestSameAddress(t *testing.T) {
	other := []filter.Rule{{Name: "f/x", Verdict: filter.Reject}}
	c := Config{AS: 65101, Pools: []netip.Prefix{pfx("10.64.0.0/16")}, Peers: []Peer{
		{Name: "tor1", Address: ip("fe80::1%uplink0"), Session: Session{AS: 65001}},
		{Name: "tor2", Address: ip("fe80::1%uplink1"), Session: Session{AS: 65002}},
		{Name: "tor3", Address: ip("fe80::3%uplink0"), Session: Session{AS: 65001, Import: other}},
		{Name: "tor4", Address: ip("fe80::3%uplink1"), Session: Session{AS: 65002}},
	}}
	for i, want := range []bool{false, false, true, true} {
		if got := c.clash(c.Peers[i]); strings.Contains(got, "the same address as peer") != want {
			t.Errorf("%s: %q", c.Peers[i].Name, got)
		}
	}
	all := c.Neighbors(nil)
	if len(all) != 2 || all[0].Imports == nil || all[1].Imports != nil || all[1].Exports != nil {
		t.Errorf("neighbours: %+v", all)
	}
}
