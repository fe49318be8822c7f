//go:build net

package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/firmware/lab"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/rib"
)

// block is what the gateway originates, with its like in IPv6.
var block, block6 = pfx("10.64.1.0/26"), pfx("2001:db8:64:1::/64")

// times are those of sessions in tests.
func times(s Session) Session {
	if s.HoldTime == 0 {
		s.HoldTime, s.Keepalive = 30*time.Second, 10*time.Second
	}
	if s.MaxPrefixes == 0 {
		s.MaxPrefixes = 100
	}
	s.ConnectRetry = time.Second
	return s
}

// trial is one kind of session, tried with each kind of ToR.
type trial struct {
	name string
	ours Session
	// bird and frr are the ToR's own options; NEIGHBOUR is our address.
	bird, frr string
	// as is the ToR's, and seen is ours as the ToR sees it.
	as, seen uint32
	// v6 sessions are between IPv6 addresses; far ones are two hops apart.
	v6, far bool
	// prepend is what the ToR puts in front of its path.
	prepend uint32
	// refused: the session must not come up. silent: it comes up, and the path is not taken.
	refused, silent bool
}

// trials are in an order that gives each its addresses.
func trials() []trial {
	return []trial{
		{name: "ebgp", as: 65001},
		{name: "four-octets", as: 4200000001},
		{name: "local-as", as: 65001, ours: Session{LocalAS: 65201}, seen: 65201},
		{name: "own-as-once", as: 65001, ours: Session{AllowOwnAS: 1}, prepend: 65101},
		{name: "own-as-never", as: 65001, prepend: 65101, silent: true},
		{name: "passive", as: 65001, ours: Session{Passive: true}},
		{name: "peer-passive", as: 65001, bird: "passive on;", frr: "neighbor NEIGHBOUR passive"},
		{name: "md5", as: 65001, ours: Session{Password: "a-secret"}, bird: `password "a-secret";`, frr: "neighbor NEIGHBOUR password a-secret"},
		{name: "wrong-md5", as: 65001, ours: Session{Password: "right"}, bird: `password "wrong";`, frr: "neighbor NEIGHBOUR password wrong", refused: true},
		{name: "gtsm", as: 65001, ours: Session{GTSM: true}, bird: "ttl security on;", frr: "neighbor NEIGHBOUR ttl-security hops 1"},
		// What a default of gtsm = true would mean with a ToR that knows nothing of it.
		{name: "gtsm-alone", as: 65001, ours: Session{GTSM: true}, refused: true},
		{name: "multihop", as: 65001, ours: Session{TTL: 2}, far: true, bird: "multihop 2;", frr: "neighbor NEIGHBOUR ebgp-multihop 2"},
		{name: "too-far", as: 65001, far: true, bird: "multihop 2;", frr: "neighbor NEIGHBOUR ebgp-multihop 2", refused: true},
		{name: "multihop-gtsm", as: 65001, ours: Session{TTL: 2, GTSM: true}, far: true, bird: "multihop 2; ttl security on;", frr: "neighbor NEIGHBOUR ttl-security hops 2"},
		{name: "timers", as: 65001, ours: Session{HoldTime: 12 * time.Second, Keepalive: 2 * time.Second}},
		{name: "ibgp", as: 65101},
		{name: "ipv6", as: 65001, v6: true},
	}
}

// index is the trial's place, of which its addresses are made.
func (tr trial) index() int {
	return slices.IndexFunc(trials(), func(o trial) bool { return o.name == tr.name }) + 10
}

// ends are our address and the ToR's.
func (tr trial) ends(tor int) (own, theirs netip.Addr) {
	i := tr.index()
	switch {
	case tr.v6:
		return ip(fmt.Sprintf("2001:db8:%d::1:%d", tor, i)), ip(fmt.Sprintf("2001:db8:%d::2:%d", tor, i))
	case tr.far: // by way of the other ToR
		return ip(fmt.Sprintf("10.0.%d.%d", 3-tor, 100+i)), ip(fmt.Sprintf("10.0.%d.%d", 20+tor, i))
	}
	return ip(fmt.Sprintf("10.0.%d.%d", tor, 100+i)), ip(fmt.Sprintf("10.0.%d.%d", tor, i))
}

// prefix is what the ToR announces in this session.
func (tr trial) prefix(tor int) netip.Prefix {
	return pfx(fmt.Sprintf("10.64.%d.0/26", tor*100+tr.index()))
}

func (tr trial) peerName(tor int) string {
	return tr.name + map[int]string{birdToR: "-bird", frrToR: "-frr"}[tor]
}

func (tr trial) peer(tor int) Peer {
	own, theirs := tr.ends(tor)
	s := times(tr.ours)
	s.AS = tr.as
	return Peer{Name: tr.peerName(tor), Address: theirs, Local: own, Session: s}
}

// seenAS is our AS as the ToR sees it.
func (tr trial) seenAS() uint32 {
	if tr.seen != 0 {
		return tr.seen
	}
	return 65101
}

func (tr trial) protocol() string { return "to_" + strings.ReplaceAll(tr.name, "-", "_") }

const birdHead = `router id 10.0.1.1;
log stderr all;
protocol device {}
`

// inBIRD is the trial in BIRD's words.
func (tr trial) inBIRD() string {
	own, theirs := tr.ends(birdToR)
	prepend, family := "", ""
	if tr.prepend != 0 {
		prepend = fmt.Sprintf("bgp_path.prepend(%d); ", tr.prepend)
	}
	if tr.v6 {
		family = "extended next hop on; "
	}
	direct := ""
	if !strings.Contains(tr.bird, "multihop") {
		direct = "direct; "
	}
	return fmt.Sprintf(`protocol static { ipv4; route %[1]s blackhole; }
protocol bgp %[2]s {
	local %[3]s as %[4]d;
	neighbor %[5]s as %[6]d;
	%[7]s%[8]s
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	ipv4 { %[9]simport all; export filter { if net = %[1]s then { %[10]saccept; } reject; }; next hop self; };
}
`, tr.prefix(birdToR), tr.protocol(), theirs, tr.as, own, tr.seenAS(), direct, tr.bird, family, prepend)
}

// frrConfig is all trials in FRR's words. An AS of its own is by local-as, but for
// iBGP, which is another instance.
func frrConfig(trs []trial) string {
	var b strings.Builder
	instance := func(head string, mine func(trial) bool) {
		fmt.Fprintf(&b, "router bgp %s\n bgp router-id 10.0.2.1\n no bgp ebgp-requires-policy\n no bgp network import-check\n no bgp default ipv4-unicast\n", head)
		var families strings.Builder
		for _, tr := range trs {
			if !mine(tr) {
				continue
			}
			own, theirs := tr.ends(frrToR)
			fmt.Fprintf(&b, " neighbor %s remote-as %d\n neighbor %[1]s update-source %[3]s\n neighbor %[1]s timers connect 1\n", own, tr.seenAS(), theirs)
			if tr.as != 65001 && tr.as != 65101 {
				fmt.Fprintf(&b, " neighbor %s local-as %d no-prepend replace-as\n", own, tr.as)
			}
			if tr.frr != "" {
				fmt.Fprintf(&b, " %s\n", strings.ReplaceAll(tr.frr, "NEIGHBOUR", own.String()))
			}
			if tr.v6 {
				fmt.Fprintf(&b, " neighbor %s capability extended-nexthop\n", own)
			}
			fmt.Fprintf(&families, "  network %s\n  neighbor %s activate\n  neighbor %[2]s route-map %[3]s out\n", tr.prefix(frrToR), own, tr.name)
		}
		fmt.Fprintf(&b, " address-family ipv4 unicast\n%s exit-address-family\n!\n", &families)
	}
	instance("65001", func(tr trial) bool { return tr.as != 65101 })
	instance("65101 view ibgp", func(tr trial) bool { return tr.as == 65101 })
	for _, tr := range trs {
		fmt.Fprintf(&b, "ip prefix-list %s seq 5 permit %s\nroute-map %[1]s permit 10\n match ip address prefix-list %[1]s\n", tr.name, tr.prefix(frrToR))
		if tr.prepend != 0 {
			fmt.Fprintf(&b, " set as-path prepend %d\n", tr.prepend)
		}
		b.WriteString("!\n")
	}
	return b.String()
}

// Every kind of session, with a BIRD and an FRR as ToRs, all at once.
func TestSessions(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		s := newSite(t)
		c := Config{AS: 65101, RouterID: ip("10.0.1.2"), Port: 179, RestartTime: 120 * time.Second, Pools: []netip.Prefix{pfx("10.64.0.0/16")}}
		birdText := birdHead
		var up []string
		for _, tr := range trials() {
			for _, tor := range []int{birdToR, frrToR} {
				own, theirs := tr.ends(tor)
				if tr.far {
					ownnet.Command(t, fmt.Sprintf("ip addr add %s/24 dev uplink%d", own, 3-tor))
					ownnet.Command(t, fmt.Sprintf("ip route add %s via 10.0.%d.1", theirs, 3-tor))
					on(t, s.hosts[2-tor], fmt.Sprintf("ip route add %s via 10.0.9.%d", theirs, tor))
					on(t, s.hosts[tor-1], fmt.Sprintf("ip addr add %s/32 dev lo", theirs))
				} else {
					s.address(t, tor, own, theirs)
				}
				c.Peers = append(c.Peers, tr.peer(tor))
				if !tr.refused {
					up = append(up, tr.peerName(tor))
				}
			}
			birdText += tr.inBIRD()
		}
		bird, err := s.hosts[0].Bird(t.Context(), birdText)
		if err != nil {
			t.Fatal(err)
		}
		frr, err := s.hosts[1].FRR(t.Context(), map[string]string{"bgpd": frrConfig(trials())})
		if err != nil {
			t.Fatal(err)
		}
		s.speak(t, c, block)
		s.established(t, up...)
		// FRR may send its End-of-RIB before its routes.
		snap := s.until(t, "paths", func(snap Snapshot) error {
			for _, tr := range trials() {
				for _, tor := range []int{birdToR, frrToR} {
					if name := tr.peerName(tor); !tr.refused && !tr.silent && len(snap.from(name)) == 0 {
						return fmt.Errorf("none from %s", name)
					}
				}
			}
			return nil
		})
		for _, tr := range trials() {
			for _, tor := range []int{birdToR, frrToR} {
				t.Run(tr.peerName(tor), func(t *testing.T) {
					tr.learned(t, tor, snap)
					if !tr.refused {
						tr.told(t, tor, bird, frr)
					}
				})
			}
		}
		s.checkTimers(t, bird, frr)
	})
}

// learned checks what the ToR has told us.
func (tr trial) learned(t *testing.T, tor int, snap Snapshot) {
	t.Helper()
	if tr.refused {
		if p := snap.peer(tr.peerName(tor)); p.Established() || p.Name == "" {
			t.Errorf("the session must not come up: %+v", p)
		}
		return
	}
	own, theirs := tr.ends(tor)
	want := []Path{{Prefix: tr.prefix(tor), NextHop: theirs, Peer: tr.peerName(tor), Rule: rib.ByPool}}
	if tr.as != 65101 {
		want[0].ASPath = []uint32{tr.as}
	}
	if tr.prepend != 0 {
		want[0].ASPath = append(want[0].ASPath, tr.prepend)
	}
	if tr.silent {
		want = []Path{}
	}
	if tr.v6 && len(snap.from(tr.peerName(tor))) == 1 {
		want[0].NextHop = snap.from(tr.peerName(tor))[0].NextHop
		if !want[0].NextHop.Is6() {
			t.Errorf("next hop %s, want an IPv6 address", want[0].NextHop)
		}
	}
	if diff := cmp.Diff(want, snap.from(tr.peerName(tor)), addresses()); diff != "" {
		t.Errorf("from %s to %s (-want +got):\n%s", theirs, own, diff)
	}
}

// told checks what we have told the ToR.
func (tr trial) told(t *testing.T, tor int, bird *lab.Bird, frr *lab.FRR) {
	t.Helper()
	own, _ := tr.ends(tor)
	ownnet.Within(t, 20*time.Second, "our block at the ToR", func() error {
		var out string
		var err error
		want := []string{block.String()}
		if tor == birdToR {
			out, err = bird.Ask(t.Context(), "show route all protocol "+tr.protocol())
			path := fmt.Sprintf("BGP.as_path: %d\n", tr.seenAS())
			if tr.as == 65101 {
				path = "BGP.as_path: \n"
			}
			want = append(want, path, "BGP.next_hop: "+own.String())
		} else {
			view := ""
			if tr.as == 65101 {
				view = "view ibgp "
			}
			out, err = frr.Ask(t.Context(), fmt.Sprintf("show bgp %sipv4 unicast neighbors %s routes", view, own))
			path := fmt.Sprintf(" %d i\n", tr.seenAS())
			if tr.as == 65101 {
				path = " i\n"
			}
			want = append(want, path)
		}
		if err != nil {
			return err
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				return fmt.Errorf("no %q in\n%s", w, out)
			}
		}
		return nil
	})
}

// checkTimers asks the ToRs which times were agreed upon.
func (s *site) checkTimers(t *testing.T, bird *lab.Bird, frr *lab.FRR) {
	t.Helper()
	out, err := bird.Ask(t.Context(), "show protocols all to_timers")
	if err != nil || !strings.Contains(out, "/12") {
		t.Errorf("BIRD's hold timer is not 12 s: %v\n%s", err, out)
	}
	own, _ := trial{name: "timers"}.ends(frrToR)
	out, err = frr.Ask(t.Context(), "show bgp neighbors "+own.String())
	if err = errors.Join(err, contains(out, "Hold time is 12 seconds")); err != nil {
		t.Error(err)
	}
}

// contains says what of the words a text lacks.
func contains(text string, words ...string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("no %q in\n%s", w, text)
		}
	}
	return nil
}
