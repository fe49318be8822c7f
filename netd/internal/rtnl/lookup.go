package rtnl

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Hop is the kernel's answer to "how would a packet for this address leave?".
type Hop struct {
	// Link is the index of the link that it leaves by.
	Link int
	// Gateway is invalid if the address is on the link itself.
	Gateway netip.Addr
	// Source is the address that the kernel would send from.
	Source netip.Addr
}

// Lookup asks the FIB for the way to an address (ip route get).
func (c *Conn) Lookup(a netip.Addr) (Hop, error) {
	request := make([]byte, unix.SizeofRtMsg)
	request[0], request[1] = familyOf(a), byte(a.BitLen())
	answer, err := c.fib.ask(message{unix.RTM_GETROUTE, 0, attr(request, unix.RTA_DST, a.AsSlice())})
	if err != nil {
		return Hop{}, fmt.Errorf("look up route to %s: %w", a, err)
	}
	r, err := decodeRoute(answer)
	// IPv6 may answer with a route that drops, where IPv4 answers with an error.
	if err == nil && r.kind != unix.RTN_UNICAST && r.kind != unix.RTN_LOCAL {
		err = unix.EHOSTUNREACH
	}
	if err != nil {
		return Hop{}, fmt.Errorf("look up route to %s: %w", a, err)
	}
	return Hop{Link: r.link, Gateway: r.gateway, Source: r.Source}, nil
}
