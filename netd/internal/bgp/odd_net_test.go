//go:build net

package bgp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"netd/netd/internal/ownnet"
	"netd/netd/internal/rawbgp"
)

// oddPeer listens as an odd or old router does.
type oddPeer struct {
	name    string
	session Session
	// answer is given each connection, with the capabilities and the hold time of our OPEN.
	answer func(c net.Conn, capabilities []byte, hold int) error
	// reason is what is said of it, with which there is no session; "": there is one.
	reason string

	mu    sync.Mutex // guards what follows
	calls []time.Time
	opens [][]byte // the capabilities of our OPENs
}

// say sends messages.
func say(c net.Conn, messages ...[]byte) error {
	_, err := c.Write(bytes.Join(messages, nil))
	return err
}

// theirOpen is an OPEN with these optional parameters, their length included.
func theirOpen(hold uint16, parameters string) []byte {
	body := binary.BigEndian.AppendUint16(unhex("04 fde9"), hold)
	return rawbgp.Message(rawbgp.Open, append(append(body, 10, 0, 9, 1), unhex(parameters)...))
}

// endOfRIB is one of IPv4.
func endOfRIB() []byte { return rawbgp.Update(nil, nil, nil) }

func refuse(c net.Conn, code string) error {
	return say(c, rawbgp.Message(rawbgp.Notification, unhex(code)))
}

// live keeps a session until the other end closes it.
func live(c net.Conn, open []byte) error {
	if err := say(c, open, rawbgp.Message(rawbgp.Keepalive, nil), endOfRIB()); err != nil {
		return err
	}
	go func() {
		for say(c, rawbgp.Message(rawbgp.Keepalive, nil)) == nil {
			<-time.After(time.Second)
		}
	}()
	_, err := io.Copy(io.Discard, c)
	return err
}

const oldOpen = "08 02 06 0104 00010001" // IPv4, and nothing else

func oddPeers() []*oddPeer {
	badCapability := func(c net.Conn, capabilities []byte, _ int) error {
		odd := slices.DeleteFunc(slices.Clone(capabilities), func(c byte) bool { return slices.Contains([]byte{1, 2, 65}, c) })
		if len(odd) > 0 {
			return refuse(c, fmt.Sprintf("02 07 %02x00", odd[0]))
		}
		return live(c, theirOpen(9, oldOpen))
	}
	noParameters := func(c net.Conn, capabilities []byte, _ int) error {
		if len(capabilities) > 0 {
			return refuse(c, "02 04")
		}
		return live(c, theirOpen(9, "00"))
	}
	up := func(hold uint16, parameters string) func(net.Conn, []byte, int) error {
		return func(c net.Conn, _ []byte, _ int) error { return live(c, theirOpen(hold, parameters)) }
	}
	return []*oddPeer{
		{name: "bad-capability", answer: badCapability, reason: "refuses our OPEN: unsupported capability (2/7): host-name (73)"},
		{name: "suits-it", session: Session{Without: []string{"host-name", "extended-message", "extended-next-hop", "graceful-restart"}}, answer: badCapability},
		{name: "no-parameters", answer: noParameters, reason: "refuses our OPEN: unsupported optional parameter (2/4)"},
		{name: "without-any", session: Session{Without: []string{"all"}}, answer: noParameters},
		// A hold time that it wants to be at least 30 s, as FRR's "bgp minimum-holdtime" does.
		{name: "holds-longer", answer: func(c net.Conn, _ []byte, hold int) error {
			if hold < 30 {
				return refuse(c, "02 06")
			}
			return live(c, theirOpen(30, oldOpen))
		}, reason: "refuses our OPEN: unacceptable hold time (2/6): hold-time is 9s"},
		{name: "silent", answer: func(c net.Conn, _ []byte, _ int) error {
			_, err := io.Copy(io.Discard, c)
			return err
		}, reason: "accepts the connection and says nothing"},
		// A firewall that fails over and forgets TCP's connections, with graceful restart.
		{name: "freezes", session: Session{HoldTime: 3 * time.Second, Keepalive: time.Second}, answer: func(c net.Conn, _ []byte, _ int) error {
			err := say(c, theirOpen(3, "12 02 10 0104 00010001 4006 0078 0001 01 80 0200"), rawbgp.Message(rawbgp.Keepalive, nil), endOfRIB())
			<-time.After(30 * time.Second)
			return err
		}, reason: "hold timer expired"},
		{name: "one-each", answer: up(9, "10 02 06 0104 00010001 02 02 0200 02 02 0600")},
		{name: "extended", answer: up(9, "ff ff 000b 02 0008 0104 00010001 0200")},
		{name: "never-expires", answer: up(0, oldOpen)},
	}
}

// serve answers until the listener is closed.
func (o *oddPeer) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			o.mu.Lock()
			o.calls = append(o.calls, time.Now())
			o.mu.Unlock()
			_, body, err := rawbgp.Read(c)
			if err != nil || len(body) < 10 {
				return
			}
			capabilities := codesIn(body[10:])
			o.mu.Lock()
			o.opens = append(o.opens, capabilities)
			o.mu.Unlock()
			_ = o.answer(c, capabilities, int(binary.BigEndian.Uint16(body[3:])))
		}()
	}
}

// codesIn are the capabilities of optional parameters in the old form.
func codesIn(parameters []byte) (codes []byte) {
	for len(parameters) > 1 {
		for list := parameters[2 : 2+parameters[1]]; len(list) > 1; list = list[2+list[1]:] {
			codes = append(codes, list[0])
		}
		parameters = parameters[2+parameters[1]:]
	}
	return codes
}

// What an odd or old router refuses is said in words, with the capability or the hold
// time; capabilities can be left out, and then there is a session; who says nothing is
// called again within 15 s; who falls silent is said to have done so.
func TestOddPeers(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		ownnet.Command(t, "ip link set lo up")
		own := ip("127.0.0.1")
		s := &site{log: new(logbook)}
		c := Config{AS: 65101, RouterID: ip("10.0.1.2"), Port: 1179, RestartTime: 120 * time.Second, Pools: []netip.Prefix{pfx("10.64.0.0/16")}}
		peers := oddPeers()
		for i, o := range peers {
			a := netip.AddrFrom4([4]byte{127, 0, 1, byte(1 + i)})
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", netip.AddrPortFrom(a, 179).String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go o.serve(l)
			session := o.session
			if session.HoldTime == 0 {
				session.HoldTime, session.Keepalive = 9*time.Second, 3*time.Second
			}
			session = times(session)
			session.AS = 65001
			c.Peers = append(c.Peers, Peer{Name: o.name, Address: a, Local: own, Session: session})
		}
		s.speak(t, c, block)
		up := []string{}
		for _, o := range peers {
			if o.reason == "" {
				up = append(up, o.name)
			}
		}
		s.established(t, up...)
		s.until(t, "what is said of the others", func(snap Snapshot) error {
			var errs []error
			for _, o := range peers {
				if p := snap.peer(o.name); o.reason != "" && (!strings.HasPrefix(p.Reason, o.reason) || p.Refused() != strings.HasPrefix(o.reason, "refuses")) {
					errs = append(errs, fmt.Errorf("%s: %q, refused: %v", o.name, p.Reason, p.Refused()))
				}
			}
			return errors.Join(errs...)
		})
		for _, o := range peers {
			if o.session.Without == nil {
				continue
			}
			o.mu.Lock()
			if len(o.opens) != 1 || len(o.opens[0]) > 0 && !slices.Equal(o.opens[0], []byte{2, 1, 65}) {
				t.Errorf("%s: our OPENs had the capabilities %v", o.name, o.opens)
			}
			o.mu.Unlock()
		}
		s.callsAgain(t, peers)
	})
}

// callsAgain waits for the second call of the peer that says nothing.
func (s *site) callsAgain(t *testing.T, peers []*oddPeer) {
	t.Helper()
	o := peers[slices.IndexFunc(peers, func(o *oddPeer) bool { return o.name == "silent" })]
	calls := func() []time.Time {
		o.mu.Lock()
		defer o.mu.Unlock()
		return slices.Clone(o.calls)
	}
	ownnet.Within(t, time.Minute, "another call", func() error {
		if n := len(calls()); n < 2 {
			return fmt.Errorf("%d calls", n)
		}
		return nil
	})
	if all := calls(); all[1].Sub(all[0]) > 15*time.Second {
		t.Errorf("called again after %s, want 15 s at most", all[1].Sub(all[0]))
	} else {
		t.Logf("who says nothing is called again after %s", all[1].Sub(all[0]).Round(100*time.Millisecond))
	}
}

// The connection that comes first is the session's, and any other is ended at once.
func TestSecondConnection(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		ownnet.Command(t, "ip link set lo up")
		own, theirs := ip("127.0.0.1"), ip("127.0.0.2")
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.2:179")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		s := &site{log: new(logbook)}
		session := times(Session{AS: 65001})
		s.speak(t, Config{AS: 65101, RouterID: ip("10.0.1.2"), Port: 1179, Peers: []Peer{{Name: "tor1", Address: theirs, Local: own, Session: session}}})
		outgoing, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = outgoing.Close() }()
		message(t, outgoing) // its OPEN
		from := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(theirs, 0))}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		incoming, err := from.DialContext(ctx, "tcp4", "127.0.0.1:1179")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = incoming.Close() }()
		_ = incoming.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := io.Copy(io.Discard, incoming); err != nil || n > 0 {
			t.Errorf("the second connection: %d octets, %v, want its end\n%s", n, err, s.log)
		}
		go func() { _ = live(outgoing, openMessage(30, ip("10.0.2.1"))) }()
		s.until(t, "the session on the first", func(snap Snapshot) error {
			if p := snap.peer("tor1"); !p.Established() {
				return fmt.Errorf("%+v", p)
			}
			return nil
		})
	})
}
