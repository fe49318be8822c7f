package bgp

import "testing"

func TestSettled(t *testing.T) {
	up := PeerState{State: "Established", EndOfRIB: true}
	for want, snapshots := range map[bool][]Snapshot{
		true: {
			{}, {Peers: []PeerState{up, up}, configured: 2},
			{Peers: []PeerState{up, {State: "Idle", Shutdown: true}, {State: "Established", EndOfRIB: true, Range: "rack-7"}}, configured: 2},
		},
		false: {
			{Peers: []PeerState{up}, configured: 2},
			{Peers: []PeerState{up, {State: "Established"}}, configured: 2},
			{Peers: []PeerState{up, {State: "Established", EndOfRIB: true, Range: "rack-7"}}, configured: 2},
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
