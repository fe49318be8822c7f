//go:build net

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/netd/internal/api"
)

// gracefulLeaf is a watchedSite whose tor1 is an FRR that restarts gracefully.
func gracefulLeaf(t *testing.T) (*site, *lab.FRR) {
	t.Helper()
	var f *lab.FRR
	s := watchedBy(t, func(s *site) {
		f = s.frr("tor1", fmt.Sprintf(leafFRR, " bgp graceful-restart\n bgp graceful-restart preserve-fw-state"))
	})
	return s, f
}

// whole waits until BGP and BFD of gw-a are there, at both ends.
func (s *site) whole() {
	s.Helper()
	within(s.T, time.Minute, "all sessions of gw-a", s.gw["gw-a"].Established)
	within(s.T, time.Minute, "BFD on gw-a", func(ctx context.Context) error { return s.watched(ctx, "gw-a") })
}

// A leaf whose BGP is killed and started again, under BFD, keeps its routes. When bgpd
// alone dies, bfdd says Down a few milliseconds later, which the agent may hear of
// first; when both do, BFD falls silent. When bgpd is back it makes its BFD session anew,
// and would end BGP again if that had been Up.
func leafRestartsWithBFD(t *testing.T) {
	t.Parallel()
	s, f := gracefulLeaf(t)
	for i, daemons := range []string{"bgpd", "bgpd bfdd", "bgpd", "bfdd bgpd", "bgpd", "bgpd", "bgpd", "bfdd bgpd"} {
		s.reaches("gw-a", "gw-c")
		stop := s.flow("gw-a", "gw-c")
		routes, err := s.hosts["gw-a"].Start(fmt.Sprint("routes", i), "ip", "monitor", "route")
		s.must(err)
		for _, d := range strings.Fields(daemons) {
			s.must(f.Daemons[d].Signal(syscall.SIGKILL))
		}
		within(t, time.Minute, "BFD to be lost", func(ctx context.Context) error {
			if s.watched(ctx, "gw-a") == nil {
				return errors.New("it is Up")
			}
			return nil
		})
		<-time.After(500 * time.Millisecond) // of the flow without BGP and BFD
		for _, d := range []string{"bfdd", "bgpd"} {
			if strings.Contains(daemons, d) {
				<-f.Daemons[d].Done()
				s.must(f.Restart(t.Context(), d))
			}
		}
		s.whole()
		sent, lost := stop()
		routes.Stop()
		t.Logf("restart %d of %s: %d of %d packets lost at 100/s or more", i, daemons, lost, sent)
		for _, line := range strings.Split(routes.Tail(1000), "\n") {
			if strings.HasPrefix(line, "Deleted 10.64.3.0/26") {
				t.Errorf("restart %d of %s: the route has left: %s", i, daemons, line)
			}
		}
	}
}

// A leaf that could restart gracefully, and falls silent with its BGP Established, is
// left at once: nobody waits for a word of its BGP.
func TestSilentLeafIsLeftAtOnce(t *testing.T) {
	s, f := gracefulLeaf(t)
	const prefix, atOnce = "10.64.3.0/26", 150 * time.Millisecond // of BFD's word; a wait is 250 ms
	for range 3 {
		within(t, time.Minute, "the route", func(context.Context) error {
			if s.links("gw-a", prefix) == 0 {
				return errors.New("there is none")
			}
			return nil
		})
		for _, d := range f.Daemons {
			s.must(d.Signal(syscall.SIGSTOP))
		}
		for deadline := time.Now().Add(time.Minute); s.links("gw-a", prefix) > 0; {
			if time.Now().After(deadline) {
				t.Fatal("the route stays")
			}
		}
		left := time.Now()
		var peers []api.Peer
		s.must(s.gw["gw-a"].JSON(t.Context(), &peers, "peers"))
		for _, d := range f.Daemons {
			s.must(d.Signal(syscall.SIGCONT))
		}
		if len(peers) != 1 || peers[0].BFD == nil || !peers[0].BFD.Lost {
			t.Fatalf("the route has left, and BFD is not lost: %+v", peers)
		}
		took := left.Sub(peers[0].BFD.Since)
		t.Logf("left %s after BFD noticed", took)
		if took > atOnce {
			t.Errorf("the route left %s after BFD noticed", took)
		}
		s.whole()
	}
}
