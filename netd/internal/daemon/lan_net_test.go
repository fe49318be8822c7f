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
)

const lanBird = `router id 10.0.1.1;
log stderr all;
protocol device { scan time 1; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
protocol static { ipv4; route 0.0.0.0/0 blackhole; }
protocol static { ipv6; route ::/0 blackhole; }
protocol bgp gw1 {
	local 10.0.1.1 as 65001;
	neighbor 10.0.1.11 as 65101;
	connect delay time 1; connect retry time 1; error wait time 1, 2; hold time 9;
	ipv4 { import all; export where net = 0.0.0.0/0; };
	ipv6 { import all; export where net = ::/0; };
}
`

// device makes a host on a port of the gateway.
func (s *site) device(name, port string, lan, number int) {
	s.Helper()
	s.host(name)
	// The gateway brings its end up.
	s.must(s.net.Command(s.Context(), "ip", "link", "add", port, "netns", s.hosts["gw-a"].Netns(), "type", "veth", "peer", "name", "eth0", "netns", s.hosts[name].Netns()))
	s.run(name, "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0")
	s.plug(name, lan, number)
}

// plug gives a device carrier, its addresses and its router, which is the gateway.
func (s *site) plug(name string, lan, number int) {
	s.Helper()
	s.run(name, fmt.Sprintf(`
		ip link set eth0 up
		ip addr replace 192.168.%[1]d.%[2]d/24 dev eth0
		ip addr replace 2001:db8:%[1]d::%[2]d/64 dev eth0 nodad
		ip route replace default via 192.168.%[1]d.1
		ip -6 route replace default via 2001:db8:%[1]d::1`, lan, number))
}

// lanSite is lan.toml with its ToR and devices, with the machines' prefix announced too and
// metrics for everybody.
func lanSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "lan.toml")
	s.tor("tor1", "10.0.1.1/24")
	s.run("tor1", `
		sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.br0.disable_ipv6=0
		ip addr add 2001:db8:1::1/64 dev br0 nodad`)
	s.bird("tor1", lanBird)
	text, err := os.ReadFile(s.config)
	s.must(err)
	s.config = filepath.Join(s.net.Dir, "lan.toml")
	s.must(os.WriteFile(s.config, append(text, "[[bgp.announce]]\nprefix = \"192.168.20.0/24\"\n[management]\nmetrics = \"0.0.0.0:9179\"\n"...), 0o644))
	s.gateway("gw-a", "tor1")
	s.converged()
	return s
}

// pings waits until a host or pod is answered, or holds that it is not.
func (s *site) pings(from string, may bool, to ...string) {
	s.Helper()
	run := func(ctx context.Context, wait, address string) error {
		args := []string{"ping", "-c", "1", "-W", wait, address}
		if from == "pod" {
			_, err := s.gw["gw-a"].InPod(ctx, "pod-gw-a", args...)
			return err
		}
		_, err := s.hosts[from].Run(ctx, args...)
		return err
	}
	for _, address := range to {
		if may {
			within(s.T, 30*time.Second, from+" to reach "+address, func(ctx context.Context) error { return run(ctx, "1", address) })
		} else if run(s.Context(), "0.5", address) == nil {
			s.Errorf("%s reaches %s", from, address)
		}
	}
}

// status waits until netd status has all the words, and none of those after a "!".
func (s *site) status(words ...string) {
	s.Helper()
	within(s.T, 30*time.Second, fmt.Sprintf("a status with %q", words), func(ctx context.Context) error {
		out, err := s.gw["gw-a"].Ask(ctx, "status")
		for _, w := range words {
			word, absent := strings.CutPrefix(w, "!")
			if err == nil && strings.Contains(out, word) == absent {
				err = fmt.Errorf("%q in\n%s", w, out)
			}
		}
		return err
	})
}

// The example as it stands, with what it asks for around it: who reaches whom, what the
// ToR is told while the ports have carrier, and that nothing is left of LANs that are not
// wanted any more.
func TestLANs(t *testing.T) {
	t.Parallel()
	s := lanSite(t)
	s.status("PROBLEM  LAN cameras: there is no link named eth1", "PROBLEM  LAN machines: there is no link named eth2 and none named eth3 for the bridge")
	s.device("camera", "eth1", 10, 2)
	s.device("controller", "eth2", 20, 2)
	s.device("panel", "eth3", 20, 3)
	s.status("lan      cameras 192.168.10.1/24 2001:db8:10::1/64, MTU 1500, carrier", "lan      machines 192.168.20.1/24 2001:db8:20::1/64, MTU 1500, carrier", "!PROBLEM")
	s.hears("tor1", "192.168.10.0/24", "10.0.1.11", "BGP.as_path: 65101\n")
	s.hears("tor1", "2001:db8:10::/64", "10.0.1.11", "BGP.as_path: 65101\n")

	pod, pod6 := s.pod["gw-a"], ""
	out, err := s.gw["gw-a"].Ask(t.Context(), "pods")
	s.must(err)
	if _, pod6, _ = strings.Cut(out, pod+" "); pod6 != "" {
		pod6 = strings.Fields(pod6)[0]
	}
	s.pings("controller", true, "192.168.20.3", "2001:db8:20::3", "192.168.10.2", "2001:db8:10::2", pod, pod6)
	s.pings("camera", true, "10.0.1.1", "2001:db8:1::1", pod, pod6, "192.168.10.1", "10.0.1.11")
	s.pings("tor1", true, "192.168.10.2", "2001:db8:10::2", "192.168.20.2")
	s.pings("pod", true, "192.168.10.2", "2001:db8:10::2", "192.168.20.3", "2001:db8:20::3")
	s.pings("camera", false, "192.168.20.2", "2001:db8:20::2", "192.168.20.3")
	for _, port := range []string{"179", "9179"} {
		for from, may := range map[string]bool{"tor1": true, "camera": false, "panel": false} {
			wait := map[bool]string{true: "10", false: "0.5"}[may]
			for _, at := range []string{"10.0.1.11", "2001:db8:1::11"} {
				if port == "9179" && strings.Contains(at, ":") {
					continue // it is told at 0.0.0.0
				}
				if _, err := s.hosts[from].Run(t.Context(), "timeout", wait, "bash", "-c", "exec 3<>/dev/tcp/"+at+"/"+port); (err == nil) != may {
					t.Errorf("port %s of %s from %s: %v", port, at, from, err)
				}
			}
		}
	}
	s.carriers()

	// Who may begin is turned round in place; the bridge is not touched.
	before := s.ifIndex("machines")
	s.change("forward-to = [\"cameras\"]\n", "", "2001:db8:10::1/64\"]\n", "2001:db8:10::1/64\"]\nforward-to = [\"machines\"]\n")
	s.pings("camera", true, "192.168.20.2", "2001:db8:20::3")
	s.pings("controller", false, "192.168.10.2", "2001:db8:10::2")
	if after := s.ifIndex("machines"); after != before {
		t.Errorf("the bridge was %s and is %s", before, after)
	}
	s.gone()
}

// carriers takes the ports' carriers away and gives them back.
func (s *site) carriers() {
	s.Helper()
	s.run("camera", "ip link set eth0 down")
	s.hears("tor1", "192.168.10.0/24", "10.0.1.11")
	s.hears("tor1", "2001:db8:10::/64", "10.0.1.11")
	s.status("lan      cameras 192.168.10.1/24 2001:db8:10::1/64, MTU 1500, no carrier", "!PROBLEM")
	s.run("controller", "ip link set eth0 down")
	s.pings("tor1", true, "192.168.20.3")
	s.hears("tor1", "192.168.20.0/24", "10.0.1.11", "BGP.as_path: 65101\n")
	s.run("panel", "ip link set eth0 down")
	s.hears("tor1", "192.168.20.0/24", "10.0.1.11")
	s.status("lan      machines 192.168.20.1/24 2001:db8:20::1/64, MTU 1500, no carrier")
	s.plug("camera", 10, 2)
	s.plug("controller", 20, 2)
	s.plug("panel", 20, 3)
	for _, prefix := range []string{"192.168.10.0/24", "2001:db8:10::/64", "192.168.20.0/24"} {
		s.hears("tor1", prefix, "10.0.1.11", "BGP.as_path: 65101\n")
	}
	s.pings("tor1", true, "192.168.10.2", "2001:db8:10::2", "192.168.20.2", "192.168.20.3")
}

// ifIndex is the number of a link of the gateway.
func (s *site) ifIndex(link string) string {
	s.Helper()
	out, err := s.hosts["gw-a"].Run(s.Context(), "ip", "-o", "link", "show", "dev", link)
	s.must(err)
	number, _, _ := strings.Cut(out, ":")
	return number
}

// change makes replacements in the configuration and has it read.
func (s *site) change(replace ...string) {
	s.Helper()
	text, err := os.ReadFile(s.config)
	s.must(err, os.WriteFile(s.config, []byte(strings.NewReplacer(replace...).Replace(string(text))), 0o644))
	if out, err := s.gw["gw-a"].Ask(s.Context(), "reload"); err != nil {
		s.Fatalf("%v\n%s", err, out)
	}
}

// gone kills the agent, and starts one without LANs: of these nothing is left.
func (s *site) gone() {
	s.Helper()
	s.gw["gw-a"].Kill()
	text, err := os.ReadFile(s.config)
	s.must(err)
	before, rest, _ := strings.Cut(string(text), "[[lan]]")
	_, rest, _ = strings.Cut(rest, "[bgp]")
	s.must(os.WriteFile(s.config, []byte(before+"[bgp]"+rest), 0o644))
	again, err := s.hosts["gw-a"].Netd(s.Context(), binary(s.T), s.config, lab.Gateway{Name: "gw-a"})
	s.must(err)
	s.gw["gw-a"] = again
	within(s.T, time.Minute, "the session", again.Established)
	s.status("!lan ", "!PROBLEM")
	s.hears("tor1", "192.168.10.0/24", "10.0.1.11")
	s.hears("tor1", "192.168.20.0/24", "10.0.1.11")
	within(s.T, 30*time.Second, "nothing of LANs to be left", func(ctx context.Context) error {
		var errs []error
		for command, words := range map[string]string{
			"ip -d link": "bridge LAN", "ip addr": "192.168. 2001:db8:10: 2001:db8:20:", "ip route": "192.168.", "ip -6 route": "2001:db8:10: 2001:db8:20:",
			"nft list table inet netd": "lan cameras machines", "ip link show dev cameras": ",UP", "ip link show dev eth2": ",UP master", "ip link show dev eth3": ",UP master",
		} {
			out, err := s.hosts["gw-a"].Run(ctx, strings.Fields(command)...)
			errs = append(errs, err)
			for _, w := range strings.Fields(words) {
				if strings.Contains(out, w) {
					errs = append(errs, fmt.Errorf("%s: %q is left:\n%s", command, w, out))
				}
			}
		}
		return errors.Join(errs...)
	})
}
