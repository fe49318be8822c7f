//go:build net

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/firmware/lab/patience"
	"netd/netd/internal/api"
	"netd/netd/internal/cage"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/rawbgp"
)

// hostileConfig has two ToRs and a gateway, on one subnet.
const hostileConfig = `schema = 1
[gateway]
name = "gw-a"
[[uplink]]
name = "uplink0"
match = { name = "eth0" }
address = ["10.0.1.11/24"]
[bgp]
as = 65101
hold-time = "3s"
[[bgp.peer]]
name = "tor1"
address = "10.0.1.1"
as = 65001
passive = true
gtsm = true
max-prefixes-restart = "1s"
[[bgp.peer]]
name = "tor2"
address = "10.0.1.2"
as = 65002
passive = true
[[bgp.gateway]]
name = "gw-b"
address = "10.0.1.12"
as = 65102
[[bgp.gateway]]
name = "gw-c"
address = "10.0.1.13"
as = 65103
[[pool]]
name = "pods"
prefix = "10.64.0.0/12"
encapsulation = "never"
block = "10.64.1.0/26"
`

// besieged is a gateway among raw peers, which are all in the test's own namespace.
type besieged struct {
	*testing.T
	gw *lab.Netd
}

func newBesieged(t *testing.T) *besieged {
	t.Helper()
	n := newNet(t.Context(), t)
	h, err := n.Host(t.Context(), "gw-a")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"ip link set lo up", "ip link add raw0 type veth peer name eth0 netns " + h.Netns(), "ip link set raw0 up",
		"ip addr add 10.0.1.1/24 dev raw0", "ip addr add 10.0.1.2/24 dev raw0", "ip addr add 10.0.1.12/24 dev raw0", "ip addr add 10.0.1.13/24 dev raw0",
	} {
		ownnet.Command(t, line)
	}
	config := filepath.Join(n.Dir, "gw-a.toml")
	if err := os.WriteFile(config, []byte(hostileConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	b := &besieged{T: t}
	if b.gw, err = h.Netd(t.Context(), binary(t), config, lab.Gateway{Name: "gw-a"}); err != nil {
		t.Fatal(err)
	}
	return b
}

// connect opens a session from one of the peers' addresses.
func (b *besieged) connect(address string, as uint32) *rawbgp.Session {
	b.Helper()
	ctx, cancel := patience.Context(b.Context(), time.Minute)
	defer cancel()
	s, err := rawbgp.Connect(ctx, rawOptions(address, as))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	return s
}

func rawOptions(address string, as uint32) rawbgp.Options {
	return rawbgp.Options{
		Local: netip.MustParseAddr(address), Remote: netip.MustParseAddrPort("10.0.1.11:179"), AS: as, Hold: 3 * time.Second, TTL: 255,
	}
}

// says is what a hostile peer announces, and what must be said of it.
type says struct {
	session *rawbgp.Session
	prefix  string
	hop     string
	path    []uint32
	want    string // in netd explain; "" for no word of it at all
}

// TestHostileRoutes: what no peer may tell has no route, and a person is told why.
func TestHostileRoutes(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		b := newBesieged(t)
		tor, gw := b.connect("10.0.1.1", 65001), b.connect("10.0.1.12", 65102)
		table := []says{
			{tor, "10.64.2.0/26", "10.0.1.1", []uint32{65001, 65102}, "native via 10.0.1.1"}, // so it is not silence that is tested
			{tor, "10.64.1.0/26", "10.0.1.1", []uint32{65001}, "refused by own-prefix"},
			{tor, "10.64.1.32/27", "10.0.1.1", []uint32{65001}, "refused by own-prefix"},
			{tor, "10.64.4.0/26", "10.0.1.11", []uint32{65001}, "/26: no route"},    // our own address
			{tor, "10.64.4.64/26", "10.9.9.9", []uint32{65001}, "/26: no route"},    // nowhere
			{tor, "10.64.4.128/26", "10.64.3.1", []uint32{65001}, "/26: no route"},  // behind another learned route
			{tor, "10.64.4.192/26", "10.0.1.255", []uint32{65001}, "/26: no route"}, // a broadcast
			{tor, "10.64.5.0/26", "127.0.0.1", []uint32{65001}, ""},
			{tor, "10.64.5.64/26", "224.0.0.1", []uint32{65001}, ""},
			{tor, "10.64.5.128/26", "10.0.1.1", []uint32{65001, 65101}, "refused by loop"},
			{tor, "10.64.6.0/26", "10.0.1.1", []uint32{65001, 0}, "refused by as-path"},
			{tor, "10.0.0.0/8", "10.0.1.1", []uint32{65001}, "refused by the-rest"}, // wider than every pool
			{tor, "10.0.1.0/25", "10.0.1.1", []uint32{65001}, "refused by the-rest"},
			{tor, "192.0.2.0/24", "10.0.1.1", []uint32{65001}, "refused by the-rest"},
			{gw, "0.0.0.0/0", "10.0.1.12", []uint32{65102}, "refused by the-rest"},
			{gw, "10.64.7.0/26", "10.0.1.13", []uint32{65102}, "gw-b announces what it does not own: next hop 10.0.1.13 is gw-c"},
			// The last of each session: the others are known by then.
			{tor, "10.64.8.0/26", "10.0.1.1", []uint32{65001}, "native via 10.0.1.1"},
			{gw, "10.64.3.0/26", "10.0.1.12", []uint32{65102}, "native via 10.0.1.12"},
		}
		for _, s := range table {
			attributes := rawbgp.Route(netip.MustParseAddr(s.hop), s.path...)
			if err := s.session.Send(rawbgp.Update(nil, attributes, rawbgp.NLRI(netip.MustParsePrefix(s.prefix)))); err != nil {
				t.Fatal(err)
			}
		}
		within(t, time.Minute, "what was said last", func(ctx context.Context) error {
			return errors.Join(b.explained(ctx, table[len(table)-1]), b.explained(ctx, table[len(table)-2]))
		})
		for _, s := range table {
			if err := b.explained(t.Context(), s); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			out, err := b.gw.Ask(t.Context(), "routes")
			t.Logf("netd routes: %v\n%s", err, out)
		}
		out, err := b.gw.Host.Run(t.Context(), "ip", "route")
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out, "10.64."); n != 4 || strings.Contains(out, "default") {
			t.Errorf("want three learned routes and the blackhole:\n%s", out)
		}
	})
}

// explained tells whether netd explain says of the prefix what is wanted.
func (b *besieged) explained(ctx context.Context, s says) error {
	out, err := b.gw.Ask(ctx, "explain", s.prefix)
	if s.want == "" {
		if err == nil && !strings.Contains(out, "no prefix that netd knows covers it") {
			return fmt.Errorf("%s is known:\n%s", s.prefix, out)
		}
		return nil
	}
	if strings.HasPrefix(s.want, "refused by") {
		told := regexp.MustCompile(`(?m) told ` + regexp.QuoteMeta(s.prefix) + ` .*: ` + s.want + `$`)
		if err == nil && (!told.MatchString(out) || strings.HasPrefix(out, s.prefix+": native")) {
			err = fmt.Errorf("%s: want it %s in\n%s", s.prefix, s.want, out)
		}
		return err
	}
	if err == nil && !strings.Contains(out, s.want) {
		err = fmt.Errorf("%s: want %q in\n%s", s.prefix, s.want, out)
	}
	return err
}

// TestFarPeer: a peer that is a router away can not be a ToR (RFC 5082).
func TestFarPeer(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		b := newBesieged(t)
		for _, ttl := range []int{254, 64, 1} {
			o := rawOptions("10.0.1.1", 65001)
			o.TTL = ttl
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			if s, err := rawbgp.Connect(ctx, o); err == nil {
				s.Close()
				t.Errorf("a session with TTL %d", ttl)
			}
			cancel()
		}
		b.connect("10.0.1.1", 65001) // TTL 255
	})
}

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakOf is the most memory in octets that a process ever had.
func peakOf(t *testing.T, pid int) uint64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(peak.FindStringSubmatch(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// flood announces n hosts of the pool as fast as the other side takes them, and
// returns how many it took, and why no more.
func flood(s *rawbgp.Session, n int) (int, error) {
	const each = 700 // in one UPDATE
	attributes := rawbgp.Route(netip.MustParseAddr("10.0.1.1"), 65001)
	prefixes := make([]netip.Prefix, each)
	for sent := 0; sent < n; sent += each {
		for i := range prefixes {
			h := uint32(10<<24 | 64<<16 | 2<<8 + sent + i)
			prefixes[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)}), 32)
		}
		if err := s.Send(rawbgp.Update(nil, attributes, rawbgp.NLRI(prefixes...))); err != nil {
			return sent, err
		}
	}
	return n, nil
}

// TestFlood: a ToR that announces a hundred thousand prefixes, and then a million,
// loses its session at the ten thousandth; the other's is not late by three
// seconds, nor does anybody run out of memory.
func TestFlood(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		b := newBesieged(t)
		other := b.connect("10.0.1.2", 65002)
		if err := other.Send(rawbgp.Update(nil, rawbgp.Route(netip.MustParseAddr("10.0.1.2"), 65002), rawbgp.NLRI(netip.MustParsePrefix("10.79.0.0/26")))); err != nil {
			t.Fatal(err)
		}
		speaker := (&site{T: t, gw: map[string]*lab.Netd{"gw-a": b.gw}}).speaker
		before, err := speaker("gw-a")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{100_000, 1_000_000} {
			s := b.connect("10.0.1.1", 65001)
			took, err := flood(s, n)
			t.Logf("of %d prefixes %d were taken: %v", n, took, err)
			select {
			case <-s.Done():
			case <-patience.After(30 * time.Second):
				t.Fatal("the session lives on")
			}
			if !errors.As(s.Err(), new(rawbgp.Ended)) {
				t.Logf("ended by %v", s.Err()) // the NOTIFICATION is lost if we were writing
			}
			within(t, time.Minute, "the reason", func(ctx context.Context) error { return b.limited(ctx) })
		}
		select {
		case <-other.Done():
			t.Errorf("the other session was lost: %v", other.Err())
		default:
		}
		within(t, time.Minute, "the other ToR's route", func(ctx context.Context) error {
			return b.explained(ctx, says{prefix: "10.79.0.0/26", want: "native via 10.0.1.2"})
		})
		after, err := speaker("gw-a")
		if err != nil || after != before {
			t.Errorf("the speaker was process %d and is %d: %v", before, after, err)
		}
		most, err := cage.Memory()
		if err != nil {
			t.Fatal(err)
		}
		ofSpeaker, ofAgent := peakOf(t, after), peakOf(t, b.gw.PID())
		t.Logf("at most %d MB in the speaker, %d MB in the agent", ofSpeaker>>20, ofAgent>>20)
		if ofSpeaker > most {
			t.Errorf("the speaker had %d MB, its cage gives %d", ofSpeaker>>20, most>>20)
		}
	})
}

// limited tells whether tor1's session has ended for its number of prefixes.
func (b *besieged) limited(ctx context.Context) error {
	var v []api.Peer
	if err := b.gw.JSON(ctx, &v, "peers"); err != nil {
		return err
	}
	for _, p := range v {
		if p.Name == "tor1" && p.State != "Established" && strings.Contains(p.Reason, "max-prefixes") {
			return nil
		}
	}
	return fmt.Errorf("%+v", v)
}
