//go:build net

package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab/patience"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/rawbgp"
)

// killSpeaker ends the process as a crash does.
func killSpeaker(t *testing.T) {
	t.Helper()
	text, err := speakerPID()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(text)
	if err := errors.Join(err, syscall.Kill(pid, syscall.SIGKILL)); err != nil {
		t.Fatal(err)
	}
}

// Peers of a range are told after a restart that our routes were kept, and keep them.
func TestRangeRestarts(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		s := newSite(t)
		wires := []cable{
			{tor: birdToR, number: 10, bird: "graceful restart on;", prefixes: []string{"10.64.10.0/26"}},
			{tor: frrToR, number: 10, prefixes: []string{"10.64.20.0/26"}},
		}
		bird, frr := s.torsFor(t, wires...)
		session := times(Session{AS: 65001})
		c := Config{
			AS: 65101, RouterID: ip("10.0.1.2"), Port: 179, RestartTime: 120 * time.Second, Pools: []netip.Prefix{pfx("10.64.0.0/16")},
			Ranges: []Range{{Name: "rack-1", Prefix: pfx("10.0.1.0/28"), Session: session}, {Name: "rack-2", Prefix: pfx("10.0.2.0/28"), Session: session}},
		}
		s.speak(t, c, block)
		names := []string{"rack-1[10.0.1.10]", "rack-2[10.0.2.10]"}
		s.established(t, names...)
		has := func() error {
			inBIRD, err := bird.Ask(t.Context(), "show route table t10 for "+block.String())
			inFRR, err2 := frr.Ask(t.Context(), "show bgp ipv4 unicast "+block.String())
			return errors.Join(err, err2, contains(inBIRD, "to10"), contains(inFRR, "from "+wires[1].own().String()))
		}
		ownnet.Within(t, 20*time.Second, "our block at the ToRs", has)
		ownnet.Within(t, 10*time.Second, "the peers to be remembered", func() error {
			b, err := os.ReadFile(s.opts.Known)
			return errors.Join(err, contains(string(b), `"10.0.1.110"`, `"10.0.2.110"`))
		})
		life := s.news.Started
		killSpeaker(t)
		begin := time.Now()
		s.until(t, "the sessions of another life", func(snap Snapshot) error {
			if err := has(); err != nil {
				t.Errorf("%s after the restart: %v", time.Since(begin), err)
			}
			if !s.news.Started.After(life) {
				return errors.New("it is the same life")
			}
			var errs []error
			for _, name := range names {
				if p := snap.peer(name); !p.Established() || len(snap.from(name)) == 0 { // A young FRR has no End-of-RIB here.
					errs = append(errs, fmt.Errorf("%+v", p))
				}
			}
			return errors.Join(errs...)
		})
		t.Logf("back after %s", time.Since(begin).Round(100*time.Millisecond))
		if err := has(); err != nil {
			t.Error(err)
		}
		inBIRD, err := bird.Ask(t.Context(), "show protocols all to10")
		inFRR, err2 := frr.Ask(t.Context(), "show bgp neighbors "+wires[1].own().String())
		if err := errors.Join(err, err2, contains(inBIRD, "AF preserved: ipv4"), contains(inFRR, "IPv4 Unicast(preserved)")); err != nil {
			t.Error(err)
		}
		// What is one's own until its session ends is the range's afterwards.
		if _, err := bird.Ask(t.Context(), "restart to10"); err != nil {
			t.Fatal(err)
		}
		s.established(t, names[0])
	})
}

// After a restart those that are there are told what is ours while another peer is dead.
func TestLivePeersAreTold(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		ownnet.Command(t, "ip link set lo up")
		own, live, dead := ip("127.0.0.1"), ip("127.0.0.2"), ip("127.0.0.3")
		session := times(Session{AS: 65001, Passive: true})
		s := &site{log: new(logbook)}
		s.speak(t, Config{
			AS: 65101, RouterID: ip("10.0.1.2"), Port: ownPort, RestartTime: 120 * time.Second, Pools: []netip.Prefix{pfx("10.64.0.0/16")},
			Peers: []Peer{{Name: "live", Address: live, Local: own, Session: session}, {Name: "dead", Address: dead, Local: own, Session: session}},
		}, block)
		call := func() *rawbgp.Session {
			t.Helper()
			p, err := rawbgp.Connect(t.Context(), rawbgp.Options{
				Local: live, Remote: netip.AddrPortFrom(own, ownPort), AS: 65001, Hold: 30 * time.Second, Capabilities: unhex("4006 0078 0001 01 80"),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			if err := p.Send(rawbgp.Update(nil, nil, nil)); err != nil {
				t.Fatal(err)
			}
			return p
		}
		told := func(p *rawbgp.Session) {
			t.Helper()
			ownnet.Within(t, time.Minute, "our block and the End-of-RIB", func() error {
				if n := p.Updates(); n < 2 {
					return fmt.Errorf("%d UPDATEs", n)
				}
				return nil
			})
		}
		p := call()
		told(p)
		killSpeaker(t)
		begin := time.Now()
		select {
		case <-p.Done():
		case <-patience.After(20 * time.Second):
			t.Fatal("the session does not end with the speaker")
		}
		p = call()
		up := time.Now()
		told(p)
		if wait := time.Since(up); wait > 5*time.Second {
			t.Errorf("told %s after the session was up, want 5 s at most", wait)
		}
		t.Logf("up after %s, told after %s", up.Sub(begin).Round(10*time.Millisecond), time.Since(begin).Round(10*time.Millisecond))
		if !strings.Contains(s.log.String(), "died") {
			t.Error("the speaker did not die")
		}
	})
}
