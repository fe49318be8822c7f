//go:build net

package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/internal/ownnet"
	"netd/netd/internal/policy"
	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

// wires joins this namespace, a gateway's, to the fabric and to a pod. The fabric has
// known (.12), forged (.99) and range addresses of both families.
const wires = `ip netns add fabric
ip netns add pod
ip link add up0 type veth peer name fab0 netns fabric
ip link add pod0 type veth peer name eth0 netns pod
sysctl -qw net.ipv6.conf.up0.disable_ipv6=0 net.ipv6.conf.pod0.disable_ipv6=0 net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1
ip link set up0 up
ip link set pod0 up
ip addr add 10.0.0.11/16 dev up0
ip addr add 2001:db8::11/32 dev up0 nodad
ip addr add 10.64.1.254/24 dev pod0
ip addr add 2001:db9::fe/64 dev pod0 nodad
ip -n fabric link set fab0 up
ip -n fabric addr add 10.0.1.12/16 dev fab0
ip -n fabric addr add 10.0.1.99/16 dev fab0
ip -n fabric addr add 10.0.9.7/16 dev fab0
ip -n fabric addr add 2001:db8:1::12/32 dev fab0 nodad
ip -n fabric addr add 2001:db8:1::99/32 dev fab0 nodad
ip -n fabric addr add 2001:db8:9::7/32 dev fab0 nodad
ip -n fabric route add 10.64.1.0/24 via 10.0.0.11
ip -n fabric route add 2001:db9::/64 via 2001:db8::11
ip -n pod link set eth0 up
ip -n pod addr add 10.64.1.1/24 dev eth0
ip -n pod addr add 2001:db9::1/64 dev eth0 nodad
ip -n pod route add default via 10.64.1.254
ip -n pod route add default via 2001:db9::fe`

// Packets in packets from an unknown gateway are dropped, those of a known one and of
// a range are not; none comes from a pod, neither to us nor past us.
func TestGuard(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		for line := range strings.Lines(wires) {
			ownnet.Command(t, line)
		}
		if err := policy.Apply(policy.Rules{
			PodLinks: "pod", VXLANPort: 4789,
			Gateways: []netip.Addr{netip.MustParseAddr("10.0.1.12"), netip.MustParseAddr("2001:db8:1::12")},
			Ranges:   []netip.Prefix{netip.MustParsePrefix("10.0.8.0/22"), netip.MustParsePrefix("2001:db8:8::/46")},
		}); err != nil {
			t.Fatal(err)
		}
		for _, how := range []kind{{"IPv4", 4}, {"IPv6", 41}, {"VXLAN", unix.IPPROTO_UDP}} {
			for _, f := range []struct{ gateway, pod, known, member, forged, fabric string }{
				{"10.0.0.11", "10.64.1.1", "10.0.1.12", "10.0.9.7", "10.0.1.99", "10.0.1.12"},
				{"2001:db8::11", "2001:db9::1", "2001:db8:1::12", "2001:db8:9::7", "2001:db8:1::99", "2001:db8:1::12"},
			} {
				t.Run(how.name+" in "+f.gateway, func(t *testing.T) {
					here := how.listen(t, "/proc/self/ns/net", f.gateway)
					here.gets(t, "fabric", []string{f.forged, f.known}, f.known)
					here.gets(t, "fabric", []string{f.forged, f.member}, f.member)
					here.gets(t, "pod", []string{f.pod}, "")
					if how.number != unix.IPPROTO_UDP { // A pod may have a VXLAN of its own.
						how.listen(t, layout.NetnsDir+"/fabric", f.fabric).gets(t, "pod", []string{f.pod}, "")
					}
				})
			}
		}
		// The test sees what the guard does not drop.
		ownnet.Command(t, "nft flush ruleset")
		sixes := kind{"IPv6", 41}
		sixes.listen(t, "/proc/self/ns/net", "10.0.0.11").gets(t, "fabric", []string{"10.0.1.99"}, "10.0.1.99")
		sixes.listen(t, layout.NetnsDir+"/fabric", "2001:db8:1::12").gets(t, "pod", []string{"2001:db9::1"}, "2001:db9::1")
	})
}

// kind is a way to carry packets in packets.
type kind struct {
	name   string
	number int
}

// port is where it is listened for.
func (k kind) port() int {
	if k.number == unix.IPPROTO_UDP {
		return 4789
	}
	return 0
}

// socket is one for packets of the kind, in the namespace, bound to the address.
func (k kind) socket(t *testing.T, netns, address string, port int) int {
	t.Helper()
	a := netip.MustParseAddr(address)
	how := unix.SOCK_RAW
	if k.number == unix.IPPROTO_UDP {
		how = unix.SOCK_DGRAM
	}
	var fd int
	err := rtnl.AtNetns(netns, func() (err error) {
		family := unix.AF_INET
		if a.Is6() {
			family = unix.AF_INET6
		}
		if fd, err = unix.Socket(family, how|unix.SOCK_CLOEXEC, k.number); err != nil {
			return err
		}
		return unix.Bind(fd, sockaddr(a, port))
	})
	if err != nil {
		t.Fatalf("%s socket on %s: %v", k.name, address, err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
}

// listener waits for packets to an address.
type listener struct {
	kind
	fd int
	at string
}

func (k kind) listen(t *testing.T, netns, address string) listener {
	t.Helper()
	return listener{k, k.socket(t, netns, address, k.port()), address}
}

// gets sends a packet from each of the addresses, in their order, and holds the
// first that arrives to be the wanted one's. If none is wanted, a ping that was sent
// behind shows that none is on its way.
func (l listener) gets(t *testing.T, netns string, from []string, want string) {
	t.Helper()
	for _, source := range from {
		fd := l.socket(t, layout.NetnsDir+"/"+netns, source, 0)
		if err := unix.Sendto(fd, []byte("from "+source+"!"), 0, sockaddr(netip.MustParseAddr(l.at), l.port())); err != nil {
			t.Fatalf("send %s from %s: %v", l.name, source, err)
		}
	}
	ownnet.Command(t, fmt.Sprintf("ip netns exec %s ping -c 1 -W 5 %s", netns, l.at))
	wait := unix.NsecToTimeval(int64(5 * time.Second))
	if want == "" {
		wait = unix.Timeval{Usec: 1}
	}
	if err := unix.SetsockoptTimeval(l.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	n, _, err := unix.Recvfrom(l.fd, b, 0)
	_, got, _ := strings.Cut(string(b[:max(n, 0)]), "from ")
	if got = strings.TrimSuffix(got, "!"); got != want {
		t.Errorf("%s from %v of %s to %s: the first to arrive is %q (%v), want %q", l.name, from, netns, l.at, got, err, want)
	}
}
