package gobgp

import (
	"net/netip"
	"testing"
)

// Of two gateways exactly one connects.
func TestOneOfTwoWaits(t *testing.T) {
	c := Config{AS: 65101}
	a, b := ip("10.0.1.9"), ip("10.0.1.12") // not in the order of their text
	passive := func(local, remote netip.Addr, gateway bool) bool {
		return c.APIPeer(Peer{Name: "x", Address: remote, Local: local, Session: Session{AS: 65102, Gateway: gateway}}, false).GetTransport().GetPassiveMode()
	}
	if !passive(a, b, true) || passive(b, a, true) {
		t.Error("the gateway with the lower address waits, the other connects")
	}
	if passive(a, b, false) || passive(b, a, false) {
		t.Error("a gateway never waits for a ToR")
	}
}

func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }
func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
