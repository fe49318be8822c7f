//go:build net || vm

package daemon_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"netd/firmware/lab"
)

// racks are the three gateways of mesh.toml and vxlan.toml: a and b in one subnet, c
// behind the router.
func racks(t *testing.T, example string) *site {
	t.Helper()
	s := newSite(t, example)
	s.router()
	s.gateway("gw-a", "tor1")
	s.gateway("gw-b", "tor1")
	s.gateway("gw-c", "tor2")
	s.converged()
	return s
}

// shows waits until a command on a host prints all the words, and none of those
// that begin with "!".
func (s *site) shows(host, command string, words ...string) {
	s.Helper()
	within(s.T, 30*time.Second, fmt.Sprintf("%s on %s to show %q", command, host, words), func(ctx context.Context) error {
		out, err := s.hosts[host].Run(ctx, strings.Fields(command)...)
		for _, w := range words {
			without, unwanted := strings.CutPrefix(w, "!")
			if err == nil && strings.Contains(out, without) == unwanted {
				err = fmt.Errorf("%q in\n%s", w, out)
			}
		}
		return err
	})
}

// edit writes another configuration for the agents that are started from now on.
func (s *site) edit(old, new string) {
	s.Helper()
	conf, err := os.ReadFile(s.config)
	s.must(err)
	if !strings.Contains(string(conf), old) {
		s.Fatalf("%s has no %q", s.config, old)
	}
	s.config = filepath.Join(s.net.Dir, fmt.Sprintf("edited-%d.toml", time.Now().UnixNano()))
	s.must(os.WriteFile(s.config, []byte(strings.ReplaceAll(string(conf), old, new)), 0o644))
}

// rewrite changes the file of the agents that run.
func (s *site) rewrite(old, new string) {
	s.Helper()
	file := s.config
	s.edit(old, new)
	conf, err := os.ReadFile(s.config)
	s.must(err, os.WriteFile(file, conf, 0o644))
	s.config = file
}

// again ends the agents of all gateways with a signal and starts them anew.
func (s *site) again(how os.Signal, gateways ...string) {
	s.Helper()
	for _, gw := range gateways {
		s.must(s.gw[gw].Signal(how))
		<-s.gw[gw].Done()
		n, err := s.hosts[gw].Netd(s.Context(), binary(s.T), s.config, lab.Gateway{Name: gw})
		s.must(err)
		s.gw[gw] = n
	}
	for _, gw := range gateways {
		within(s.T, time.Minute, "all sessions of "+gw, s.gw[gw].Established)
	}
}

// router6 gives the router of two racks IPv6, too.
func (s *site) router6() {
	s.Helper()
	for i, tor := range []string{"tor1", "tor2"} {
		own, other := i+1, 2-i
		s.run(tor, fmt.Sprintf(`
			sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.forwarding=1
			ip -6 addr add 2001:db8:%d::1/64 dev br0 nodad
			ip -6 addr add 2001:db8:12::%d/64 dev fabric nodad
			ip -6 route add 2001:db8:%d::/64 via 2001:db8:12::%d`, own, own, other, other))
	}
}

// pod6 is the IPv6 address of a gateway's pod.
func (s *site) pod6(gw string) string {
	s.Helper()
	out, err := s.gw[gw].InPod(s.Context(), "pod-"+gw, "ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global")
	s.must(err)
	f := strings.Fields(out)
	if len(f) < 4 {
		s.Fatalf("the pod of %s has no IPv6 address: %q", gw, out)
	}
	address, _, _ := strings.Cut(f[3], "/")
	return address
}

// reaches6 waits until a pod answers another gateway's by IPv6, with packets of a size.
func (s *site) reaches6(from, to string, size int) {
	s.Helper()
	address := s.pod6(to)
	within(s.T, 30*time.Second, fmt.Sprintf("IPv6 ping from the pod of %s to that of %s", from, to), func(ctx context.Context) error {
		_, err := s.gw[from].InPod(ctx, "pod-"+from, "ping", "-6", "-c", "1", "-W", "1", "-M", "do", "-s", fmt.Sprint(size), address)
		return err
	})
}

// allReach6 is allReach by IPv6.
func (s *site) allReach6() {
	s.Helper()
	for from := range s.gw {
		for to := range s.gw {
			s.reaches6(from, to, 1200)
		}
	}
}
