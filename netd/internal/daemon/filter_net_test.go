//go:build net

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// filterBird is a ToR that also has networks outside the pools, and takes all.
func filterBird(tor int) string {
	text := torBird{
		id: fmt.Sprintf("10.0.%d.1", tor), as: fmt.Sprintf("6500%d", tor), export: podsOnly + " || proto = \"more\"",
		gateways: map[string]string{fmt.Sprintf("10.0.%d.11", tor): "65101", fmt.Sprintf("10.0.%d.13", tor): "65103"},
	}.String()
	text = strings.ReplaceAll(text, "import where net ~ [ 10.64.0.0/16+ ]", "import all")
	return text + fmt.Sprintf(`protocol static more {
	ipv4;
	route 192.168.7.0/24 blackhole { bgp_community.add((6500%[1]d, 100)); };
	route 192.168.8.0/24 blackhole;
	route 10.64.9.0/26 blackhole { bgp_path.prepend(9); bgp_path.prepend(9); bgp_path.prepend(9); bgp_path.prepend(9); bgp_path.prepend(9); };
	route 10.64.1.0/28 blackhole;
}
`, tor)
}

// preferredToR brings up the example with a copy of its file, to be changed.
func preferredToR(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "preferred-tor.toml")
	text, err := os.ReadFile(s.config)
	s.must(err)
	s.config = filepath.Join(s.net.Dir, "preferred-tor.toml")
	s.must(os.WriteFile(s.config, text, 0o644))
	for tor := 1; tor <= 2; tor++ {
		name := fmt.Sprintf("tor%d", tor)
		s.tor(name, fmt.Sprintf("10.0.%d.1/24", tor))
		s.bird(name, filterBird(tor))
	}
	s.gateway("gw-a", "tor1", "tor2")
	s.gateway("gw-c", "tor1", "tor2")
	s.converged()
	return s
}

// explained waits until netd explain prints this.
func (s *site) explained(gw, prefix, want string) {
	s.Helper()
	within(s.T, 30*time.Second, "what "+gw+" explains", func(ctx context.Context) error {
		out, err := s.gw[gw].Ask(ctx, "explain", prefix)
		if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), out); err == nil && diff != "" {
			err = errors.New("(-want +got)\n" + diff)
		}
		return err
	})
}

// hears waits until a ToR's BIRD has the prefix from the gateway with all the words, or
// has it not if there are none.
func (s *site) hears(tor, prefix, from string, words ...string) {
	s.Helper()
	within(s.T, 30*time.Second, fmt.Sprintf("%s of %s at %s", prefix, from, tor), func(ctx context.Context) error {
		out, err := s.birds[tor].Ask(ctx, "show route "+prefix+" all where from = "+from)
		has := strings.Contains(out, "BGP.as_path")
		if len(words) == 0 && !has {
			return nil
		}
		for _, w := range words {
			if err == nil && !strings.Contains(out, w) {
				err = fmt.Errorf("no %q in\n%s", w, out)
			}
		}
		if err == nil && len(words) == 0 {
			err = errors.New(out)
		}
		return err
	})
}

func TestPreferredToR(t *testing.T) {
	t.Parallel()
	s := preferredToR(t)
	s.explained("gw-a", "10.64.3.0/26", `
10.64.3.0/26: native via 10.0.1.1 dev uplink0, because tor1 routes it: next hop 10.0.1.1 is on the subnet of uplink0
* from tor1, next hop 10.0.1.1, AS path [65001 65103]: tor1 routes it: next hop 10.0.1.1 is on the subnet of uplink0
  from tor2, next hop 10.0.2.1, AS path [65002 65103 65103 65103]: tor2 routes it: next hop 10.0.2.1 is on the subnet of uplink1
kernel: via 10.0.1.1 dev uplink0 src 10.0.1.11
filters: tor1 told 10.64.3.0/26 via 10.0.1.1, AS path 65001 65103, communities 4200000000:1:64: accepted by pools
         from-tors/prefer-tor1: local-preference 200
filters: tor2 told 10.64.3.0/26 via 10.0.2.1, AS path 65002 65103 65103 65103, communities 4200000000:1:64: accepted by pools
`)
	s.explained("gw-a", "192.168.7.1", `
192.168.7.0/24: native via 10.0.1.1 dev uplink0, because tor1 routes it: next hop 10.0.1.1 is on the subnet of uplink0
* from tor1, next hop 10.0.1.1, AS path [65001]: tor1 routes it: next hop 10.0.1.1 is on the subnet of uplink0
  from tor2, next hop 10.0.2.1, AS path [65002]: tor2 routes it: next hop 10.0.2.1 is on the subnet of uplink1
kernel: via 10.0.1.1 dev uplink0 src 10.0.1.11
filters: tor1 told 192.168.7.0/24 via 10.0.1.1, AS path 65001, communities 65001:100: accepted by from-tors/storage
         from-tors/prefer-tor1: local-preference 200
filters: tor2 told 192.168.7.0/24 via 10.0.2.1, AS path 65002, communities 65002:100: accepted by from-tors/storage
`)
	s.explained("gw-a", "192.168.8.0/24", `
192.168.8.0/24: no prefix that netd knows covers it
kernel: look up route to 192.168.8.0: network is unreachable
filters: tor1 told 192.168.8.0/24 via 10.0.1.1, AS path 65001: refused by the-rest
         from-tors/prefer-tor1: local-preference 200
filters: tor2 told 192.168.8.0/24 via 10.0.2.1, AS path 65002: refused by the-rest
`)
	s.explains("gw-a", "10.64.9.1", "filters: tor2 told 10.64.9.0/26 via 10.0.2.1, AS path 65002 9 9 9 9 9: refused by from-tors/far")
	s.explains("gw-a", "10.64.1.0/28", "filters: tor1 told 10.64.1.0/28 via 10.0.1.1, AS path 65001: refused by own-prefix",
		"filters: tor2 is told 10.64.1.0/26, AS path 65101, communities 4200000000:1:64, by own-only\n         to-tors/away-from-tor2: prepend 2")
	s.hears("tor1", "10.64.1.0/26", "10.0.1.11", "BGP.as_path: 65101\n", "BGP.large_community: (4200000000, 1, 64)")
	s.hears("tor2", "10.64.1.0/26", "10.0.2.11", "BGP.as_path: 65101 65101 65101\n")

	// The other ToR is taken when the one that is liked better goes.
	s.run("tor1", "ip link set gw-a down")
	s.explains("gw-a", "10.64.3.0/26", "10.64.3.0/26: native via 10.0.2.1 dev uplink1")
	s.run("tor1", "ip link set gw-a up")
	s.explains("gw-a", "10.64.3.0/26", "10.64.3.0/26: native via 10.0.1.1 dev uplink0")
}

// A prefix is announced while there is a way to it, and what has none is dropped; other
// filters take effect by a reload, without a session's end.
func TestAnnounceAndReload(t *testing.T) {
	t.Parallel()
	s := preferredToR(t)
	const lan = "192.0.2.0/24"
	s.hears("tor1", lan, "10.0.1.11")
	s.run("gw-a", `
		ip link add lan0 type veth peer name lan0host
		ip link set lan0host up
		ip link set lan0 up
		ip addr add 192.0.2.1/25 dev lan0`)
	s.hears("tor1", lan, "10.0.1.11", "BGP.as_path: 65101\n", "BGP.community: (65535,65281)")
	s.explains("gw-a", "192.0.2.200", "192.0.2.0/24: blackhole", "what of it has no route of its own is dropped")
	s.explains("gw-a", "192.0.2.2", "kernel: directly dev lan0")
	// A route of someone's for all of it takes the place of the blackhole.
	s.run("gw-a", "ip route add 192.0.2.0/24 via 192.0.2.9 dev lan0")
	s.explains("gw-a", "192.0.2.200", "no prefix that netd knows covers it", "kernel: via 192.0.2.9 dev lan0")
	s.run("gw-a", "ip route del 192.0.2.0/24")
	s.explains("gw-a", "192.0.2.200", "192.0.2.0/24: blackhole")
	s.run("gw-a", "ip link set lan0host down") // no carrier
	s.hears("tor1", lan, "10.0.1.11")
	s.run("gw-a", "ip link set lan0host up")
	s.hears("tor1", lan, "10.0.1.11", "BGP.as_path: 65101\n")

	before := s.up("tor1", "gw1")
	text, err := os.ReadFile(s.config)
	s.must(err)
	changed := strings.NewReplacer("local-preference = 200", "local-preference = 50", `add-communities = ["no-export"]`, `action = "reject"`,
		"[[bgp.announce]]\nprefix = \"192.0.2.0/24\"", "[[bgp.announce]]\nprefix = \"198.51.100.1/32\"\nalways = true\ncommunities = [\"65101:7\"]").Replace(string(text))
	s.must(os.WriteFile(s.config, []byte(changed), 0o644))
	// The ToRs tell a part of our block, which stays a problem whatever is reloaded.
	out, err := s.gw["gw-a"].Ask(t.Context(), "reload")
	if said := fmt.Sprint(out, err); !strings.Contains(said, "in use: ") || !strings.Contains(said, "is announced as 10.64.1.0/28 by AS 65001") {
		t.Fatalf("%v\n%s", err, out)
	}
	s.explains("gw-a", "10.64.3.0/26", "10.64.3.0/26: native via 10.0.2.1 dev uplink1", "from-tors/prefer-tor1: local-preference 50")
	s.hears("tor1", lan, "10.0.1.11")
	s.hears("tor1", "198.51.100.1/32", "10.0.1.11", "BGP.community: (65101,7)")
	s.explains("gw-a", "198.51.100.1", "198.51.100.1/32: blackhole")
	// BIRD reckons the time anew at each question; another session takes it a second.
	if after := s.up("tor1", "gw1"); after.Sub(before).Abs() > 500*time.Millisecond {
		t.Errorf("the session is up since %s before the reload, and since %s after it", before, after)
	}
}

// up is since when a session of a ToR is up, today.
func (s *site) up(tor, protocol string) time.Time {
	s.Helper()
	out, err := s.birds[tor].Ask(s.Context(), "show protocols "+protocol)
	s.must(err)
	_, since, found := strings.Cut(out, " up ")
	if f := strings.Fields(since); found && len(f) == 2 && f[1] == "Established" {
		at, err := time.Parse("15:04:05.999", f[0])
		s.must(err)
		return at
	}
	s.Fatalf("%s of %s is not up:\n%s", protocol, tor, out)
	return time.Time{}
}
