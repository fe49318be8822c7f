//go:build net

package policy_test

import (
	"errors"
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
// known (.12), forged (.99) and range addresses of both families. On the pod's link there are
// the two link-local addresses that the guard lets pass, as package pod gives them.
const wires = `ip netns add fabric
ip netns add pod
ip link add up0 type veth peer name fab0 netns fabric
ip link add pod0 type veth peer name eth0 netns pod
sysctl -qw net.ipv6.conf.up0.disable_ipv6=0 net.ipv6.conf.pod0.disable_ipv6=0 net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1
sysctl -qw net.ipv6.conf.pod0.addr_gen_mode=1
ip netns exec pod sysctl -qw net.ipv6.conf.eth0.addr_gen_mode=1
ip link set up0 up
ip link set pod0 up
ip addr add fe80::1/64 dev pod0 nodad
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
ip -n pod addr add fe80::2/64 dev eth0 nodad
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
		if err := new(policy.Guard).Apply(policy.Rules{
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

// A pod opens no port of the gateway, by none of its addresses, but for one that it may; it
// answers what the gateway has asked. Others are not concerned.
func TestPodsAndTheGatewaysPorts(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		for line := range strings.Lines(wires) {
			ownnet.Command(t, line)
		}
		rules := policy.Rules{PodLinks: "pod", BGPPort: 179}
		metrics := rules
		metrics.MetricsPort, metrics.Scrapers = 9179, []string{"pod0"}
		for _, r := range []policy.Rules{rules, metrics} {
			if err := new(policy.Guard).Apply(r); err != nil {
				t.Fatal(err)
			}
			for _, gateway := range []string{"10.0.0.11", "10.64.1.254", "2001:db8::11", "2001:db9::fe"} {
				for port, want := range map[int]bool{179: false, 9179: len(r.Scrapers) > 0, 40000: false} {
					if got := reaches(t, "pod", gateway, port); got != want {
						t.Errorf("scrapers %v: the pod reaches %s port %d: %v, want %v", r.Scrapers, gateway, port, got, want)
					}
				}
				ownnet.Command(t, "ip netns exec pod ping -c 1 -W 5 "+gateway)
			}
		}
		for _, gateway := range []string{"10.0.0.11", "2001:db8::11"} {
			if !reaches(t, "fabric", gateway, 179) {
				t.Errorf("the fabric does not reach %s port 179", gateway)
			}
		}
		for pod, gateway := range map[string]string{"10.64.1.1": "10.64.1.254", "2001:db9::1": "2001:db9::fe"} {
			if !reaches(t, "", pod, 80) {
				t.Errorf("the gateway does not reach the pod's %s port 80", pod)
			}
			udp := kind{"UDP", unix.IPPROTO_UDP}
			asked, bfd := listener{udp, udp.socket(t, "/proc/self/ns/net", gateway, 50000), gateway}, listener{udp, udp.socket(t, "/proc/self/ns/net", gateway, 3784), gateway}
			for l, want := range map[*listener]string{&asked: pod, &bfd: ""} {
				at, err := unix.Getsockname(l.fd)
				if err != nil {
					t.Fatal(err)
				}
				l.sends(t, "pod", pod, at)
				if got := l.first(t, "pod", want); got != want {
					t.Errorf("UDP of the pod to %s: %q arrives, want %q", gateway, got, want)
				}
			}
		}
	})
}

// reaches tells whether who is asked in the namespace, or here, gets an answer of TCP: there a
// refusal, as nobody listens.
func reaches(t *testing.T, netns, address string, port int) bool {
	t.Helper()
	at := "/proc/self/ns/net"
	if netns != "" {
		at = layout.NetnsDir + "/" + netns
	}
	fd := kind{"TCP", unix.IPPROTO_TCP}.socket(t, at, unspecified(address), 0)
	wait := unix.NsecToTimeval(int64(150 * time.Millisecond))
	if netns != "pod" {
		wait = unix.NsecToTimeval(int64(5 * time.Second))
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait); err != nil {
		t.Fatal(err)
	}
	err := unix.EINTR
	for errors.Is(err, unix.EINTR) { // A signal of the test's own runtime ends the wait, not the attempt.
		err, _ = unix.Connect(fd, sockaddr(netip.MustParseAddr(address), port)).(unix.Errno)
	}
	return errors.Is(err, unix.ECONNREFUSED)
}

// unspecified is any address of the family of another.
func unspecified(address string) string {
	if netip.MustParseAddr(address).Is4() {
		return "0.0.0.0"
	}
	return "::"
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
	switch k.number {
	case unix.IPPROTO_UDP:
		how = unix.SOCK_DGRAM
	case unix.IPPROTO_TCP:
		how = unix.SOCK_STREAM
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
// first that arrives to be the wanted one's.
func (l listener) gets(t *testing.T, netns string, from []string, want string) {
	t.Helper()
	for _, source := range from {
		l.sends(t, netns, source, sockaddr(netip.MustParseAddr(l.at), l.port()))
	}
	if got := l.first(t, netns, want); got != want {
		t.Errorf("%s from %v of %s to %s: the first to arrive is %q, want %q", l.name, from, netns, l.at, got, want)
	}
}

// sends sends a packet from an address of the namespace.
func (l listener) sends(t *testing.T, netns, source string, to unix.Sockaddr) {
	t.Helper()
	fd := l.socket(t, layout.NetnsDir+"/"+netns, source, 0)
	if err := unix.Sendto(fd, []byte("from "+source+"!"), 0, to); err != nil {
		t.Fatalf("send %s from %s: %v", l.name, source, err)
	}
}

// first is who has sent the first packet that has arrived. If none is wanted, a ping that was
// sent behind shows that none is on its way.
func (l listener) first(t *testing.T, netns, want string) string {
	t.Helper()
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
	for errors.Is(err, unix.EINTR) {
		n, _, err = unix.Recvfrom(l.fd, b, 0)
	}
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(string(b[:max(n, 0)]), "from ")
	return strings.TrimSuffix(got, "!")
}
