//go:build net

package bgp

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"netd/firmware/lab/patience"
	"netd/netd/internal/ownnet"
)

// openMessage is an OPEN of AS 65001 without capabilities.
func openMessage(hold uint16, id netip.Addr) []byte {
	m := make([]byte, 29)
	for i := range 16 {
		m[i] = 0xff
	}
	binary.BigEndian.PutUint16(m[16:], 29)
	m[18], m[19] = 1, 4 // OPEN, version 4
	binary.BigEndian.PutUint16(m[20:], 65001)
	binary.BigEndian.PutUint16(m[22:], hold)
	copy(m[24:], id.AsSlice())
	return m
}

// message reads one message.
func message(t *testing.T, c net.Conn) []byte {
	t.Helper()
	defer patience.Limit(c, 20*time.Second)()
	m := make([]byte, 19)
	if _, err := io.ReadFull(c, m); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(m[16:])-19)
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatal(err)
	}
	return append(m, body...)
}

// Both ends connect at once, and GoBGP forgets the peer's connection: it is ended
// all the same.
func TestForgottenConnection(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		ownnet.Command(t, "ip link set lo up")
		// The speaker's port is another, so that both can listen on one host.
		own, theirs := ip("127.0.0.1"), ip("127.0.0.2")
		peer, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(theirs, 179)))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = peer.Close() }()
		session := times(Session{AS: 65001})
		s := &site{log: new(logbook)}
		s.speak(t, Config{AS: 65101, RouterID: ip("10.0.1.2"), Port: 1179, Peers: []Peer{{Name: "tor1", Address: theirs, Local: own, Session: session}}})

		defer patience.Limit(peer, 30*time.Second)()
		outgoing, err := peer.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = outgoing.Close() }()
		message(t, outgoing) // its OPEN
		from := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(theirs, 0))}
		incoming, err := from.DialContext(t.Context(), "tcp4", "127.0.0.1:1179")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = incoming.Close() }()
		message(t, incoming)
		// It has sent an OPEN on both. The answer to its own connection comes first.
		if _, err := outgoing.Write(openMessage(30, ip("10.0.2.1"))); err != nil {
			t.Fatal(err)
		}
		message(t, outgoing) // a KEEPALIVE: it goes on with that one
		if _, err := incoming.Write(openMessage(30, ip("10.0.2.1"))); err != nil {
			t.Fatal(err)
		}
		_ = outgoing.Close() // the peer prefers its own, and closes ours
		defer patience.Limit(incoming, 20*time.Second)()
		if _, err := io.Copy(io.Discard, incoming); err != nil {
			t.Errorf("the connection is still there: %v\n%s", err, s.log)
		}
	})
}
