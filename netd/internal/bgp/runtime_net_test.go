//go:build net

package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/firmware/lab"
	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/bgp/wire"
	"netd/netd/internal/ownnet"
)

// cable is a plain eBGP session with a ToR.
type cable struct {
	tor, number int // its addresses are 10.0.tor.100+number and 10.0.tor.number
	// bird and frr are options, as in trial.
	bird, frr string
	prefixes  []string // that the ToR announces
}

func (w cable) own() netip.Addr    { return ip(fmt.Sprintf("10.0.%d.%d", w.tor, 100+w.number)) }
func (w cable) theirs() netip.Addr { return ip(fmt.Sprintf("10.0.%d.%d", w.tor, w.number)) }
func (w cable) name() string       { return fmt.Sprintf("tor%d-%d", w.tor, w.number) }

func (w cable) peer() Peer {
	s := times(Session{AS: 65001})
	s.ConnectRetry = time.Second
	return Peer{Name: w.name(), Address: w.theirs(), Local: w.own(), Session: s}
}

// inBIRD is several sessions as a whole configuration.
func inBIRD(wires ...cable) string {
	var b strings.Builder
	b.WriteString(birdHead + "debug protocols { states };\n")
	for _, w := range wires {
		fmt.Fprintf(&b, "ipv4 table t%d;\nprotocol static s%[1]d { ipv4 { table t%[1]d; };", w.number)
		for _, p := range w.prefixes {
			fmt.Fprintf(&b, " route %s blackhole;", p)
		}
		fmt.Fprintf(&b, ` }
protocol bgp to%d {
	local %[2]s as 65001;
	neighbor %[3]s as 65101;
	direct; %[4]s
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	ipv4 { table t%[1]d; import all; export where source = RTS_STATIC; next hop self; };
}
`, w.number, w.theirs(), w.own(), w.bird)
	}
	return b.String()
}

// inFRR is several sessions as a whole configuration.
func inFRR(wires ...cable) string {
	var b strings.Builder
	b.WriteString("log stdout informational\nrouter bgp 65001\n bgp router-id 10.0.2.1\n bgp log-neighbor-changes\n no bgp ebgp-requires-policy\n no bgp network import-check\n")
	for _, w := range wires {
		fmt.Fprintf(&b, " neighbor %s remote-as 65101\n neighbor %[1]s update-source %[2]s\n neighbor %[1]s timers connect 1\n", w.own(), w.theirs())
		if w.frr != "" {
			fmt.Fprintf(&b, " %s\n", strings.ReplaceAll(w.frr, "NEIGHBOUR", w.own().String()))
		}
	}
	for _, w := range wires {
		for _, p := range w.prefixes {
			fmt.Fprintf(&b, " network %s\n", p)
		}
	}
	return b.String()
}

// torsFor starts a BIRD and an FRR for the sessions.
func (s *site) torsFor(t *testing.T, wires ...cable) (*lab.Bird, *lab.FRR) {
	t.Helper()
	byToR := map[int][]cable{}
	for _, w := range wires {
		s.address(t, w.tor, w.own(), w.theirs())
		byToR[w.tor] = append(byToR[w.tor], w)
	}
	bird, err := s.hosts[0].Bird(t.Context(), inBIRD(byToR[birdToR]...))
	if err != nil {
		t.Fatal(err)
	}
	frr, err := s.hosts[1].FRR(t.Context(), map[string]string{"bgpd": inFRR(byToR[frrToR]...)})
	if err != nil {
		t.Fatal(err)
	}
	return bird, frr
}

// set gives FRR commands of its configuration.
func set(t *testing.T, frr *lab.FRR, lines ...string) {
	t.Helper()
	if out, err := frr.Ask(t.Context(), strings.Join(append([]string{"configure terminal"}, lines...), "\n")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// since counts how often the ToR's end of a session has changed its state.
func (w cable) since(t *testing.T, bird *lab.Bird, frr *lab.FRR) string {
	t.Helper()
	var out string
	var err error
	if w.tor == birdToR {
		b, err := os.ReadFile(bird.Log)
		if err = errors.Join(err, bird.Established(t.Context(), fmt.Sprintf("to%d", w.number))); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(strings.Count(string(b), fmt.Sprintf("to%d: State changed", w.number)))
	}
	out, err = frr.Ask(t.Context(), fmt.Sprintf("show bgp neighbors %s json", w.own()))
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`"connectionsEstablished":\d+,\s*"connectionsDropped":\d+`).FindString(out); found != "" {
		return found
	}
	t.Fatalf("%s is not Established:\n%s", w.name(), out)
	return ""
}

func routed(snap Snapshot, name string, prefixes ...string) error {
	got := map[string]bool{}
	for _, p := range snap.from(name) {
		got[p.Prefix.String()] = true
	}
	want := map[string]bool{}
	for _, p := range prefixes {
		want[p] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("from %s (-want +got):\n%s", name, diff)
	}
	return nil
}

// Peers are added, changed and removed, filters exchanged and prefixes originated,
// and the sessions of the others notice nothing.
func TestConfigure(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		s := newSite(t)
		var stay, change, gone, added []cable
		for _, tor := range []int{birdToR, frrToR} {
			stay = append(stay, cable{tor: tor, number: 10, prefixes: []string{fmt.Sprintf("10.64.%d.0/26", 10*tor), fmt.Sprintf("10.65.%d.0/26", 10*tor)}})
			change = append(change, cable{tor: tor, number: 11})
			gone = append(gone, cable{tor: tor, number: 12})
			added = append(added, cable{tor: tor, number: 13})
		}
		wires := append(append(append(append([]cable(nil), stay...), change...), gone...), added...)
		bird, frr := s.torsFor(t, wires...)
		c := Config{AS: 65101, RouterID: ip("10.0.1.2"), Port: 179, RestartTime: time.Minute, Pools: []netip.Prefix{pfx("10.64.0.0/16")}}
		for _, w := range wires[:6] {
			c.Peers = append(c.Peers, w.peer())
		}
		s.speak(t, c, block)
		var names []string
		for _, p := range c.Peers {
			names = append(names, p.Name)
		}
		s.established(t, names...)
		s.until(t, "paths", func(snap Snapshot) error {
			return errors.Join(routed(snap, stay[0].name(), "10.64.10.0/26"), routed(snap, stay[1].name(), "10.64.20.0/26"))
		})
		before := []string{stay[0].since(t, bird, frr), stay[1].since(t, bird, frr)}

		// Two are gone, two are new, two have a password now; the filters let more in.
		c.Pools = append(c.Pools, pfx("10.65.0.0/16"))
		c.Peers = c.Peers[:4:4]
		for i := range c.Peers[:2] {
			c.Peers[i].Description, c.Peers[i].MaxPrefixes, c.Peers[i].ConnectRetry = "moved", 50, 2*time.Second
		}
		for i := range c.Peers[2:4] {
			c.Peers[2+i].Password = "a-secret"
		}
		for _, w := range added {
			c.Peers = append(c.Peers, w.peer())
		}
		s.configure(c)
		s.originate(Prefixes(block, pfx("10.65.1.0/26"))...)
		change[0].bird = `password "a-secret";`
		all := []cable{stay[0], change[0], gone[0], added[0]}
		if err := bird.Configure(t.Context(), inBIRD(all...)); err != nil {
			t.Fatal(err)
		}
		set(t, frr, "router bgp 65001", fmt.Sprintf("neighbor %s password a-secret", change[1].own()))
		s.established(t, stay[0].name(), stay[1].name(), change[0].name(), change[1].name(), added[0].name(), added[1].name())
		snap := s.until(t, "paths of the new pool", func(snap Snapshot) error {
			return errors.Join(
				routed(snap, stay[0].name(), "10.64.10.0/26", "10.65.10.0/26"), routed(snap, stay[1].name(), "10.64.20.0/26", "10.65.20.0/26"))
		})
		for _, w := range gone {
			if p := snap.peer(w.name()); p.Name != "" {
				t.Errorf("still there: %+v", p)
			}
		}
		if got := snap.peer(stay[0].name()).Description; got != "moved" {
			t.Errorf("description %q", got)
		}
		for _, w := range stay {
			ownnet.Within(t, 20*time.Second, "both our prefixes at the ToR", func() error { return w.heard(t, bird, frr, block.String(), "10.65.1.0/26") })
		}

		// The password goes, and what the filters no longer let in.
		c.Pools = c.Pools[1:]
		c.Peers[2].Password, c.Peers[3].Password = "", ""
		s.configure(c)
		s.originate(Prefixes(pfx("10.65.1.0/26"))...)
		all[1].bird = "passive on;" // so that our listener must have forgotten it, or we
		if err := bird.Configure(t.Context(), inBIRD(all...)); err != nil {
			t.Fatal(err)
		}
		set(t, frr, "router bgp 65001", fmt.Sprintf("no neighbor %s password a-secret", change[1].own()))
		s.established(t, names[:4]...)
		s.until(t, "paths of one pool", func(snap Snapshot) error {
			return errors.Join(routed(snap, stay[0].name(), "10.65.10.0/26"), routed(snap, stay[1].name(), "10.65.20.0/26"))
		})
		after := []string{stay[0].since(t, bird, frr), stay[1].since(t, bird, frr)}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("sessions that were to stay (-before +after):\n%s", diff)
		}
	})
}

// heard tells whether the ToR has these of our prefixes, and no others.
func (w cable) heard(t *testing.T, bird *lab.Bird, frr *lab.FRR, prefixes ...string) error {
	t.Helper()
	var out string
	var err error
	if w.tor == birdToR {
		out, err = bird.Ask(t.Context(), fmt.Sprintf("show route table t%d protocol to%[1]d", w.number))
	} else {
		out, err = frr.Ask(t.Context(), fmt.Sprintf("show bgp ipv4 unicast neighbors %s routes", w.own()))
	}
	if err != nil {
		return err
	}
	got := map[string]bool{}
	for _, p := range regexp.MustCompile(`\d+\.\d+\.\d+\.\d+/\d+`).FindAllString(out, -1) {
		got[p] = true
	}
	want := map[string]bool{}
	for _, p := range prefixes {
		want[p] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("at the ToR of %s (-want +got):\n%s\n%s", w.name(), diff, out)
	}
	return nil
}

// A ToR that sends too much is cut off, and tried again by itself.
func TestMaxPrefixes(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		s := newSite(t)
		few, many := []string{"10.64.10.0/26", "10.64.11.0/26"}, []string{"10.64.10.0/26", "10.64.11.0/26", "10.64.12.0/26", "10.64.13.0/26"}
		w, other := cable{tor: birdToR, number: 10, prefixes: many[:3]}, cable{tor: frrToR, number: 10}
		bird, _ := s.torsFor(t, w, other)
		c := Config{AS: 65101, RouterID: ip("10.0.1.2"), Port: 179, RestartTime: time.Minute, Pools: []netip.Prefix{pfx("10.64.0.0/16")}, Peers: []Peer{w.peer(), other.peer()}}
		c.Peers[0].MaxPrefixes, c.Peers[0].WarnPercent, c.Peers[0].RestartAfter = 3, 80, 3*time.Second
		s.speak(t, c, block)
		s.until(t, "a warning", func(snap Snapshot) error {
			if p := snap.peer(w.name()); p.Warning != "3 prefixes, and max-prefixes is 3" {
				return fmt.Errorf("%+v", p)
			}
			return nil
		})
		w.prefixes = many
		if err := bird.Configure(t.Context(), inBIRD(w)); err != nil {
			t.Fatal(err)
		}
		s.until(t, "the session to be cut off", func(snap Snapshot) error {
			p := snap.peer(w.name())
			if p.State != "Idle" || !strings.HasPrefix(p.Reason, gobgp.TooMany+"; tried again at ") || len(snap.from(w.name())) > 0 {
				return fmt.Errorf("%+v, %d paths", p, len(snap.from(w.name())))
			}
			return nil
		})
		w.prefixes = few
		if err := bird.Configure(t.Context(), inBIRD(w)); err != nil {
			t.Fatal(err)
		}
		snap := s.established(t, w.name(), other.name())
		if p := snap.peer(w.name()); p.Reason != gobgp.TooMany || p.Warning != "" {
			t.Errorf("back again: %+v", p)
		}
		// Without a time, it is tried again when it may send more.
		c.Peers[0].RestartAfter = 0
		w.prefixes = many
		s.configure(c)
		if err := bird.Configure(t.Context(), inBIRD(w)); err != nil {
			t.Fatal(err)
		}
		s.until(t, "the session to be cut off for good", func(snap Snapshot) error {
			if p := snap.peer(w.name()); p.State != "Idle" || p.Reason != gobgp.TooMany {
				return fmt.Errorf("%+v", p)
			}
			return nil
		})
		c.Peers[0].MaxPrefixes = 4
		s.configure(c)
		s.established(t, w.name())
	})
}

// A session that is shut down says why, and one that the peer shuts down tells it.
func TestShutdown(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		s := newSite(t)
		wires := []cable{{tor: birdToR, number: 10}, {tor: frrToR, number: 10}}
		bird, frr := s.torsFor(t, wires...)
		c := Config{AS: 65101, RouterID: ip("10.0.1.2"), Port: 179, RestartTime: time.Minute, Peers: []Peer{wires[0].peer(), wires[1].peer()}}
		s.speak(t, c, block)
		s.established(t, wires[0].name(), wires[1].name())
		const why = "rack 7 moves on Monday"
		for i := range c.Peers {
			c.Peers[i].Shutdown, c.Peers[i].ShutdownMessage = true, why
		}
		s.configure(c)
		for _, w := range wires {
			ownnet.Within(t, 20*time.Second, "the ToR to know why", func() error { return w.says(t, bird, frr, why) })
		}
		s.until(t, "the sessions to end", func(snap Snapshot) error {
			for _, p := range snap.Peers {
				if p.State != "Idle" || !p.Shutdown {
					return fmt.Errorf("%+v", p)
				}
			}
			if !s.news.Settled {
				return errors.New("not settled: sessions that are shut down are not waited for")
			}
			return nil
		})
		for i := range c.Peers {
			c.Peers[i].Shutdown = false
		}
		s.configure(c)
		s.established(t, wires[0].name(), wires[1].name())
		// And the other way round.
		if _, err := bird.Ask(t.Context(), `disable to10 "the ToR's own reason"`); err != nil {
			t.Fatal(err)
		}
		set(t, frr, "router bgp 65001", fmt.Sprintf("neighbor %s shutdown message the ToR's own reason", wires[1].own()))
		s.until(t, "the ToRs' reasons", func(snap Snapshot) error {
			for _, p := range snap.Peers {
				if p.Established() || !strings.Contains(p.Reason, "the ToR's own reason") {
					return fmt.Errorf("%+v", p)
				}
			}
			return nil
		})
		// A gateway that goes down for good says so, to all at once.
		if _, err := bird.Ask(t.Context(), `enable to10`); err != nil {
			t.Fatal(err)
		}
		set(t, frr, "router bgp 65001", fmt.Sprintf("no neighbor %s shutdown", wires[1].own()))
		s.established(t, wires[0].name(), wires[1].name())
		s.end(wire.ErrLeave)
		for _, w := range wires {
			ownnet.Within(t, 20*time.Second, "the ToR to know that the gateway goes down", func() error { return w.says(t, bird, frr, wire.Leaving) })
		}
		out, err := bird.Ask(t.Context(), "show protocols all to10")
		if err = errors.Join(err, contains(out, "Administrative shutdown")); err != nil {
			t.Error(err)
		}
	})
}

// says tells whether the ToR's log has the words.
func (w cable) says(t *testing.T, bird *lab.Bird, frr *lab.FRR, words string) error {
	t.Helper()
	p := bird.Process
	if w.tor == frrToR {
		p = frr.Daemons["bgpd"]
	}
	b, err := os.ReadFile(p.Log)
	return errors.Join(err, contains(string(b), words))
}

// On drain the ToRs are asked to use other ways, and a peer that asks is the last choice.
func TestDrain(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		s := newSite(t)
		shared := "10.64.10.0/26"
		wires := []cable{{tor: birdToR, number: 10, prefixes: []string{shared}}, {tor: frrToR, number: 10, prefixes: []string{shared}}}
		bird, frr := s.torsFor(t, wires...)
		c := Config{AS: 65101, RouterID: ip("10.0.1.2"), Port: 179, RestartTime: time.Minute, Pools: []netip.Prefix{pfx("10.64.0.0/16")}, Peers: []Peer{wires[0].peer(), wires[1].peer()}}
		s.speak(t, c, block)
		s.until(t, "two equal paths", func(snap Snapshot) error {
			if len(snap.Paths) != 2 || snap.Paths[1].Rank != 0 {
				return fmt.Errorf("%+v", snap.Paths)
			}
			return nil
		})
		before := []string{wires[0].since(t, bird, frr), wires[1].since(t, bird, frr)}
		c.Drain = true
		s.configure(c)
		ownnet.Within(t, 20*time.Second, "the community at the ToRs", func() error {
			out, err := bird.Ask(t.Context(), "show route all table t10 for "+block.String())
			out2, err2 := frr.Ask(t.Context(), "show bgp ipv4 unicast "+block.String())
			return errors.Join(err, err2, contains(out, "(65535,0)"), contains(out2, "graceful-shutdown"))
		})
		c.Drain = false
		s.configure(c)
		ownnet.Within(t, 20*time.Second, "the community to go", func() error {
			out, err := bird.Ask(t.Context(), "show route all table t10 for "+block.String())
			if strings.Contains(out, "(65535,0)") {
				err = errors.New(out)
			}
			return err
		})
		after := []string{wires[0].since(t, bird, frr), wires[1].since(t, bird, frr)}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("a drain ends no session (-before +after):\n%s", diff)
		}
		set(t, frr, "router bgp 65001", "bgp graceful-shutdown")
		s.until(t, "FRR's path to be the last choice", func(snap Snapshot) error {
			if len(snap.Paths) != 2 || snap.Paths[0].Peer != wires[0].name() || snap.Paths[1].Rank != 1 {
				return fmt.Errorf("%+v", snap.Paths)
			}
			return nil
		})
	})
}

// Peers of a range come and go; those of a range that is taken away are gone.
func TestRange(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		s := newSite(t)
		wires := []cable{
			{tor: birdToR, number: 10, bird: `password "a-secret";`, prefixes: []string{"10.64.10.0/26"}},
			{tor: frrToR, number: 10, frr: "neighbor NEIGHBOUR password a-secret", prefixes: []string{"10.64.20.0/26"}},
			{tor: birdToR, number: 11},
		}
		bird, frr := s.torsFor(t, wires...)
		session := times(Session{AS: 65001, Password: "a-secret"})
		c := Config{
			AS: 65101, RouterID: ip("10.0.1.2"), Port: 179, RestartTime: time.Minute, Pools: []netip.Prefix{pfx("10.64.0.0/16")},
			Peers:  []Peer{wires[2].peer()},
			Ranges: []Range{{Name: "rack-1", Prefix: pfx("10.0.1.0/28"), Session: session}, {Name: "rack-2", Prefix: pfx("10.0.2.0/28"), Session: session}},
		}
		s.speak(t, c, block)
		s.established(t, "rack-1[10.0.1.10]", "rack-2[10.0.2.10]", wires[2].name())
		s.until(t, "paths", func(snap Snapshot) error {
			return errors.Join(routed(snap, "rack-1[10.0.1.10]", "10.64.10.0/26"), routed(snap, "rack-2[10.0.2.10]", "10.64.20.0/26"))
		})
		before := []string{wires[1].since(t, bird, frr), wires[2].since(t, bird, frr)}
		c.Ranges = c.Ranges[1:]
		s.configure(c)
		s.until(t, "the range to be gone", func(snap Snapshot) error {
			if p := snap.peer("rack-1[10.0.1.10]"); p.Name != "" || len(snap.Paths) != 1 {
				return fmt.Errorf("%+v, %+v", p, snap.Paths)
			}
			return nil
		})
		// One of the range becomes a peer of its own.
		own := wires[1].peer()
		own.Password = "a-secret"
		c.Peers = append(c.Peers, own)
		if diff := cmp.Diff(before, []string{wires[1].since(t, bird, frr), wires[2].since(t, bird, frr)}); diff != "" {
			t.Errorf("sessions that were to stay (-before +after):\n%s", diff)
		}
		s.configure(c)
		s.established(t, wires[1].name())
	})
}
