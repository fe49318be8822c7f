//go:build vm

package daemon_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A full mesh is native inside a subnet and tunnelled across.
func TestMesh(t *testing.T) {
	s := newSite(t, "mesh.toml")
	s.router()
	s.gateway("gw-a", "tor1")
	s.gateway("gw-b", "tor1")
	s.gateway("gw-c", "tor2")
	s.converged()
	s.explains("gw-a", "10.64.2.0/26", "native via 10.0.1.12 dev uplink0", "from gw-b")
	s.explains("gw-a", "10.64.3.0/26", "ipip via 10.0.2.13 dev netd-ipip0", "from gw-c")
}

// reflector starts a BIRD beside the gateways of tor1 that reflects between clients.
func (s *site) reflector(name, address string, clients ...string) {
	s.Helper()
	s.host(name)
	s.must(s.net.Wire(s.Context(), s.hosts[name], "eth0", s.hosts["tor1"], name))
	s.run("tor1", "ip link set "+name+" master br0")
	s.run(name, "ip addr add "+address+"/24 dev eth0\n ip route add default via 10.0.1.1")
	conf := "router id " + address + ";\nlog stderr all;\nprotocol device {}\nprotocol direct { ipv4; }\nprotocol static { ipv4; route 10.0.2.0/24 via 10.0.1.1; }\n"
	for i, c := range clients {
		conf += fmt.Sprintf(`protocol bgp gw%d {
	local %s as 65100;
	neighbor %s as 65100;
	rr client;
	multihop;
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	ipv4 { import all; export where source = RTS_BGP; };
}
`, i, address, c)
	}
	s.bird(name, conf)
}

// meshLike expects what a full mesh has.
func (s *site) meshLike() {
	s.Helper()
	s.converged()
	s.explains("gw-a", "10.64.2.0/26", "native via 10.0.1.12 dev uplink0")
	s.explains("gw-a", "10.64.3.0/26", "ipip via 10.0.2.13 dev netd-ipip0")
	s.explains("gw-c", "10.64.1.0/26", "ipip via 10.0.1.11 dev netd-ipip0")
	s.explains("gw-c", "10.64.2.0/26", "ipip via 10.0.1.12 dev netd-ipip0")
}

// Clients of two reflectors; one of these goes without a word and is not missed.
func TestReflector(t *testing.T) {
	s := newSite(t, "reflector.toml")
	s.router()
	s.reflector("rr1", "10.0.1.5", "10.0.1.11", "10.0.1.12", "10.0.2.13")
	s.reflector("rr2", "10.0.1.6", "10.0.1.11", "10.0.1.12", "10.0.2.13")
	s.gateway("gw-a", "tor1")
	s.gateway("gw-b", "tor1")
	s.gateway("gw-c", "tor2")
	s.meshLike()
	s.explains("gw-a", "10.64.3.0/26", "from rr1", "from rr2")
	monitor, err := s.hosts["gw-a"].Start("monitor", "ip", "-4", "monitor", "route")
	s.must(err)
	s.birds["rr1"].Kill()
	s.explains("gw-a", "10.64.3.0/26", "ipip via 10.0.2.13 dev netd-ipip0", "from rr2")
	within(t, time.Minute, "rr1 to be missed", func(ctx context.Context) error {
		out, err := s.gw["gw-a"].Ask(ctx, "peers")
		if err == nil && strings.Count(out, "Established") != 1 {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
	s.allReach()
	monitor.Stop()
	if lines := monitor.Tail(20); strings.Contains(lines, "10.64.") {
		t.Errorf("routes moved on gw-a, though rr2 says the same:\n%s", lines)
	}
}

// A gateway reflects for the two others.
func TestNetdReflector(t *testing.T) {
	s := newSite(t, "netd-reflector.toml")
	s.router()
	s.gateway("gw-a", "tor1")
	s.gateway("gw-b", "tor1")
	s.gateway("gw-c", "tor2")
	s.meshLike()
	s.explains("gw-c", "10.64.2.0/26", "from gw-a, next hop 10.0.1.12")
	// The reflector restarts: what it reflected stays.
	stop := s.flow("gw-b", "gw-c")
	s.restart("gw-a", syscall.SIGTERM, binary(t))
	s.meshLike()
	if sent, lost := stop(); lost > 0 {
		t.Errorf("%d of %d packets between its clients lost while the reflector restarted", lost, sent)
	}
}
