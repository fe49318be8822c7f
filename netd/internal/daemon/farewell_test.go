package daemon

import (
	"slices"
	"testing"

	"netd/netd/internal/bfd"
	"netd/netd/internal/bgp"
	"netd/netd/internal/intent"
)

func TestFarewell(t *testing.T) {
	one, two := bfd.Session{Peer: "tor1"}, bfd.Session{Peer: "tor2"}
	up := []bgp.PeerState{{Name: "tor1", State: "Established"}, {Name: "tor2", State: "Established"}}
	for name, c := range map[string]struct {
		want  []bfd.Session
		about map[string]intent.About
		peers []bgp.PeerState
		next  []bfd.Session
	}{
		"all stay":            {[]bfd.Session{one, two}, map[string]intent.About{"tor1": {}, "tor2": {}}, up, []bfd.Session{one, two}},
		"an order ends one":   {[]bfd.Session{two}, map[string]intent.About{"tor1": {Shutdown: true}, "tor2": {}}, up, []bfd.Session{two, one}},
		"it has ended":        {[]bfd.Session{two}, map[string]intent.About{"tor1": {Shutdown: true}, "tor2": {}}, up[1:], []bfd.Session{two}},
		"one is taken out":    {[]bfd.Session{two}, map[string]intent.About{"tor2": {}}, up, []bfd.Session{two, one}},
		"BFD alone is off":    {[]bfd.Session{two}, map[string]intent.About{"tor1": {}, "tor2": {}}, up, []bfd.Session{two}},
		"BFD without BGP yet": {[]bfd.Session{one}, map[string]intent.About{"tor1": {}}, nil, []bfd.Session{one}},
	} {
		t.Run(name, func(t *testing.T) {
			f := farewell{watched: []bfd.Session{one, two}}
			if got := f.with(c.want, c.about, c.peers); !slices.Equal(got, c.next) {
				t.Errorf("%+v, want %+v", got, c.next)
			}
		})
	}
}
