package bgp

import "testing"

func TestSettled(t *testing.T) {
	up := PeerState{State: "Established", EndOfRIB: true}
	type known struct {
		peers      []PeerState
		configured int
	}
	for want, cases := range map[bool][]known{
		true: {
			{},
			{[]PeerState{up, up}, 2},
			{[]PeerState{up, {State: "Idle", Shutdown: true}, {State: "Established", EndOfRIB: true, Range: "rack-7"}}, 2},
		},
		false: {
			{[]PeerState{up}, 2},
			{[]PeerState{up, {State: "Established"}}, 2},
			{[]PeerState{up, {State: "Established", EndOfRIB: true, Range: "rack-7"}}, 2},
			{[]PeerState{{State: "Active", EndOfRIB: true}}, 1},
		},
	} {
		for _, c := range cases {
			if got := settled(c.peers, c.configured); got != want {
				t.Errorf("settled: %v, want %v for %+v", got, want, c)
			}
		}
	}
}
