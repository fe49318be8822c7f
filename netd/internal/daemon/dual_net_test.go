//go:build net

package daemon_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/netd/internal/api"
)

const dualBird = `router id 10.0.1.1;
log stderr all;
protocol device { scan time 1; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
template bgp any {
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 2;
	hold time 9;
	ipv4 { next hop self ebgp; import where net ~ [ 10.64.0.0/16+ ]; export all; };
	ipv6 { next hop self ebgp; import where net ~ [ 2001:db8:64::/48+ ]; export all; };
}
protocol bgp fabric from any { local 10.0.12.1 as 65001; neighbor 10.0.12.2 as 65002; }
protocol bgp gwa from any { local 10.0.1.1 as 65001; neighbor 10.0.1.11 as 65101; }
protocol bgp gwb from any { local 10.0.1.1 as 65001; neighbor 10.0.1.12 as 65102; }
`

const dualFRR = `router bgp 65002
 bgp router-id 10.0.2.1
 no bgp ebgp-requires-policy
 neighbor 10.0.12.1 remote-as 65001
 neighbor 10.0.12.1 timers connect 1
 neighbor 2001:db8:2::13 remote-as 65103
 neighbor 2001:db8:2::13 timers connect 1
 neighbor 2001:db8:2::13 graceful-restart-helper
 address-family ipv4 unicast
  neighbor 2001:db8:2::13 activate
  neighbor 2001:db8:2::13 next-hop-self
 exit-address-family
 address-family ipv6 unicast
  neighbor 10.0.12.1 activate
  neighbor 2001:db8:2::13 activate
  neighbor 2001:db8:2::13 next-hop-self
 exit-address-family
`

// dualSite is dual-stack.toml with a BIRD, spoken to over IPv4, and an FRR, over IPv6.
func dualSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "dual-stack.toml")
	for i, tor := range []string{"tor1", "tor2"} {
		s.tor(tor, fmt.Sprintf("10.0.%d.1/24", i+1))
		s.run(tor, fmt.Sprintf(`
			sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.br0.disable_ipv6=0
			ip addr add 2001:db8:%d::1/64 dev br0 nodad`, i+1))
	}
	s.fabric("tor1", "tor2")
	for i, tor := range []string{"tor1", "tor2"} {
		s.run(tor, fmt.Sprintf(`
			sysctl -qw net.ipv6.conf.fabric.disable_ipv6=0
			ip addr add 2001:db8:12::%d/64 dev fabric nodad`, i+1))
	}
	s.bird("tor1", dualBird)
	_, err := s.hosts["tor2"].FRR(t.Context(), map[string]string{"bgpd": dualFRR})
	s.must(err)
	s.gateway("gw-a", "tor1")
	s.gateway("gw-b", "tor1")
	s.gateway("gw-c", "tor2")
	return s
}

// family makes the site's pods be known by their addresses of one family; those that
// have none are not known.
func (s *site) family(is func(netip.Addr) bool) {
	s.Helper()
	for name, gw := range s.gw {
		delete(s.pod, name)
		var pods []api.Pod
		s.must(gw.JSON(s.Context(), &pods, "pods"))
		for _, p := range pods {
			for _, a := range p.Addresses {
				if is(a) {
					s.pod[name] = a.String()
				}
			}
		}
	}
}

// Pods of both families, and of IPv6 alone, reach one another natively, over sessions
// of either family; a restart loses no packet of IPv6 either.
func TestDualStack(t *testing.T) {
	t.Parallel()
	s := dualSite(t)
	for name, gw := range s.gw {
		within(t, time.Minute, "all sessions of "+name, gw.Established)
	}
	for what, is := range map[string]func(netip.Addr) bool{"IPv4": netip.Addr.Is4, "IPv6": netip.Addr.Is6} {
		s.family(is)
		if want := map[string]int{"IPv4": 2, "IPv6": 3}[what]; len(s.pod) != want {
			t.Errorf("%d pods have %s, want %d: %v", len(s.pod), what, want, s.pod)
		}
		for from := range s.pod {
			for to := range s.pod {
				s.reaches(from, to)
			}
		}
	}
	s.explains("gw-a", "10.64.3.0/26", "native via 10.0.1.1 dev uplink0", "AS path [65001 65002 65103]")
	s.explains("gw-a", "2001:db8:64:3::/64", "native via 2001:db8:1::1 dev uplink0", "AS path [65001 65002 65103]")
	s.explains("gw-c", "10.64.1.0/26", "native via 10.0.2.1 dev uplink0", "AS path [65002 65001 65101]")
	s.explains("gw-c", "2001:db8:64:2::/64", "native via ", "dev uplink0", "AS path [65002 65001 65102]")
	within(t, 30*time.Second, "the kernel's routes of IPv6", func(ctx context.Context) error {
		out, err := s.hosts["gw-a"].Run(ctx, "ip", "-6", "route", "show", "proto", "120")
		for _, want := range []string{"blackhole 2001:db8:64:1::/64", "2001:db8:64:2::/64 nhid", "2001:db8:64:3::/64 nhid"} {
			if err == nil && !strings.Contains(out, want) {
				err = fmt.Errorf("no %q in\n%s", want, out)
			}
		}
		return err
	})

	s.family(netip.Addr.Is6)
	monitor, err := s.hosts["tor1"].Start("monitor6", "ip", "-6", "monitor", "route")
	s.must(err)
	stops := []func() (int, int){s.flow("gw-a", "gw-c"), s.flow("gw-c", "gw-a")}
	s.restart("gw-a", syscall.SIGKILL, binary(t))
	s.restart("gw-c", syscall.SIGTERM, binary(t))
	for i, stop := range stops {
		if sent, lost := stop(); lost > 0 {
			t.Errorf("flow %d of IPv6: %d of %d packets lost over two restarts", i, lost, sent)
		}
	}
	monitor.Stop()
	if seen := monitor.Tail(20); seen != "" {
		t.Errorf("routes of IPv6 moved on the ToR:\n%s", seen)
	}
}
