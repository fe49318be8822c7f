package gobgp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestPeerState(t *testing.T) {
	c := Config{
		Peers: []Peer{
			{Name: "tor1", Address: ip("10.0.1.1"), Session: Session{AS: 65001, MaxPrefixes: 20, WarnPercent: 80}},
			{Name: "gw-c", Address: ip("10.0.2.13"), Session: Session{AS: 65103, Gateway: true}},
		},
		Ranges: []Range{
			{Name: "all", Prefix: pfx("2001:db8::/32"), Session: Session{AS: 65100}},
			{Name: "rack-7", Prefix: pfx("2001:db8:7::/64"), Session: Session{AS: 65107}},
		},
	}
	at := time.Unix(1767225600, 0).UTC()
	timers := &api.Timers{State: &api.TimersState{Uptime: timestamppb.New(at), Downtime: timestamppb.New(at.Add(-time.Hour))}}
	carried := func(f *api.Family, received uint64, end bool) *api.AfiSafi {
		return &api.AfiSafi{
			Config:            &api.AfiSafiConfig{Family: f},
			State:             &api.AfiSafiState{Received: received},
			MpGracefulRestart: &api.MpGracefulRestart{State: &api.MpGracefulRestartState{EndOfRibReceived: end}},
		}
	}
	family := []*api.AfiSafi{carried(ipv4(), 12, true), carried(ipv6(), 0, false)}
	speaking := func(address string, families ...*api.Family) *api.PeerState {
		s := &api.PeerState{NeighborAddress: address, SessionState: api.PeerState_SESSION_STATE_ESTABLISHED}
		for _, f := range families {
			s.RemoteCap = append(s.RemoteCap, &api.Capability{Cap: &api.Capability_MultiProtocol{MultiProtocol: &api.MultiProtocolCapability{Family: f}}})
		}
		return s
	}
	tests := []struct {
		name string
		p    *api.Peer
		want PeerState // without a name: not one of ours
	}{
		{
			"established, with a peer that speaks no IPv6", &api.Peer{State: speaking("10.0.1.1", ipv4()), Timers: timers, AfiSafis: family},
			PeerState{Name: "tor1", Address: ip("10.0.1.1"), AS: 65001, State: "Established", Since: at, Received: 12, Sent: 1, EndOfRIB: true},
		},
		{
			"one that announces no family", &api.Peer{State: speaking("10.0.1.1"), Timers: timers, AfiSafis: family},
			PeerState{Name: "tor1", Address: ip("10.0.1.1"), AS: 65001, State: "Established", Since: at, Received: 12, Sent: 1, EndOfRIB: true},
		},
		{"both families, of which one is not complete", &api.Peer{
			State: speaking("10.0.1.1", ipv4(), ipv6()), Timers: timers, AfiSafis: []*api.AfiSafi{carried(ipv4(), 3, true), carried(ipv6(), 16, false)},
		}, PeerState{
			Name: "tor1", Address: ip("10.0.1.1"), AS: 65001, State: "Established", Since: at, Received: 19, Sent: 3,
			Warning: "16 prefixes, and max-prefixes is 20",
		}},
		{"one of the longest range", &api.Peer{State: speaking("2001:db8:7::1", ipv6()), Timers: timers}, PeerState{
			Name: "rack-7[2001:db8:7::1]", Address: ip("2001:db8:7::1"), AS: 65107, Range: "rack-7", State: "Established", Since: at, EndOfRIB: true,
		}},
		{"lost: End-of-RIB was for another life", &api.Peer{
			State: &api.PeerState{
				NeighborAddress: "10.0.2.13", SessionState: api.PeerState_SESSION_STATE_ACTIVE,
				DisconnectReason: api.PeerState_DISCONNECT_REASON_HOLD_TIMER_EXPIRED, DisconnectMessage: "hold-timer-expired",
			},
			Timers: timers, AfiSafis: family,
		}, PeerState{
			Name: "gw-c", Address: ip("10.0.2.13"), AS: 65103, Gateway: true, State: "Active", Since: at.Add(-time.Hour), Received: 12,
			Reason: "hold timer expired",
		}},
		{"too many prefixes", &api.Peer{State: &api.PeerState{
			NeighborAddress: "10.0.1.1", SessionState: api.PeerState_SESSION_STATE_IDLE, AdminState: api.PeerState_ADMIN_STATE_PFX_CT,
		}}, PeerState{Name: "tor1", Address: ip("10.0.1.1"), AS: 65001, State: "Idle", Reason: "sent more prefixes than max-prefixes"}},
		{
			"never up", &api.Peer{State: &api.PeerState{NeighborAddress: "10.0.1.1"}},
			PeerState{Name: "tor1", Address: ip("10.0.1.1"), AS: 65001, State: "Idle"},
		},
		{"not configured", &api.Peer{State: &api.PeerState{NeighborAddress: "192.0.2.1"}}, PeerState{}},
		{"no address", &api.Peer{}, PeerState{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := c.PeerState(tt.p, Prefixes(pfx("10.64.1.0/26"), pfx("2001:db8:64:1::/64"), pfx("2001:db8:64:2::/64")))
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || ok != (tt.want.Name != "") {
				t.Errorf("known: %v; state (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func TestBegins(t *testing.T) {
	for flags, want := range map[uint32]bool{0: false, 4: false, 8: true, 12: true} {
		p := &api.Peer{State: &api.PeerState{RemoteCap: []*api.Capability{
			{Cap: &api.Capability_RouteRefresh{}},
			{Cap: &api.Capability_GracefulRestart{GracefulRestart: &api.GracefulRestartCapability{Flags: flags}}},
		}}}
		if got := Begins(p); got != want {
			t.Errorf("flags %#x: %v, want %v", flags, got, want)
		}
	}
	if Begins(&api.Peer{}) {
		t.Error("a peer without the capability")
	}
}
