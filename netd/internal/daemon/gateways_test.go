package daemon

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"netd/netd/config"
	"netd/netd/internal/policy"
)

// The guard lets in the packets of gateways of a range.
func TestGatewayRanges(t *testing.T) {
	ip, equal := netip.MustParseAddr, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
	racks := config.Range{Name: "racks", Prefix: netip.MustParsePrefix("10.0.0.0/16"), Session: config.Session{Type: config.TypeGateway}}
	d := &Daemon{config: &config.Config{BGP: config.BGP{
		GatewayPeers: []config.Peer{{Name: "gw-c", Address: ip("10.0.2.13")}, {Name: "gw-6", Address: ip("2001:db8::13")}},
		Ranges:       []config.Range{racks, {Name: "tors", Prefix: netip.MustParsePrefix("10.9.0.0/16"), Session: config.Session{Type: config.TypeToR}}},
	}}}
	want := policy.Rules{
		PodLinks: "pod", Gateways: []netip.Addr{ip("10.0.2.13"), ip("2001:db8::13")}, Ranges: []netip.Prefix{racks.Prefix},
	}
	if diff := cmp.Diff(want, d.guardRules(), equal); diff != "" {
		t.Errorf("guard (-want +got):\n%s", diff)
	}
}
