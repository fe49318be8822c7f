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

	"netd/firmware/lab"
	"netd/netd/internal/api"
	"netd/netd/internal/ownnet"
)

// unnumberedFRR is a ToR as it comes: one neighbour, by interface.
const unnumberedFRR = `router bgp 65001
 bgp router-id 10.0.1.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor rack interface remote-as external
 neighbor rack timers connect 1
 neighbor rack password a-secret
 address-family ipv4 unicast
  network 10.64.3.0/26
 exit-address-family
`

const unnumberedBIRD = `router id 10.0.2.1;
log stderr all;
protocol device { scan time 1; }
protocol static { ipv4; route 10.64.3.0/26 blackhole; route 10.64.4.0/26 blackhole; }
protocol radv { interface "rack" { min ra interval 3; max ra interval 4; default lifetime 0; }; }
protocol bgp rack_peers {
	local as 65002;
	neighbor range fe80::/10 as 65101;
	interface "rack";
	direct;
	dynamic name "gw_a_";
	password "another";
	ipv4 { extended next hop on; import all; export all; next hop self; };
}
`

// withPasswords is a file of unnumbered peers with a password for each.
func withPasswords(t *testing.T, file string, passwords ...string) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "\ninterface = ")
	for i, password := range passwords {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
		parts[i] += fmt.Sprintf("\npassword-file = %q", path)
	}
	changed := filepath.Join(dir, "netd.toml")
	if err := os.WriteFile(changed, []byte(strings.Join(parts, "\ninterface = ")), 0o600); err != nil {
		t.Fatal(err)
	}
	return changed
}

// ToRs that are known by their links alone: an FRR and a BIRD find us, and we them,
// by router advertisements; IPv4 goes by their link-local addresses, with passwords
// (TCP's keys have no zone). A restart
// changes nothing at the ToR, and a carrier that is lost moves the routes.
func TestUnnumbered(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		ctx := t.Context()
		n := newNet(ctx, t)
		host := func(name string) *lab.Host {
			h, err := n.Host(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.Run(ctx, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0", "net.ipv6.conf.default.accept_dad=0"); err != nil {
				t.Fatal(err)
			}
			return h
		}
		gw, tor1, tor2 := host("gw-a"), host("tor1"), host("tor2")
		if err := errors.Join(n.Wire(ctx, gw, "eth0", tor1, "rack"), n.Wire(ctx, gw, "eth1", tor2, "rack")); err != nil {
			t.Fatal(err)
		}
		file := withPasswords(t, root(t)+"/configs/examples/unnumbered.toml", "a-secret", "another")
		frr, err := tor1.FRR(ctx, map[string]string{"bgpd": unnumberedFRR})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tor2.Bird(ctx, unnumberedBIRD); err != nil {
			t.Fatal(err)
		}
		g, err := gw.Netd(ctx, binary(t), file, lab.Gateway{Name: "gw-a"})
		if err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "both sessions", g.Established)
		both := func(ctx context.Context) error {
			out, err := gw.Run(ctx, "ip", "route", "show", "proto", "120")
			for _, words := range []string{"10.64.3.0/26", "10.64.4.0/26", "via inet6 fe80::", "dev uplink0", "dev uplink1"} {
				if !strings.Contains(out, words) {
					err = errors.Join(err, fmt.Errorf("no %q in\n%s", words, out))
				}
			}
			if err != nil {
				peers, _ := g.Ask(t.Context(), "routes")
				err = fmt.Errorf("%w\n%s", err, peers)
			}
			return err
		}
		within(t, 30*time.Second, "routes by both links", both)
		told := func(ctx context.Context) error {
			out, err := tor1.Run(ctx, "ip", "route", "show", "10.64.1.0/26")
			if err == nil && !strings.Contains(out, "dev rack") {
				err = fmt.Errorf("the FRR has no route to our pods: %q", out)
			}
			return err
		}
		within(t, 30*time.Second, "our block in the ToR's kernel", told)

		m := ownnet.Watch(t, "/run/netns/"+tor1.Netns())
		g.Kill()
		if err := g.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "both sessions after a restart", g.Established)
		within(t, 30*time.Second, "the restart to be over", func(ctx context.Context) error {
			var s api.Status
			if err := g.JSON(ctx, &s, "status"); err != nil || !s.Settled {
				return errors.Join(err, fmt.Errorf("settled: %v", s.Settled))
			}
			return nil
		})
		for _, line := range m.Changes(t) {
			if strings.Contains(line, "10.64.") {
				t.Errorf("the restart was seen at the ToR: %s", line)
			}
		}
		within(t, 30*time.Second, "routes by both links", both)

		// The ToR gets another link-local address, without a loss of carrier: that which the
		// other one has, as is usual with SONiC.
		linkLocal := func(tor *lab.Host) string {
			out, err := tor.Run(ctx, "ip", "-o", "-6", "addr", "show", "dev", "rack", "scope", "link")
			if err != nil || len(strings.Fields(out)) < 4 {
				t.Fatalf("%v\n%s", err, out)
			}
			return strings.Fields(out)[3]
		}
		former, other := linkLocal(tor1), linkLocal(tor2)
		begin := time.Now()
		for _, args := range [][]string{{"del", former}, {"add", other}} {
			if _, err := tor1.Run(ctx, "ip", "-6", "addr", args[0], args[1], "dev", "rack"); err != nil {
				t.Fatal(err)
			}
		}
		within(t, 40*time.Second, "the session with the ToR's other address", func(ctx context.Context) error {
			var peers []api.Peer
			if err := g.JSON(ctx, &peers, "peers"); err != nil {
				return err
			}
			for _, p := range peers {
				if p.Name == "tor1" && p.State == "Established" && p.Address.WithZone("").String()+"/64" == other {
					return nil
				}
			}
			return fmt.Errorf("%+v", peers)
		})
		t.Logf("the ToR's other address has a session after %s", time.Since(begin).Round(100*time.Millisecond))
		within(t, 30*time.Second, "routes by both links", both)

		if _, err := tor1.Run(ctx, "ip", "link", "set", "rack", "down"); err != nil {
			t.Fatal(err)
		}
		within(t, 30*time.Second, "the routes by the other link", func(ctx context.Context) error {
			out, err := gw.Run(ctx, "ip", "route", "show", "proto", "120")
			if err == nil && (strings.Contains(out, "uplink0") || !strings.Contains(out, "10.64.3.0/26")) {
				err = errors.New(out)
			}
			return err
		})
		within(t, 30*time.Second, "the reason", func(ctx context.Context) error {
			out, err := g.Ask(ctx, "peers")
			if err == nil && !strings.Contains(out, "no router advertisement was heard on uplink0") {
				err = errors.New(out)
			}
			return err
		})
		if _, err := tor1.Run(ctx, "ip", "link", "set", "rack", "up"); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "both sessions again", g.Established)
		within(t, 30*time.Second, "routes by both links", both)
		if out, err := frr.Ask(ctx, "show bgp summary"); err != nil || strings.Count(out, "gw-a") > 1 {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
