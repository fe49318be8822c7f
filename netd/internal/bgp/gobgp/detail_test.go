package gobgp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/osrg/gobgp/v4/api"
)

func TestDetail(t *testing.T) {
	p := &api.Peer{
		State: &api.PeerState{
			SessionState: api.PeerState_SESSION_STATE_ESTABLISHED, RouterId: "10.0.1.1",
			Messages: &api.Messages{Received: &api.Message{Total: 7}, Sent: &api.Message{Total: 5}},
			RemoteCap: []*api.Capability{
				{Cap: &api.Capability_MultiProtocol{MultiProtocol: &api.MultiProtocolCapability{Family: ipv4()}}},
				{Cap: &api.Capability_RouteRefresh{RouteRefresh: &api.RouteRefreshCapability{}}},
				{Cap: &api.Capability_RouteRefreshCisco{RouteRefreshCisco: &api.RouteRefreshCiscoCapability{}}},
				{Cap: &api.Capability_GracefulRestart{GracefulRestart: &api.GracefulRestartCapability{Time: 120}}},
				{Cap: &api.Capability_Unknown{Unknown: &api.UnknownCapability{Code: 99}}},
			},
		},
		Timers:    &api.Timers{State: &api.TimersState{NegotiatedHoldTime: 9, KeepaliveInterval: 3}},
		Transport: &api.Transport{LocalAddress: "10.0.1.11"},
		AfiSafis: []*api.AfiSafi{
			{Config: &api.AfiSafiConfig{Family: ipv4()}, State: &api.AfiSafiState{Received: 3, Accepted: 2, Advertised: 1}},
			{Config: &api.AfiSafiConfig{Family: ipv6()}, State: &api.AfiSafiState{Received: 9}}, // The peer does not speak it.
		},
	}
	want := Detail{
		Local: netip.MustParseAddr("10.0.1.11"), RouterID: netip.MustParseAddr("10.0.1.1"),
		HoldTime: 9 * time.Second, Keepalive: 3 * time.Second, MessagesIn: 7, MessagesOut: 5,
		Families:     []FamilyCount{{"ipv4 unicast", false, 3, 1}},
		Capabilities: []string{"ipv4 unicast", "route refresh", "graceful restart 120s", "capability 99"},
	}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(want, DetailOf(p), same); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := want.Sent(); n != 1 {
		t.Errorf("sent %d, want 1", n)
	}
	p.State.SessionState = api.PeerState_SESSION_STATE_ACTIVE
	if diff := cmp.Diff(Detail{MessagesIn: 7, MessagesOut: 5}, DetailOf(p), same); diff != "" {
		t.Errorf("without a session (-want +got):\n%s", diff)
	}
}
