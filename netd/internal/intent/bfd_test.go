package intent

import (
	"net/netip"
	"testing"

	"netd/netd/config"
	"netd/netd/internal/bfd"
	"netd/netd/internal/bgp"
)

// Of how many hops BFD with the ToR of single.toml is.
func TestSessionMode(t *testing.T) {
	tests := []struct {
		name string
		as   uint32
		hops int
		mode config.BFDMode
		was  *bfd.Status
		mute bool
		want bool // multihop
	}{
		{"eBGP", 65001, 1, config.BFDAutomatic, nil, false, false},
		{"eBGP multihop", 65001, 2, config.BFDAutomatic, nil, false, true},
		{"eBGP by choice", 65001, 1, config.BFDMultihop, nil, false, true},
		{"iBGP", 65101, 1, config.BFDAutomatic, nil, false, true},
		{"iBGP by choice", 65101, 1, config.BFDSingleHop, nil, false, false},
		{"iBGP that is not heard yet", 65101, 1, config.BFDAutomatic, &bfd.Status{Session: bfd.Session{Multihop: true}}, false, true},
		{"iBGP that is long not heard", 65101, 1, config.BFDAutomatic, &bfd.Status{Session: bfd.Session{Multihop: true}}, true, false},
		{"iBGP of one hop", 65101, 1, config.BFDAutomatic, &bfd.Status{}, false, false},
		{"neither was heard", 65101, 1, config.BFDAutomatic, &bfd.Status{}, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := load(t, "single.toml", "")
			p := &c.BGP.Peers[0]
			p.AS, p.Multihop, p.BFD = tt.as, tt.hops, &config.BFD{SessionMode: tt.mode}
			f := Facts{Uplinks: here(c), Mute: map[string]bool{p.Name: tt.mute}}
			if tt.was != nil {
				s := *tt.was
				s.Peer, s.Remote, s.Local = p.Name, p.Address, netip.MustParseAddr("10.0.1.11")
				f.BFD = []bfd.Status{s}
			}
			s := Compile(Sources{Config: c}, f).Sessions
			if len(s.BFD.Sessions) != 1 || s.BFD.Sessions[0].Multihop != tt.want {
				t.Errorf("%+v, want multihop: %v", s.BFD.Sessions, tt.want)
			}
			if either := tt.as == 65101 && tt.mode == config.BFDAutomatic; (len(s.Undecided) == 1) != either {
				t.Errorf("undecided: %v", s.Undecided)
			}
		})
	}
}

// Each capability that a file can name is one that the speaker knows.
func TestCapabilities(t *testing.T) {
	for _, name := range config.Capabilities() {
		if !bgp.KnowsCapability(string(name)) {
			t.Errorf("the speaker does not know %s", name)
		}
	}
}
