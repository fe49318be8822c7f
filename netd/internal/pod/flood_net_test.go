//go:build net

package pod_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netd/firmware/lab/patience"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/pod"
	"netd/netd/internal/policy"
	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

// An uplink with a host behind it, on subnets large enough to be searched for ever.
const uplinkWire = `ip netns add fabric
ip link add up0 type veth peer name fab0 netns fabric
sysctl -qw net.ipv6.conf.up0.disable_ipv6=0
ip link set up0 up
ip addr add 10.0.0.11/16 dev up0
ip addr add 2001:db8:0:1::11/64 dev up0 nodad
ip netns exec fabric sysctl -qw net.ipv6.conf.fab0.disable_ipv6=0
ip -n fabric link set fab0 up
ip -n fabric addr add 10.0.0.1/16 dev fab0
ip -n fabric addr add 2001:db8:0:1::1/64 dev fab0 nodad
ip -n fabric route add 10.64.1.0/24 via 10.0.0.11
ip -n fabric route add 2001:db8:64:1::/64 via 2001:db8:0:1::11`

// How long a pod floods, and with how many packets a second of each kind.
const (
	floodTime = time.Second
	floodRate = 3000
)

// mostNeighbours is what all these floods together may cost of a table that has room for
// 1024 by default.
const mostNeighbours = 400

// A pod that has the gateway look for thousands of neighbours does not keep others from
// anything: the kernel's table, which all namespaces share, keeps room for new pods and
// for those that are asked for again.
func TestFlood(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		m, c := newManager(t)
		for line := range strings.Lines(uplinkWire) {
			ownnet.Command(t, line)
		}
		if err := new(policy.Guard).Apply(policy.Rules{PodLinks: layout.PodLinks, OnLink: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("2001:db8:0:1::/64"),
		}}); err != nil {
			t.Fatal(err)
		}
		whole := func(i int) pod.Pod {
			p := ensure(t, m, pod.Spec{Name: fmt.Sprintf("p%d", i), Addresses: ips(fmt.Sprintf("10.64.1.%d", i), fmt.Sprintf("2001:db8:64:1::%d", i)), MTU: 1500})
			for _, a := range p.Addresses {
				if err := c.ReplaceRoute(rtnl.Route{Prefix: netip.PrefixFrom(a, a.BitLen()), Link: p.Index, Protocol: layout.Protocol}); err != nil {
					t.Fatal(err)
				}
			}
			return p
		}
		bad, good := whole(1), whole(2)
		host, err := c.LinkByName(bad.Link)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range frames(bad, host.MAC) {
			t.Run(f.name, func(t *testing.T) {
				flood := startFlood(t, bad, f)
				flow := loses(t, good, floodTime)
				for n := range 2 {
					p := whole(10 + 2*i + n)
					for _, to := range []string{"2001:db8:0:1::1", "10.0.0.1"} {
						// The first one may come before the kernel has seen the new link's carrier.
						if out, err := inside(p, "ping -c 3 -i 0.2 -W 2 "+to); err != nil {
							t.Errorf("a new pod does not reach %s: %v\n%s", to, err, out)
						}
					}
				}
				sent, most := flood()
				lost := flow()
				t.Logf("%d sent, %d neighbours at most, %v of a ping each 10 ms lost", sent, most, lost)
				if least := int(floodRate * floodTime.Seconds() / 10); sent < least {
					t.Errorf("%d packets were sent, expected %d at least", sent, least)
				}
				if most > mostNeighbours {
					t.Errorf("%d neighbours, want at most %d", most, mostNeighbours)
				}
				for to, n := range lost {
					if n > 2 {
						t.Errorf("a flow to %s has lost %d packets", to, n)
					}
				}
			})
		}
	})
}

// loses starts flows from the pod to the fabric, and tells how many packets each has
// lost.
func loses(t *testing.T, p pod.Pod, d time.Duration) func() map[string]int {
	t.Helper()
	summary := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)
	lost := map[string]chan int{"2001:db8:0:1::1": make(chan int, 1), "10.0.0.1": make(chan int, 1)}
	for to, done := range lost {
		go func() {
			out, _ := inside(p, fmt.Sprintf("ping -q -i 0.01 -c %d -W 1 %s", d.Milliseconds()/10, to))
			n := -1
			if f := summary.FindStringSubmatch(out); f != nil {
				sent, _ := strconv.Atoi(f[1])
				got, _ := strconv.Atoi(f[2])
				n = sent - got
			}
			done <- n
		}()
	}
	return func() map[string]int {
		all := map[string]int{}
		for to, done := range lost {
			if all[to] = <-done; all[to] < 0 {
				t.Errorf("the ping to %s has no summary", to)
			}
		}
		return all
	}
}

// flood is packets that a pod sends; each has another begin.
type flood struct {
	name  string
	frame func(random uint64) []byte
}

// startFlood sends from the pod until floodTime is over; what it returns waits for that,
// and tells how much was sent and how many neighbours the gateway had at most.
func startFlood(t *testing.T, p pod.Pod, f flood) func() (sent, neighbours int) {
	t.Helper()
	var fd int
	if err := rtnl.AtNetns(p.Netns, func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0, Ifindex: podIndex(t)})
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := patience.Context(t.Context(), floodTime)
	sent, most := make(chan int, 1), make(chan int, 1)
	go func() {
		defer func() { _ = unix.Close(fd) }()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		n := 0
		for ctx.Err() == nil {
			<-tick.C
			for range floodRate / 100 {
				if _, err := unix.Write(fd, f.frame(rand.Uint64())); err == nil {
					n++
				}
			}
		}
		sent <- n
	}()
	go func() {
		n := 0
		for ctx.Err() == nil {
			n = max(n, strings.Count(ownnet.Command(t, "ip neigh show nud all"), "\n"))
			<-time.After(100 * time.Millisecond)
		}
		most <- n
	}()
	return func() (int, int) {
		defer cancel()
		return <-sent, <-most
	}
}

// podIndex is the pod's own link, seen from inside.
func podIndex(t *testing.T) int {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(s) }()
	r, err := unix.NewIfreq("eth0")
	if err == nil {
		err = unix.IoctlIfreq(s, unix.SIOCGIFINDEX, r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return int(r.Uint32())
}

// frames are what a pod can send so that a gateway looks for a neighbour, or believes to
// have found one.
func frames(p pod.Pod, host []byte) []flood {
	random := func(prefix string, r uint64) netip.Addr {
		a := ip(prefix).As16()
		binary.BigEndian.PutUint64(a[8:], r)
		return netip.AddrFrom16(a)
	}
	all := ip("ff02::1")
	// options of a solicitation and of its like: the sender's own MAC address.
	from := func(r uint64) []byte { return append([]byte{1, 1, 0x02}, binary.BigEndian.AppendUint64(nil, r)[3:]...) }
	six := func(next byte, source, to netip.Addr, payload []byte) []byte {
		b := append([]byte(nil), host...)
		if to.IsMulticast() {
			end := to.As16()
			b = append([]byte{0x33, 0x33}, end[12:]...)
		}
		b = append(b, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(payload)), next, 255)
		b = append(append(b, source.AsSlice()...), to.AsSlice()...)
		return append(b, payload...)
	}
	nd := func(kind byte, source, to netip.Addr, body ...byte) []byte {
		payload := append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, body...)
		binary.BigEndian.PutUint16(payload[2:], checksum(source, to, unix.IPPROTO_ICMPV6, payload))
		return six(unix.IPPROTO_ICMPV6, source, to, payload)
	}
	udp := []byte{0x80, 0, 0x80, 0, 0, 8, 0, 1}
	gateway := pod.Gateway6()
	return []flood{
		{"solicitations from anywhere", func(r uint64) []byte {
			return nd(135, random("fe80::", r), ip("ff02::1:ff00:1"), append(gateway.AsSlice(), from(r)...)...)
		}},
		{"routers are asked for from anywhere", func(r uint64) []byte {
			return nd(133, random("fe80::", r), ip("ff02::2"), from(r)...)
		}},
		{"routers' advertisements", func(r uint64) []byte {
			return nd(134, random("fe80::", r), all, append([]byte{0, 0, 0, 0, 0, 0, 0, 0}, from(r)...)...)
		}},
		{"packets to the uplink's subnet", func(r uint64) []byte {
			return six(unix.IPPROTO_UDP, p.Addresses[1], random("2001:db8:0:1::", r), udp)
		}},
		{"packets to link-local addresses", func(r uint64) []byte {
			return six(unix.IPPROTO_UDP, p.Addresses[1], random("fe80::", r), udp)
		}},
		{"IPv4 packets to the uplink's subnet", func(r uint64) []byte {
			b := append(append([]byte(nil), host...), 2, 0, 0, 0, 0, 9, 8, 0)
			h := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
			h = append(append(h, p.Addresses[0].AsSlice()...), 10, 0, byte(r), byte(r>>8))
			binary.BigEndian.PutUint16(h[10:], ^sum(0, h))
			return append(append(b, h...), udp...)
		}},
		{"ARP requests from anywhere", func(r uint64) []byte {
			b := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1}
			b = append(b, from(r)[2:]...)
			b = append(b, 10, 64, byte(r), byte(r>>8))
			return append(append(b, 0, 0, 0, 0, 0, 0), pod.Gateway().AsSlice()...)
		}},
	}
}

// checksum is that of RFC 8200 section 8.1.
func checksum(source, to netip.Addr, next byte, payload []byte) uint16 {
	pseudo := append(append(source.AsSlice(), to.AsSlice()...), 0, 0, 0, byte(len(payload)), 0, 0, 0, next)
	return ^sum(sum(0, pseudo), payload)
}

// sum adds 16-bit words in ones' complement (RFC 1071).
func sum(begin uint16, b []byte) uint16 {
	s := uint32(begin)
	for i := 0; i < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
