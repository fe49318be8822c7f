//go:build vm

package daemon_test

import "testing"

// router joins two racks that know nothing of pods.
func (s *site) router() {
	s.Helper()
	s.tor("tor1", "10.0.1.1/24")
	s.tor("tor2", "10.0.2.1/24")
	s.fabric("tor1", "tor2")
	s.run("tor1", "ip route add 10.0.2.0/24 via 10.0.12.2")
	s.run("tor2", "ip route add 10.0.1.0/24 via 10.0.12.1")
}

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
