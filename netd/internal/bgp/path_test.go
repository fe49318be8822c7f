package bgp

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }
func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addresses() cmp.Options {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
}

func nextHop(s string) *api.Attribute {
	return &api.Attribute{Attr: &api.Attribute_NextHop{NextHop: &api.NextHopAttribute{NextHop: s}}}
}

func asPath(segments ...[]uint32) *api.Attribute {
	a := &api.AsPathAttribute{}
	for _, s := range segments {
		a.Segments = append(a.Segments, &api.AsSegment{Numbers: s})
	}
	return &api.Attribute{Attr: &api.Attribute_AsPath{AsPath: a}}
}

func med(n uint32) *api.Attribute {
	return &api.Attribute{Attr: &api.Attribute_MultiExitDisc{MultiExitDisc: &api.MultiExitDiscAttribute{Med: n}}}
}

func mpReach(hops ...string) *api.Attribute {
	return &api.Attribute{Attr: &api.Attribute_MpReach{MpReach: &api.MpReachNLRIAttribute{NextHops: hops}}}
}

func TestLearned(t *testing.T) {
	names := map[string]string{"10.0.1.1": "tor1", "10.0.2.13": "gw-c"}
	tests := []struct {
		name string
		d    *api.Destination
		want []Path
	}{
		{"BGP's order, without our own path", &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "10.0.2.13", Pattrs: []*api.Attribute{nextHop("10.0.2.13"), asPath([]uint32{65103})}},
			{NeighborIp: "<nil>", Pattrs: []*api.Attribute{nextHop("0.0.0.0")}},
			{NeighborIp: "10.0.1.1", Stale: true, Pattrs: []*api.Attribute{nextHop("10.0.1.1"), asPath([]uint32{65001, 65002}, []uint32{65103})}},
		}}, []Path{
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.2.13"), Peer: "gw-c", ASPath: []uint32{65103}},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.1.1"), Peer: "tor1", Rank: 1, ASPath: []uint32{65001, 65002, 65103}, Stale: true},
		}},
		{"a multiprotocol next hop", &api.Destination{Prefix: "0.0.0.0/0", Paths: []*api.Path{
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{mpReach("10.0.1.1", "fe80::1")}},
		}}, []Path{{Prefix: pfx("0.0.0.0/0"), NextHop: ip("10.0.1.1"), Peer: "tor1"}}},
		{"a path that can not be used does not spoil the next", &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "10.0.2.13", Pattrs: []*api.Attribute{nextHop("nonsense")}},
			{NeighborIp: "10.0.2.13"},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{nextHop("10.0.1.1")}},
		}}, []Path{{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.1.1"), Peer: "tor1"}}},
		{"two paths of one merit, a longer one, one with another MED", &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{nextHop("10.0.1.1"), asPath([]uint32{65001})}},
			{NeighborIp: "10.0.2.13", Pattrs: []*api.Attribute{nextHop("10.0.2.13"), asPath([]uint32{65103})}},
			{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{nextHop("10.0.1.1"), asPath([]uint32{65001, 65001})}},
			{NeighborIp: "10.0.2.13", Pattrs: []*api.Attribute{nextHop("10.0.2.13"), asPath([]uint32{65103, 65103}), med(7)}},
		}}, []Path{
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.1.1"), Peer: "tor1", ASPath: []uint32{65001}},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.2.13"), Peer: "gw-c", ASPath: []uint32{65103}},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.1.1"), Peer: "tor1", Rank: 2, ASPath: []uint32{65001, 65001}},
			{Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.2.13"), Peer: "gw-c", Rank: 3, ASPath: []uint32{65103, 65103}},
		}},
		{"a session that is not configured (any more)", &api.Destination{Prefix: "10.64.3.0/26", Paths: []*api.Path{
			{NeighborIp: "192.0.2.1", Pattrs: []*api.Attribute{nextHop("192.0.2.1")}},
		}}, nil},
		{"no prefix", &api.Destination{Prefix: "10.64.3.0", Paths: []*api.Path{{NeighborIp: "10.0.1.1", Pattrs: []*api.Attribute{nextHop("10.0.1.1")}}}}, nil},
		{"nothing", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, learned(tt.d, names), addresses()); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPeerState(t *testing.T) {
	peers := []Peer{{Name: "tor1", Address: ip("10.0.1.1"), AS: 65001}, {Name: "gw-c", Address: ip("10.0.2.13"), AS: 65103, Gateway: true}}
	at := time.Unix(1767225600, 0).UTC()
	timers := &api.Timers{State: &api.TimersState{Uptime: timestamppb.New(at), Downtime: timestamppb.New(at.Add(-time.Hour))}}
	family := []*api.AfiSafi{{
		State:             &api.AfiSafiState{Received: 12, Accepted: 2},
		MpGracefulRestart: &api.MpGracefulRestart{State: &api.MpGracefulRestartState{EndOfRibReceived: true}},
	}}
	tests := []struct {
		name string
		p    *api.Peer
		want PeerState // without a name: not one of ours
	}{
		{"established", &api.Peer{
			State:  &api.PeerState{NeighborAddress: "10.0.1.1", SessionState: api.PeerState_SESSION_STATE_ESTABLISHED},
			Timers: timers, AfiSafis: family,
		}, PeerState{Name: "tor1", Address: ip("10.0.1.1"), AS: 65001, State: "Established", Since: at, Received: 12, Accepted: 2, Sent: 3, EndOfRIB: true}},
		{"lost: End-of-RIB was for another life", &api.Peer{
			State: &api.PeerState{
				NeighborAddress: "10.0.2.13", SessionState: api.PeerState_SESSION_STATE_ACTIVE,
				DisconnectReason: api.PeerState_DISCONNECT_REASON_HOLD_TIMER_EXPIRED, DisconnectMessage: "hold-timer-expired",
			},
			Timers: timers, AfiSafis: family,
		}, PeerState{
			Name: "gw-c", Address: ip("10.0.2.13"), AS: 65103, Gateway: true, State: "Active", Since: at.Add(-time.Hour), Received: 12, Accepted: 2,
			Reason: "hold-timer-expired",
		}},
		{"too many prefixes", &api.Peer{State: &api.PeerState{
			NeighborAddress: "10.0.1.1", SessionState: api.PeerState_SESSION_STATE_IDLE, AdminState: api.PeerState_ADMIN_STATE_PFX_CT,
		}}, PeerState{Name: "tor1", Address: ip("10.0.1.1"), AS: 65001, State: "Idle", Reason: "sent more prefixes than max-prefixes"}},
		{"never up", &api.Peer{State: &api.PeerState{NeighborAddress: "10.0.1.1"}},
			PeerState{Name: "tor1", Address: ip("10.0.1.1"), AS: 65001, State: "Idle"}},
		{"not configured", &api.Peer{State: &api.PeerState{NeighborAddress: "192.0.2.1"}}, PeerState{}},
		{"no address", &api.Peer{}, PeerState{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := peerState(tt.p, peers, 3)
			if diff := cmp.Diff(tt.want, got, addresses()); diff != "" || ok != (tt.want.Name != "") {
				t.Errorf("known: %v; state (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func TestSettled(t *testing.T) {
	up := PeerState{State: "Established", EndOfRIB: true}
	for want, snapshots := range map[bool][]Snapshot{
		true: {{}, {Peers: []PeerState{up, up}, configured: 2}},
		false: {
			{Peers: []PeerState{up}, configured: 2},
			{Peers: []PeerState{up, {State: "Established"}}, configured: 2},
			{Peers: []PeerState{{State: "Active", EndOfRIB: true}}, configured: 1},
		},
	} {
		for _, s := range snapshots {
			if got := s.Settled(); got != want {
				t.Errorf("settled: %v, want %v for %+v", got, want, s)
			}
		}
	}
}

// Of two gateways exactly one connects.
func TestOneOfTwoWaits(t *testing.T) {
	c := Config{HoldTime: 9 * time.Second, ConnectRetry: 5 * time.Second}
	a, b := ip("10.0.1.9"), ip("10.0.1.12") // not in the order of their text
	passive := func(local, remote netip.Addr, gateway bool) bool {
		return c.peer(Peer{Name: "x", Address: remote, Local: local, Gateway: gateway}, false).GetTransport().GetPassiveMode()
	}
	if !passive(a, b, true) || passive(b, a, true) {
		t.Error("the gateway with the lower address waits, the other connects")
	}
	if passive(a, b, false) || passive(b, a, false) {
		t.Error("a gateway never waits for a ToR")
	}
}

func TestLastWords(t *testing.T) {
	var out bytes.Buffer
	l := &lastWords{out: &out}
	for range 100 {
		if _, err := l.Write([]byte(strings.Repeat("x", 99) + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = l.Write([]byte("panic: at last\n"))
	if got := l.String(); !strings.HasSuffix(got, "\npanic: at last") || len(got) > keptOctets || out.Len() != 100*100+15 {
		t.Errorf("kept %d octets that end in %q, passed on %d", len(got), got[max(0, len(got)-20):], out.Len())
	}
}
