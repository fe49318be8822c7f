//go:build net

package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/layout"
)

// witness sees each BFD packet on uplink0, in both directions, at the kernel's own
// time: however late a test runs, it knows who was late.
type witness struct {
	fd   int
	done chan struct{}

	mu   sync.Mutex // guards what follows
	sent map[way]record
}

// way is from one end to the other.
type way struct{ from, to netip.Addr }

// record is what went one way.
type record struct {
	up bool
	// last is the last packet, ended the last one that was no longer Up.
	last, ended time.Time
	// gaps are between a packet that said Up and the one after it.
	gaps gaps
}

func newWitness(t *testing.T) *witness {
	t.Helper()
	link, err := net.InterfaceByName("uplink0")
	if err != nil {
		t.Fatal(err)
	}
	proto := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: link.Index}),
	)
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{fd: fd, done: make(chan struct{}), sent: map[way]record{}}
	stop := make(chan struct{})
	go w.watch(stop)
	t.Cleanup(func() { close(stop); <-w.done; _ = unix.Close(fd) })
	return w
}

func (w *witness) watch(stop <-chan struct{}) {
	defer close(w.done)
	for frame, oob := make([]byte, 2048), make([]byte, 512); ; {
		select {
		case <-stop:
			return
		default:
		}
		n, oobn, _, _, err := unix.Recvmsg(w.fd, frame, oob, 0)
		if err != nil {
			continue
		}
		var d datagram
		messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
		for _, m := range messages {
			d.note(m)
		}
		w.note(frame[:n], time.Unix(0, d.wall))
	}
}

// note takes a frame: Ethernet (14 octets), IPv4 without options (20), UDP (8).
func (w *witness) note(frame []byte, at time.Time) {
	const ip, udp, payload = 14, 34, 42
	if len(frame) < payload+packetSize || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP || frame[ip] != 0x45 || frame[ip+9] != unix.IPPROTO_UDP ||
		binary.BigEndian.Uint16(frame[udp+2:]) != layout.BFDPort {
		return
	}
	p, _, err := parse(frame[payload:])
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	which := way{netip.AddrFrom4([4]byte(frame[ip+12:])), netip.AddrFrom4([4]byte(frame[ip+16:]))}
	r := w.sent[which]
	if r.up {
		r.gaps = append(r.gaps, at.Sub(r.last))
		if p.state != Up {
			r.ended = at
		}
	}
	r.last, r.up = at, p.state == Up
	w.sent[which] = r
}

// of is what went from one end to the other until now, its gaps sorted.
func (w *witness) of(from, to string) record {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.sent[way{ip(from), ip(to)}]
	r.gaps = slices.Sorted(slices.Values(r.gaps))
	return r
}

// gaps are sorted.
type gaps []time.Duration

// over counts those of d and more.
func (g gaps) over(d time.Duration) int {
	i, _ := slices.BinarySearch(g, d)
	return len(g) - i
}

func (g gaps) String() string {
	if len(g) == 0 {
		return "nothing sent"
	}
	at := func(part float64) time.Duration {
		return g[min(int(part*float64(len(g))), len(g)-1)].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%d packets, every %s (median), %s (99 %%), %s (99.9 %%), %s (most)", len(g)+1, at(0.5), at(0.99), at(0.999), at(1))
}
