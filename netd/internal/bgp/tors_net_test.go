//go:build net

package bgp

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/rib"
)

// site is a speaker in the test's own namespace and two ToRs, one of each kind:
//
//	        gateway
//	uplink1 |     | uplink2     10.0.N.0/24 and 2001:db8:N::/64
//	     bird --- frr           10.0.9.0/30, the way to what is two hops away
type site struct {
	*Speaker
	wanted Wanted
	end    func(cause error) // of the speaker
	follower
	log   *logbook
	hosts [2]*lab.Host
}

// follower makes of news what is known.
type follower struct {
	news  News // the last
	peers []PeerState
	table map[netip.Prefix]*rib.Paths
}

// Snapshot is all that is known of a speaker at one moment.
type Snapshot struct {
	Peers []PeerState
	Paths []Path
}

// Path is one path of a table.
type Path struct {
	Prefix  netip.Prefix
	NextHop netip.Addr
	Peer    string
	Rank    int
	ASPath  []uint32
	Stale   bool
	Rule    rib.Rule
}

// take adds what is new.
func (f *follower) take(n News) {
	if f.news = n; n.Peers != nil {
		f.peers = n.Peers
	}
	if n.Paths.Whole || f.table == nil {
		f.table = map[netip.Prefix]*rib.Paths{}
	}
	for _, e := range n.Paths.Entries {
		if f.table[e.Prefix] = e.Paths; e.Paths == nil {
			delete(f.table, e.Prefix)
		}
	}
}

// snapshot takes what is new, and returns all that is known. A speaker that is away is
// an error.
func (f *follower) snapshot(s *Speaker) (Snapshot, error) {
	f.take(s.Take())
	if f.news.Problem != nil {
		return Snapshot{}, f.news.Problem
	}
	if f.news.Away {
		return Snapshot{}, ErrAway
	}
	snap := Snapshot{Peers: f.peers}
	for _, prefix := range slices.SortedFunc(maps.Keys(f.table), netip.Prefix.Compare) {
		for _, p := range f.table[prefix].List {
			snap.Paths = append(snap.Paths, Path{prefix, p.NextHop, p.Peer, p.Rank, p.ASPath, p.Stale, f.table[prefix].Rule})
		}
	}
	return snap, nil
}

// The numbers of the ToRs, in addresses and prefixes.
const (
	birdToR = 1
	frrToR  = 2
)

func newSite(t *testing.T) *site {
	t.Helper()
	ctx := t.Context()
	dir, err := os.MkdirTemp("", "tors-") // t.TempDir is closed to the speaker's user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n, err := lab.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{log: new(logbook)}
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
			for _, l := range logs {
				b, _ := os.ReadFile(l)
				t.Logf("=== %s\n%s", filepath.Base(l), b[max(0, len(b)-6000):])
			}
			t.Logf("=== speaker\n%s", s.log)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	// IPv6 as on a gateway, and at once.
	setUp := []string{"sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv4.ip_nonlocal_bind=0"}
	for _, line := range append(setUp, "ip link set lo up") {
		ownnet.Command(t, line)
	}
	for i, name := range []string{"bird", "frr"} {
		h, err := n.Host(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		s.hosts[i] = h
		tor := i + 1
		on(t, h, setUp[0]+" net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")
		ownnet.Command(t, fmt.Sprintf("ip link add uplink%d type veth peer name rack netns %s", tor, h.Netns()))
		on(t, h, "ip link set rack up")
		ownnet.Command(t, fmt.Sprintf("ip link set uplink%d up", tor))
	}
	if err := n.Wire(ctx, s.hosts[0], "cross", s.hosts[1], "cross"); err != nil {
		t.Fatal(err)
	}
	for i, h := range s.hosts {
		tor := i + 1
		on(t, h, fmt.Sprintf("ip addr add 10.0.9.%d/30 dev cross", tor))
		on(t, h, fmt.Sprintf("ip addr add 10.0.%d.1/24 dev rack", tor))
		ownnet.Command(t, fmt.Sprintf("ip addr add 10.0.%d.2/24 dev uplink%[1]d", tor))
	}
	for i, h := range s.hosts {
		on(t, h, fmt.Sprintf("ip route add 10.0.%d.0/24 via 10.0.9.%[1]d", 2-i))
		ownnet.Command(t, fmt.Sprintf("ip route add 10.0.9.%d via 10.0.%d.1", i+1, 2-i))
	}
	return s
}

// on runs a command on a host.
func on(t *testing.T, h *lab.Host, line string) string {
	t.Helper()
	out, err := h.Run(t.Context(), strings.Fields(line)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// address gives the gateway or a ToR one more address.
func (s *site) address(t *testing.T, tor int, own, theirs netip.Addr) {
	t.Helper()
	bits := map[bool]int{true: 24, false: 64}[own.Is4()]
	ownnet.Command(t, fmt.Sprintf("ip addr add %s/%d dev uplink%d", own, bits, tor))
	if theirs.IsValid() {
		on(t, s.hosts[tor-1], fmt.Sprintf("ip addr add %s/%d dev rack", theirs, bits))
	}
}

// speak starts the speaker.
func (s *site) speak(t *testing.T, c Config, originate ...netip.Prefix) {
	t.Helper()
	s.wanted = Wanted{c, Prefixes(originate...)}
	s.Speaker, _, s.end = runSpeaker(t, s.wanted, s.log)
}

// configure and originate change half of what is wanted each.
func (s *site) configure(c Config) {
	s.wanted.Config = c
	s.Set(s.wanted)
}

func (s *site) originate(origins ...Origin) {
	s.wanted.Origins = origins
	s.Set(s.wanted)
}

// peer is a session's state.
func (s Snapshot) peer(name string) PeerState {
	i := slices.IndexFunc(s.Peers, func(p PeerState) bool { return p.Name == name })
	if i < 0 {
		return PeerState{}
	}
	return s.Peers[i]
}

// from are the paths that a peer has told.
func (s Snapshot) from(name string) []Path {
	return slices.DeleteFunc(slices.Clone(s.Paths), func(p Path) bool { return p.Peer != name })
}

// until waits for the speaker's snapshot to be as said.
func (s *site) until(t *testing.T, what string, cond func(Snapshot) error) Snapshot {
	t.Helper()
	var snap Snapshot
	ownnet.Within(t, time.Minute, what, func() (err error) {
		if snap, err = s.snapshot(s.Speaker); err != nil {
			return err
		}
		return cond(snap)
	})
	return snap
}

// established waits for sessions.
func (s *site) established(t *testing.T, names ...string) Snapshot {
	t.Helper()
	return s.until(t, "sessions", func(snap Snapshot) error {
		var errs []error
		for _, name := range names {
			if p := snap.peer(name); !p.Established() || !p.EndOfRIB {
				errs = append(errs, fmt.Errorf("%s: %+v", name, p))
			}
		}
		return errors.Join(errs...)
	})
}
