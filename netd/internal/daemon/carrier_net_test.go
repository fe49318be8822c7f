//go:build net

package daemon_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// oneWay sends packets from a pod to another's, 1,000 a second for some seconds, calls
// cut after the first, and returns how many were sent and how many did not arrive.
func (s *site) oneWay(from, to string, seconds int, cut func()) (sent, lost int) {
	s.Helper()
	run := fmt.Sprint(time.Now().UnixNano())
	arrived, err := s.gw[to].StartInPod("pod-"+to, "arrived-"+run, "tcpdump", "-i", "eth0", "-n", "-l", "--immediate-mode", "-Z", "root",
		"icmp[icmptype] == icmp-echo and src "+s.pod[from])
	s.must(err)
	within(s.T, 10*time.Second, "tcpdump to listen", func(context.Context) error {
		if out := arrived.Tail(5); !strings.Contains(out, "listening on") {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	sent = 1000 * seconds
	ping, err := s.gw[from].StartInPod("pod-"+from, "ping-"+run, "ping", "-q", "-i", "0.001", "-c", fmt.Sprint(sent), "-W", "1", s.pod[to])
	s.must(err)
	within(s.T, 10*time.Second, "the first packets to arrive", func(context.Context) error {
		if n := strings.Count(arrived.Tail(1<<30), "echo request"); n < 500 {
			return fmt.Errorf("%d have", n)
		}
		return nil
	})
	cut()
	<-ping.Done()
	got := 0
	within(s.T, 10*time.Second, "the last packet to arrive", func(context.Context) error {
		before := got
		got = strings.Count(arrived.Tail(1<<30), "echo request")
		if got != before || got == 0 {
			return fmt.Errorf("%d have, and more come", got)
		}
		return nil
	})
	arrived.Stop()
	if lost = sent - got; lost > sent/2 {
		s.Errorf("%d of %d packets lost: that is BGP's hold time, not the event", lost, sent)
	}
	return sent, lost
}

// way is the ToR through which pings from a pod to another gateway's go, and the uplink
// to it.
func (s *site) way(from, to string) (tor, uplink string) {
	s.Helper()
	link, err := s.hosts[from].Run(s.Context(), "ip", "-o", "route", "show", s.pod[from])
	s.must(err)
	_, link, _ = strings.Cut(link, " dev ")
	link, _, _ = strings.Cut(link, " ")
	out, err := s.hosts[from].Run(s.Context(), "ip", "route", "get", s.pod[to], "from", s.pod[from], "iif", link, "ipproto", "icmp")
	s.must(err)
	switch {
	case strings.Contains(out, "dev uplink0"):
		return "tor1", "uplink0"
	case strings.Contains(out, "dev uplink1"):
		return "tor2", "uplink1"
	}
	s.Fatalf("the way from the pod of %s to that of %s: %s", from, to, out)
	return "", ""
}

// twoUplinks is a site of two gateways, each with an uplink to each of two ToRs, which give
// all pods' prefixes and a default route. tor is a ToR's configuration, with another
// export.
func twoUplinks(t *testing.T) (s *site, tor func(i int, export string) string) {
	t.Helper()
	s, tor = dualToRs(t)
	s.bird("tor1", tor(1, podsOnly+" || net = 0.0.0.0/0"))
	s.bird("tor2", tor(2, podsOnly+" || net = 0.0.0.0/0"))
	s.gateway("gw-a", "tor1", "tor2")
	s.gateway("gw-c", "tor1", "tor2")
	s.converged()
	return s, tor
}

// dualToRs is twoUplinks without its BIRDs and gateways.
func dualToRs(t *testing.T) (s *site, tor func(i int, export string) string) {
	t.Helper()
	s = newSite(t, "dual-uplinks.toml")
	s.tor("tor1", "10.0.1.1/24")
	s.tor("tor2", "10.0.2.1/24")
	s.fabric("tor1", "tor2")
	fabric := map[string]string{"tor1": "10.0.12.1 10.0.12.2 65002", "tor2": "10.0.12.2 10.0.12.1 65001"}
	tor = func(i int, export string) string {
		name := fmt.Sprintf("tor%d", i)
		conf := torBird{
			id: fmt.Sprintf("10.0.%d.1", i), as: fmt.Sprintf("6500%d", i), fabric: fabric[name], export: export,
			gateways: map[string]string{fmt.Sprintf("10.0.%d.11", i): "65101", fmt.Sprintf("10.0.%d.13", i): "65103"},
		}.String()
		return strings.ReplaceAll(conf, "[ 10.64.0.0/16+ ]", "[ 10.64.0.0/16+, 10.255.0.0/24+ ]")
	}
	return s, tor
}

// An uplink that loses its carrier costs the packets of a few milliseconds, natively
// and in the tunnel, whatever BGP still believes; its ToR's session ends at once, with
// the reason, and all is as before when the carrier returns.
func TestCarrier(t *testing.T) {
	t.Parallel()
	s, tor := twoUplinks(t)
	both := func(prefix string, n int) {
		t.Helper()
		within(t, 30*time.Second, fmt.Sprintf("%s over %d links", prefix, n), func(context.Context) error {
			if have := s.links("gw-a", prefix); have != n {
				return fmt.Errorf("%d links", have)
			}
			return nil
		})
	}
	both("10.64.3.0/26", 2)
	both("default", 2)

	sent, lost := s.oneWay("gw-a", "gw-c", 4, func() { s.run("tor1", "ip link set gw-a down") })
	t.Logf("native: %d of %d packets lost", lost, sent)
	both("10.64.3.0/26", 1)
	s.explains("gw-a", "10.64.3.0/26", "native via 10.0.2.1 dev uplink1")
	if out, err := s.gw["gw-a"].Ask(t.Context(), "peers"); err != nil || !strings.Contains(out, "tor1 is on uplink0, which has no carrier") {
		t.Errorf("peers: %v\n%s", err, out)
	}
	s.run("tor1", "ip link set gw-a up")
	s.converged()
	both("10.64.3.0/26", 2)

	// The ToRs give a default route and no more: the tunnel, over both.
	for i, name := range []string{"tor1", "tor2"} {
		s.must(s.birds[name].Configure(t.Context(), tor(i+1, "net = 0.0.0.0/0")))
	}
	s.explains("gw-a", "10.64.3.0/26", "vxlan via 10.255.0.13 dev netd-vxlan0")
	both("default", 2)
	s.allReach()
	for i, uplink := range []string{"uplink0", "uplink1"} {
		name := fmt.Sprintf("tor%d", i+1)
		sent, lost := s.oneWay("gw-a", "gw-c", 4, func() { s.run(name, "ip link set gw-a down") })
		t.Logf("tunnel, without %s: %d of %d packets lost", uplink, lost, sent)
		s.explains("gw-a", "10.64.3.0/26", "vxlan via 10.255.0.13 dev netd-vxlan0")
		s.run(name, "ip link set gw-a up")
		s.converged()
		both("default", 2)
	}
}
